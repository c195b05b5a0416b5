"""Room on the disk: what is over and old goes, what anybody may still want stays."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.errors import NoSuchRun, OptionError
from dfbatch.ledger.lock import Lock
from dfbatch.ledger.states import SUBMITTED
from dfbatch.run.prune import Pruned

from .plain_server import PlainServer, always

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dfbatch.run import Run

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
DAY = 86_400.0

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def submit(claude: dfbatch.Anthropic) -> Callable[..., Run]:
    def begin(*texts: str, **options: Any) -> Run:
        run: Run = Polars({"text": texts}).claude.submit("{text}", backend=claude, progress=False, **options)
        return run

    return begin


def age(run: Run, days: float) -> None:
    """As if nothing had happened to the run for so many days."""
    then = time.time() - days * DAY
    with run._ledger.transaction():
        run._ledger._link.execute("UPDATE runs SET created = ? WHERE id = ?", (then, run.id))
        run._ledger._link.execute("UPDATE chunks SET changed = ? WHERE run = ?", (then, run.id))


def in_files(folder: Path) -> int:
    """Bytes of everything but the database."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and "ledger" not in path.name)


def test_old_runs_go_with_all_their_files_and_what_was_freed_is_said(submit: Any, ledger_home: Path) -> None:
    old, young = submit("a", "b").wait(), submit("c").wait()
    before = in_files(ledger_home)
    age(old, 31)
    freed = dfbatch.prune(older_than=30)

    assert [run.id for run in dfbatch.runs()] == [young.id]
    assert freed == Pruned(1, before - in_files(ledger_home))
    assert freed.bytes > 1000
    assert repr(freed) == f"1 run removed, {freed.bytes / 1000:.1f} kB freed"
    assert [path.name for path in (ledger_home / "runs").iterdir()] == [young.id]
    assert not [path for path in (ledger_home / "chunks").iterdir() if path.name.startswith(old.id)]
    with pytest.raises(NoSuchRun):
        dfbatch.open(old.id)


def test_a_run_that_is_not_old_enough_stays(submit: Any) -> None:
    run = submit("a").wait()
    age(run, 29.9)

    assert dfbatch.prune(older_than=30) == Pruned()
    assert repr(Pruned()) == "0 runs removed, 0 B freed"
    age(run, 30.1)
    assert dfbatch.prune(older_than=30).runs == 1


def test_a_run_counts_from_its_last_change_not_from_its_beginning(submit: Any, plain: PlainServer) -> None:
    plain.result = always({"type": "expired"})
    run = submit("a", retries=0).wait()
    age(run, 40)
    run.retry().wait()

    assert dfbatch.prune(older_than=30).runs == 0


def test_runs_with_something_uncollected_stay_whatever_their_age(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run = submit("a")
    age(run, 100)

    assert dfbatch.prune(older_than=0).runs == 0
    run._ledger.say(run.id, "done")  # whatever is written there: its batch is not collected
    assert dfbatch.prune(older_than=0).runs == 0
    plain.ending.set()
    run.wait()
    assert dfbatch.prune(older_than=0).runs == 1


def test_a_paused_run_stays(submit: Any) -> None:
    run = submit("a").wait()
    run._ledger.say(run.id, "paused", "no key")

    assert dfbatch.prune(older_than=0).runs == 0


def test_a_canceled_run_goes(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run = submit("a").cancel().wait()

    assert run.status == "canceled"
    assert dfbatch.prune(older_than=0).runs == 1


def test_chunks_that_a_younger_run_draws_on_stay(submit: Any, plain: PlainServer, ledger_home: Path) -> None:
    old = submit("a", "b").wait()
    young = submit("a", "c").wait()
    age(old, 40)

    assert dfbatch.prune(older_than=30).runs == 1
    assert young.result()["answer"].to_list() == ["answer to a", "answer to c"]
    assert submit("a", "b", "c").wait().counts == {"succeeded": 3}
    assert plain.asked.total() == 3
    assert dfbatch.prune(older_than=0).runs == 2
    assert list((ledger_home / "chunks").iterdir()) == []


def test_a_chunk_that_its_own_run_has_not_collected_keeps_whoever_draws_on_it(submit: Any, plain: PlainServer) -> None:
    first = submit("a").wait()
    second = submit("a").wait()
    first._ledger.note(first._ledger.chunks(first.id)[0].id, state=SUBMITTED)

    assert dfbatch.prune(older_than=0).runs == 0
    assert {run.id for run in dfbatch.runs()} == {first.id, second.id}


def test_a_run_that_another_process_has_under_way_stays(submit: Any, ledger_home: Path) -> None:
    run = submit("a").wait()
    lock = Lock(ledger_home / "runs" / run.id / "lock")
    assert lock.acquire()

    assert dfbatch.prune(older_than=0).runs == 0
    lock.release()
    assert dfbatch.prune(older_than=0).runs == 1


def test_what_was_pruned_is_asked_again(submit: Any, plain: PlainServer) -> None:
    submit("a").wait()
    dfbatch.prune(older_than=0)
    submit("a").wait()

    assert list(plain.billed.values()) == [2]


def test_a_run_without_a_folder_goes_too(submit: Any, ledger_home: Path) -> None:
    run = submit("a").wait()
    shutil.rmtree(ledger_home / "runs" / run.id)

    assert dfbatch.prune(older_than=0).runs == 1


@pytest.mark.parametrize("days", [-1, "30", None, True, float("nan")])
def test_days_that_are_none_are_refused(days: Any) -> None:
    with pytest.raises(OptionError) as caught:
        dfbatch.prune(older_than=days)

    assert str(caught.value) == f"older_than={days!r}: a number of days is needed\nHint: older_than=30"
