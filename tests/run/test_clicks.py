"""What is clicked is done once, by whatever thread it comes on; detaching lets go of the cell and of nothing else."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from dfbatch.errors import Detached, RunPaused
from dfbatch.run.clicks import Clicks
from dfbatch.run.waiting import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    import dfbatch

    from .plain_server import PlainServer

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
PILOT: Any = {"pilot": "batch", "preflight": False, "progress": False}

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


def begun(claude: dfbatch.Anthropic, plain: PlainServer, count: int = 100, **options: Any) -> dfbatch.Run:
    """A run whose batches do not end yet."""
    plain.ending.clear()
    frame = Polars({"text": [f"text {at}" for at in range(count)]})
    run: dfbatch.Run = frame.claude.submit("{text}", backend=claude, **{"progress": False, **options})
    return run


def elsewhere(act: Callable[[], None]) -> None:
    """As a kernel calls it: on a thread of its own."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def test_cancel_cancels_however_often_it_is_clicked(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    run = begun(claude, plain, preflight=False)
    clicks = Clicks(run, run._driver, blocks=True)
    elsewhere(clicks.cancel)
    elsewhere(clicks.cancel)
    plain.ending.set()
    run.wait()
    elsewhere(clicks.cancel)

    assert run.status == "canceled"
    assert plain.gates["cancel"].count == 1


def test_detach_ends_the_cell_and_the_rest_is_sent(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    run = begun(claude, plain, **PILOT)
    clicks = Clicks(run, run._driver, blocks=True)
    elsewhere(clicks.detach)
    with pytest.raises(Detached) as caught:
        watch(run, run._driver, None, look=run.snapshot, clicks=clicks, timeout=None, until="done", quiet=0)
    plain.ending.set()
    run.wait()

    assert caught.value.run is run
    assert str(caught.value) == (
        f"detached from run {run.id}: it goes on by itself while this process lives; the last chunk follows\n"
        f"Hint: dfbatch.open({run.id!r}) shows it, .wait() comes back, .cancel() cancels"
    )
    assert run.counts == {"succeeded": 100}


def test_what_is_held_is_not_sent_until_it_is_let_go(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    run = begun(claude, plain, **PILOT)
    clicks = Clicks(run, run._driver, blocks=True)
    elsewhere(clicks.hold)
    plain.ending.set()
    with pytest.raises(RunPaused, match="1 of 2 chunks not sent"):
        run.wait()
    held = (clicks.held, run.counts)
    elsewhere(clicks.send)
    run.wait()

    assert held == (True, {"succeeded": 40, "pending": 60})
    assert run.counts == {"succeeded": 100}


def test_letting_go_at_once_sends_too(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    run = begun(claude, plain, **PILOT)
    clicks = Clicks(run, run._driver, blocks=True)
    elsewhere(clicks.hold)
    elsewhere(clicks.send)
    plain.ending.set()

    assert run.wait().counts == {"succeeded": 100}
