"""The panel in a notebook: alive while a cell blocks, and from then on plain HTML that holds no script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .notebook import STATIC, WIDGET

if TYPE_CHECKING:
    from collections.abc import Callable

    from .notebook import Notebook

BLOCKS = """\
import pandas as pd
import dfbatch
frame = pd.DataFrame({{"text": ["{0} a", "{0} b", "{0} c"]}})
out = frame.claude.batch("{{text}}", into="label")"""

HOSTILE = "<script>window.hit = 1; alert(1)</script><img src=x onerror='window.hit = 1'>"


def bundles(cell: Any) -> list[dict[str, Any]]:
    """What a saved cell shows, output by output, by mime type; whatever else it holds is an error."""
    assert {output["output_type"] for output in cell["outputs"]} <= {"display_data", "execute_result"}
    return [output["data"] for output in cell["outputs"]]


def check_static(book: Notebook) -> None:
    """The saved file holds the summary of a run that is done, and nothing that needs a kernel to be read."""
    saved = book.save()
    [bundle] = bundles(saved["cells"][0])
    html = "".join(bundle["text/html"])

    assert set(bundle) == {"text/html", "text/plain"}
    assert "widgets" not in saved["metadata"]
    assert "done after" in html
    assert "succeeded" in html
    assert "<script" not in html


@pytest.mark.parametrize("classic", [False, True], ids=["lab", "notebook7"])
def test_the_panel_lives_while_the_cell_blocks_and_is_static_html_after_it(
    opened: Callable[..., Notebook], release: Callable[[], None], *, classic: bool
) -> None:
    book = opened(BLOCKS.format(f"live {classic}"), "out", classic=classic)
    book.start()
    book.sees("waiting for 1 batch")
    book.moves()
    book.screenshot(f"panel-live-{'notebook7' if classic else 'lab'}")

    assert WIDGET in book.forms(0)[0]

    release()
    book.ended()
    book.sees("done after")
    book.screenshot(f"panel-ended-{'notebook7' if classic else 'lab'}")

    assert book.forms(0) == [STATIC]
    assert f"live {classic} c" in book.text(1)
    check_static(book)


def test_the_summary_is_there_after_save_and_reload(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    book = opened(BLOCKS.format("reload"))
    book.start()
    book.sees("waiting for 1 batch")
    release()
    book.ended()
    book.sees("done after")
    before = book.text(0)
    book.reload()
    book.sees("done after")

    assert book.text(0) == before
    assert book.forms(0) == [STATIC]


def test_markup_in_texts_labels_and_names_stays_text(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    cell = BLOCKS.format(HOSTILE).replace('into="label"', f'into="label", name="{HOSTILE}"')
    book = opened(cell, "out", "dfbatch.last_run()")
    book.start()
    book.sees("waiting for 1 batch")
    book.sees("<script>")
    book.screenshot("markup-live")
    release()
    book.ended()
    book.sees("done after")
    book.screenshot("markup-ended")

    for shown in range(3):
        assert "<script>" in book.text(shown)
        assert book.outputs(shown).locator("script, [onerror]").count() == 0
    assert book.page.evaluate("() => window.hit") is None
    assert book.dialogs == []


def test_dollars_in_the_summary_are_not_taken_for_math(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    math = "from IPython.display import HTML; HTML('<p>$x$</p>')"
    cell = BLOCKS.format("dollars").replace('into="label"', 'into="label", name="$1 or $2"')
    book = opened(cell, math)
    book.start()
    book.sees("waiting for 1 batch")
    release()
    book.ended()
    book.outputs(1).locator("mjx-container").wait_for()  # what comes later is set by now

    assert book.outputs(0).locator("mjx-container").count() == 0
    assert "$1 or $2" in book.text(0)


def test_the_live_panel_and_the_summary_break_no_rule_of_axe(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    book = opened(BLOCKS.format("axe"))
    book.start()
    book.sees("waiting for 1 batch")

    assert book.barriers(0) == []

    release()
    book.ended()
    book.sees("done after")

    assert book.barriers(0) == []


REVIEWS = """\
import json
from typing import Literal
import pandas as pd
from pydantic import BaseModel
import dfbatch

class Review(BaseModel):
    mood: Literal["glad", "neutral", "angry"]
    about: str

answers = [{"mood": ("glad", "neutral", "angry")[at % 7 % 3], "about": f"{word} number {at}"}
           for at, word in enumerate(["parcel", "invoice", "kettle"] * 50)]
answers[17]["mood"] = "sad"
frame = pd.DataFrame({"text": [json.dumps(answer) for answer in answers]})
out = frame.claude.batch("{text}", Review, pilot="batch", preflight=False, retries=0, name="reviews of May")"""


def test_first_answers_show_while_the_rest_still_runs_and_the_summary_tells_labels_and_failures(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    book = opened(REVIEWS, "run = dfbatch.last_run(); run.cost")
    book.start(0)
    book.sees("pilot, waiting for 1 batch")
    book.sees("do not close: 1 of 2 chunks not sent")
    release()
    book.sees("first answers")
    book.sees("all sent: safe to close")
    book.picture("panel", 0)

    assert "40 of 150 rows done" in book.text(0)
    assert "number " in book.text(0)

    release()
    book.ended()
    book.sees("done after")
    book.run(1)
    book.picture("summary", 0)
    book.picture("cost", 1)

    assert "share (95 % interval)" in book.text(0)
    assert "invalid" in book.text(0)
    assert "by 40 answers of this run; off by" in book.text(1)
    assert book.barriers(0) == book.barriers(1) == []
