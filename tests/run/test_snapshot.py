"""What a run shows of itself is true at once, in any process: what is there is counted, and time goes by its own."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.progress import summary
from dfbatch.run import shelf

from .plain_server import PlainServer, always

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.run import Run

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
HOUR = 3600.0

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def submit(claude: dfbatch.Anthropic, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")

    def begin(*texts: str, **options: Any) -> Run:
        run: Run = Polars({"text": texts}).claude.submit("{text}", **{"backend": claude, "progress": False, **options})
        return run

    return begin


def reopened(run: Run) -> Run:
    """As another process finds it: by what the ledger has."""
    shelf._known.clear()
    again = dfbatch.open(run.id)
    assert again is not run
    return again


def dated(run: Run, *, made: float, changed: float) -> None:
    """As if the run had been made and changed so many seconds ago."""
    with run._ledger.transaction():
        run._ledger._link.execute("UPDATE runs SET created = ?", (time.time() - made,))
        run._ledger._link.execute("UPDATE chunks SET changed = ?", (time.time() - changed,))


def test_a_reopened_run_that_is_done_shows_its_answers_and_how_long_it_took(submit: Any) -> None:
    run = submit("a", "b").wait()
    dated(run, made=5 * HOUR, changed=2 * HOUR)
    shown = reopened(run).snapshot()

    assert (shown.status, shown.counts) == ("done", {"succeeded": 2})
    assert shown.elapsed == pytest.approx(3 * HOUR, abs=5)
    assert summary.text(shown).startswith(f"dfbatch run {run.id}: done after 3 h 00 min\n  ✓ succeeded  2  100")


def test_a_reopened_run_that_waits_counts_from_its_beginning(submit: Any, plain: PlainServer) -> None:
    done = submit("a", "b").wait()
    plain.ending.clear()
    run = submit("a", "b", "c")
    dated(run, made=5 * HOUR, changed=2 * HOUR)
    again = reopened(run)
    shown = again.snapshot()

    assert shown.counts == {"pending": 1, "succeeded": 2}
    assert shown.reused == 2
    assert shown.elapsed > 4.9 * HOUR  # the test's clock is fast
    assert shown.saved == (("reuse", str(done.cost)),)
    plain.ending.set()
    assert (again.wait().counts, run.wait().counts) == ({"succeeded": 3}, {"succeeded": 3})


def test_the_first_line_of_a_reopened_run_counts_what_is_there(
    submit: Any, plain: PlainServer, capsys: pytest.CaptureFixture[str]
) -> None:
    submit("a", "b").wait()
    plain.ending.clear()
    mine = submit("a", "b", "c")
    again = reopened(mine)
    capsys.readouterr()
    with pytest.raises(dfbatch.errors.StillRunning):
        again.wait(timeout=1.5)
    lines = capsys.readouterr().err.splitlines()
    plain.ending.set()
    again.wait()
    mine.wait()

    assert f"dfbatch run {again.id}: waiting for 1 batch · 2/3 rows" in lines[0]
    assert "0/3 rows" not in "".join(lines)


def test_a_run_that_paused_stands_still(submit: Any) -> None:
    run = submit("a").wait()
    dated(run, made=5 * HOUR, changed=2 * HOUR)
    run._ledger.say(run.id, "paused", "no key")
    shown = reopened(run).snapshot()

    assert shown.elapsed == pytest.approx(3 * HOUR, abs=5)
    assert summary.text(shown).startswith(f"dfbatch run {run.id}: paused after 3 h 00 min\n")


def test_what_reuse_saved_is_said_in_dollars_at_the_end(submit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = submit("a", "b").wait()
    run = submit("a", "b", "c", progress="log").wait()
    saved, batches = str(first.cost), str(run.cost)  # a batch costs half

    assert run.cost.saved is not None
    assert run.cost.saved.reuse == first.cost.spent
    assert f"  spent:   {run.cost}, {batches} saved by batches, {saved} by reuse\n" in summary.text(run.snapshot())
    assert f"{batches} saved by batches, {saved} by reuse</td>" in summary.html(run.snapshot())
    assert re.search(
        rf" · {re.escape(str(run.cost))} · {re.escape(batches)} saved by batches, {re.escape(saved)} by reuse$",
        summary.line(run.snapshot()),
    )
    assert "reuse" not in summary.text(first.snapshot())


def test_a_saving_of_an_unknown_price_is_not_made_up(submit: Any) -> None:
    submit("a", model="claude-of-2031").wait()
    run = submit("a", model="claude-of-2031").wait()

    assert run.cost.saved is None
    assert "saved" not in summary.text(run.snapshot())


def test_savings_with_an_emulator_are_as_if(local: dfbatch.Anthropic, submit: Any) -> None:
    submit("a", backend=local).wait()

    assert submit("a", backend=local).wait().snapshot().saved[-1][1].endswith(" as-if")


def test_a_run_that_failed_entirely_shows_it_reopened(submit: Any, plain: PlainServer) -> None:
    plain.result = always({"type": "expired"})
    run = submit("a", "b", retries=0).wait()

    assert reopened(run).snapshot().counts == {"expired": 2}
