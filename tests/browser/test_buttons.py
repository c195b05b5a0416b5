"""Buttons work while the cell blocks, where clicks arrive; where they do not, they say so, and nothing comes late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from .notebook import STATIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator

    from dfbatch.emulator import Server

    from .notebook import Notebook

ASK = """\
import pandas as pd
import dfbatch
frame = pd.DataFrame({{"text": [f"{0} {{at}}" for at in range({1})]}})
"""
BLOCKS = ASK + """out = frame.claude.batch("{{text}}", into="label"{2})"""
STATUS = "run = dfbatch.last_run(); print(run.status, run.counts)"
ENDS = "run = dfbatch.last_run(); run.wait(timeout=60); print(run.status, run.counts)"

# two ways of clicks, of which either test takes another where time is short
SUBSHELL, WIDGET = "7.3.0", "7.4.0"


def blocking(name: str, rows: int = 3, more: str = "") -> str:
    """A cell that blocks until its batch is released."""
    return BLOCKS.format(name, rows, more)


def button(book: Notebook, name: str) -> Locator:
    """The button of this name in the panel."""
    return book.page.locator(".jp-OutputArea").get_by_role("button", name=name, exact=True)


@pytest.mark.parametrize("kernel", [WIDGET, pytest.param(SUBSHELL, marks=pytest.mark.full)])
def test_cancel_asks_once_and_cancels_while_the_cell_blocks(
    kernel: str, opened: Callable[..., Notebook], emulator: Server, release: Callable[[], None]
) -> None:
    book = opened(blocking(f"cancel {kernel}"), STATUS, kernel=kernel)
    before = sum(count for call, count in emulator.usage()["calls"].items() if "cancel" in call)
    book.start(0)
    book.sees("waiting for 1 batch")
    button(book, "Cancel").click()
    button(book, "No").click()
    expect(button(book, "Yes, cancel")).to_have_count(0)
    button(book, "Cancel").click()
    book.picture(f"cancel-{kernel}", 0)
    button(book, "Yes, cancel").click()
    book.sees("canceling")
    release()
    book.ended()
    book.run(1)

    assert book.text(1).startswith("canceled {")
    assert sum(count for call, count in emulator.usage()["calls"].items() if "cancel" in call) == before + 1
    assert STATIC in book.forms(0)


@pytest.mark.parametrize("kernel", [SUBSHELL, pytest.param(WIDGET, marks=pytest.mark.full)])
def test_detach_ends_the_cell_and_the_run_goes_on_to_its_end(
    kernel: str, opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    book = opened(blocking(f"detach {kernel}"), ENDS, kernel=kernel)
    book.start(0)
    book.sees("waiting for 1 batch")
    button(book, "Detach").click()
    book.ended()
    book.sees("it goes on by itself while this process lives")
    release()
    book.run(1)

    assert "done {'succeeded': 3}" in book.text(1)


def test_new_chunks_are_held_and_sent_when_they_are_let_go(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    book = opened(blocking("hold", 60, ', pilot="batch", preflight=False'), ENDS)
    book.start(0)
    book.sees("do not close: 1 of 2 chunks not sent")
    button(book, "Pause new chunks").click()
    button(book, "Send the rest").click()
    expect(button(book, "Pause new chunks")).to_be_enabled()
    release()
    book.sees("safe to close")
    release()
    book.ended()
    book.run(1)

    assert "done {'succeeded': 60}" in book.text(1)


def test_where_clicks_do_not_arrive_the_buttons_stay_off_and_the_text_says_what_to_do(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    book = opened(blocking("deaf"), STATUS, kernel="6.31.0")
    book.start(0)
    book.sees("waiting for 1 batch")
    book.moves()
    book.moves()

    expect(button(book, "Cancel")).to_be_disabled()
    assert "This kernel does not hear clicks while a cell runs: use its stop button." in book.text(0)
    assert "Stop button = detach" in book.text(0)

    button(book, "Cancel").dispatch_event("click")
    release()
    book.ended()
    book.run(1)
    assert "done {'succeeded': 3}" in book.text(1)


def test_every_control_is_reached_and_worked_by_keyboard(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    book = opened(blocking("keys"), STATUS)
    book.start(0)
    book.sees("waiting for 1 batch")
    expect(button(book, "Cancel")).to_be_enabled()
    button(book, "Cancel").focus()
    names = []
    for _ in range(2):
        book.page.keyboard.press("Tab")
        names.append(book.page.evaluate("() => document.activeElement.textContent"))
    book.page.keyboard.press("Shift+Tab")
    book.page.keyboard.press("Shift+Tab")
    book.page.keyboard.press("Enter")
    asked = book.page.evaluate("() => document.activeElement.textContent")
    book.page.keyboard.press("Escape")
    after = book.page.evaluate("() => document.activeElement.textContent")

    assert names == ["Detach", "Notify me"]
    assert (asked, after) == ("No", "Cancel")
    expect(button(book, "Yes, cancel")).to_have_count(0)

    release()
    book.ended()


def test_a_run_in_a_cell_shows_the_live_panel_twice_in_step_and_in_a_new_kernel(
    opened: Callable[..., Notebook], release: Callable[[], None]
) -> None:
    submits = ASK.format("again", 3) + 'run = frame.claude.submit("{text}", into="label"); print(run.id)'
    book = opened(submits, "run", "run", "import dfbatch; run = dfbatch.last_run(); run")
    for cell in range(3):
        book.run(cell)
    book.sees("waiting for 1 batch", 1)
    book.sees("waiting for 1 batch", 2)
    run_id = book.text(0).split()[-1]

    assert book.page.locator(".dfb-panel").count() == 2

    book.restart()
    book.run(3)
    book.sees("waiting for 1 batch", 3)
    expect(button(book, "Cancel").last).to_be_enabled()
    book.picture("new-kernel", 3)

    assert run_id in book.text(3)

    release()
    book.sees("done after", 3)
    assert book.forms(3) == [STATIC]


def test_it_is_readable_in_a_dark_theme(opened: Callable[..., Notebook], release: Callable[[], None]) -> None:
    book = opened(blocking("dark", 6))
    book.theme("JupyterLab Dark")
    book.start(0)
    book.sees("waiting for 1 batch")
    expect(button(book, "Cancel")).to_be_enabled()
    book.picture("dark", 0)
    live = [found for found in book.barriers(0) if "contrast" in found]
    release()
    book.ended()
    book.sees("done after")
    book.picture("dark-summary", 0)

    assert live == []
    assert [found for found in book.barriers(0) if "contrast" in found] == []
    book.theme("JupyterLab Light")
