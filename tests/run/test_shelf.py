"""Runs found again: by a name that means one, here before elsewhere, and never one that is gone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch import testing
from dfbatch.errors import NoSuchRun, OptionError, RowsFailedWarning, Unauthorized

from .plain_server import PlainServer, always, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers


@pytest.fixture
def begin(claude: dfbatch.Anthropic) -> Callable[..., dfbatch.Run]:
    def submit(texts: list[str] | None = None, schema: Any = None, **options: Any) -> dfbatch.Run:
        frame = options.pop("frame", None)
        frame = Polars({"text": texts or ["a", "b"]}) if frame is None else frame
        run: dfbatch.Run = frame.claude.submit("{text}", schema, backend=claude, progress=False, **options)
        return run.wait()

    return submit


@pytest.mark.parametrize("name", ["", "  ", None, 7, b"a"])
def test_what_names_nothing_means_no_run(begin: Any, name: Any) -> None:
    begin()

    with pytest.raises(NoSuchRun, match="a run is named by a text"):
        dfbatch.open(name)


def test_the_last_run_is_the_last_one_begun_here(begin: Any, ledger_home: Path) -> None:
    run = begin()
    other = begin(["c"])
    with run._ledger.transaction():  # as if another process had begun it
        run._ledger._link.execute("UPDATE runs SET created = created + 60 WHERE id = ?", (run.id,))

    assert dfbatch.runs()[0].id == run.id
    assert dfbatch.last_run().id == other.id
    dfbatch.run.shelf._latest.clear()
    assert dfbatch.last_run().id == run.id


def test_a_ledger_that_is_deleted_under_a_process_is_begun_anew(
    begin: Any, plain: PlainServer, ledger_home: Path
) -> None:
    begin()
    shutil.rmtree(ledger_home)

    assert repr(dfbatch.runs()) == "no runs yet"
    assert begin().counts == {"succeeded": 2}
    assert plain.billed.total() == 4


def test_a_run_that_was_forgotten_says_so(begin: Any) -> None:
    run = begin()
    run.forget()

    with pytest.raises(NoSuchRun, match=f"run {run.id} was forgotten\nHint: "):
        run.wait()


@pytest.mark.parametrize("status", ["planned", "pilot", "sending", "collecting"])
def test_a_run_whose_process_died_while_it_sent_is_not_said_to_send(
    begin: Any, plain: PlainServer, status: str
) -> None:
    plain.result = always({"type": "expired"})
    run = begin(retries=0)
    run._ledger.say(run.id, status, "")

    assert (run.status, run.done) == ("paused", False)
    assert run.message == f"its process ended: dfbatch.open({run.id!r}).resume() goes on"


@pytest.mark.parametrize("status", ["sending", "waiting"])
def test_a_run_whose_answers_came_in_with_a_later_one_is_done(begin: Any, status: str) -> None:
    """Its process died while it waited, and another run drew on its batches, and collected them."""
    run = begin()
    run._ledger.say(run.id, status, "")

    assert (run.status, run.done, run.message) == ("done", True, "")
    assert run._ledger.standing(run.id) == ("done", "")


def test_a_run_of_which_samples_are_missing_is_not_done(begin: Any, plain: PlainServer) -> None:
    """Of three answers a row one is enough for the columns; the others were asked for all the same."""
    asked: list[Any] = []

    def two_of_three(params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params)
        return {"type": "expired"} if len(asked) % 3 == 0 else succeeded("good")

    plain.result = two_of_three
    run = begin(samples=3, retries=0)
    run._ledger.say(run.id, "waiting", "")

    assert "expired" in run.samples(wait=False)["status"].to_list()
    assert (run.status, dfbatch.runs()[0].status, run.done) == ("waiting", "waiting", False)


def test_a_run_that_waits_for_batches_under_way_waits(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    plain.ending.clear()
    run = Polars({"text": ["a"]}).claude.submit("{text}", backend=claude, progress=False).started()

    assert run.status in ("sending", "waiting")
    plain.ending.set()
    assert run.wait().status == "done"


def test_waiting_takes_what_others_answered_meanwhile_and_asks_nothing() -> None:
    """A chunk that was refused and never sent again, whose requests the same cell asked later."""
    frame = Polars({"text": ["a", "b"]})
    with testing.Emulator(engine="sample", faults=["401@create:times=1"]) as emulator:
        with pytest.raises(Unauthorized):
            frame.claude.submit("{text}", progress=False)
        first = dfbatch.last_run()
        second = frame.claude.submit("{text}", progress=False).wait()
        first.wait()

        assert (first.status, first.counts) == ("done", {"succeeded": 2})
        assert first.answers()["answer"].to_list() == second.answers()["answer"].to_list()
        assert set(emulator.usage()["billed_by_digest"].values()) == {1}


@pytest.mark.parametrize("row", ["1", None, 1.0, True])
def test_a_row_is_shown_by_its_position_alone(begin: Any, row: Any) -> None:
    with pytest.raises(OptionError, match=r"a row is named by its position, got .*\nHint: run.show\(17\)"):
        begin().show(row)


def test_answers_are_joined_onto_frames(begin: Any) -> None:
    with pytest.raises(OptionError, match=r"join\(\) lays columns onto a frame, got a Series"):
        begin().join(pl.Series("text", ["a", "b"]))


def test_columns_that_stay_beside_other_answers_are_named(begin: Any) -> None:
    out = begin(include=["status"], samples=3).result()

    with pytest.warns(UserWarning, match="'claude_agreement', 'claude_status' stay as an earlier run wrote them"):
        begin(frame=out)


def test_an_answer_of_another_model_that_the_cell_again_takes_away_is_named(begin: Any, plain: PlainServer) -> None:
    plain.result = lambda params: succeeded("no", stop_reason="refusal" if "haiku" in params["model"] else "end_turn")
    run = begin()
    plain.result = lambda params: succeeded(f"answer of {params['model']}")
    out = run.retry("refused", model="claude-sonnet-5-5").result()
    again = begin(frame=out)

    with pytest.warns(RowsFailedWarning) as told:
        assert again.result()["answer"].to_list() == [None, None]
    texts = [str(one.message) for one in told]
    assert any("2 rows had an answer in 'answer' and have none by this call (rows 0, 1)" in text for text in texts)
    assert any(f"Hint: dfbatch.open('{run.id}').join(df)" in text for text in texts)
    assert dfbatch.open(run.id).join(out)["answer"].to_list() == ["answer of claude-sonnet-5-5"] * 2


def test_asking_again_what_no_row_is_asks_nothing_and_says_so(begin: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded("x"))
    run = begin(schema=Literal["x", "y"])
    calls = plain.gates["create"].count

    with pytest.warns(UserWarning, match=f"no row of run {run.id} is refused: nothing is asked"):
        run.retry("refused").wait()
    assert plain.gates["create"].count == calls
