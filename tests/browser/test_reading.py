"""What stays is read without a kernel: exported to HTML, on paper, in a narrow window; the live panel fits one too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from .test_panel import BLOCKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext

    from .notebook import Notebook

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SUMMARY = "[class~=mathjax_ignore]"
WIDE = "(element) => element.scrollWidth - element.clientWidth"
DRAWN = "(images) => images.every((image) => image.naturalWidth > 0 && image.alt)"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_exported_to_html_reads_the_same_and_prints(
    path: Path, chrome: BrowserContext, tmp_path: Path, shots: Path
) -> None:
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(embed_images=True).from_notebook_node(nbformat.read(path, as_version=4))
    exported = tmp_path / "page.html"
    exported.write_text(body, "utf-8")
    page = chrome.new_page()
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    page.goto(exported.as_uri())
    summaries = page.locator(f".jp-OutputArea-output div{SUMMARY}")
    text = "\n".join(summaries.all_inner_texts())
    paper = page.pdf()
    page.screenshot(path=shots / f"exported-{path.stem}.png", full_page=True)

    assert re.search(r"dfbatch run [0-9a-f]{8}.*: done after", text)
    assert "reopen" in text
    assert page.locator(f"{SUMMARY} img").count() > 0
    assert page.locator(f"{SUMMARY} img").evaluate_all(DRAWN)
    assert summaries.locator("script, link, style").count() == 0
    assert paper.startswith(b"%PDF-")
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") > 1
    page.close()


def test_in_a_narrow_window_nothing_is_cut_off(opened: Callable[..., Notebook], release: Callable[[], None]) -> None:
    book = opened(BLOCKS.format("narrow " + "long" * 40), "run = dfbatch.last_run(); run.cost")
    book.page.set_viewport_size({"width": 760, "height": 900})
    book.start(0)
    book.sees("waiting for 1 batch")
    live = book.page.locator(".dfb-panel").evaluate(WIDE)
    book.screenshot("narrow-live")
    release()
    book.ended()
    book.sees("done after")
    book.screenshot("narrow-ended")

    assert live <= 0
    assert book.page.locator(f"div{SUMMARY}").first.evaluate(WIDE) <= 0
