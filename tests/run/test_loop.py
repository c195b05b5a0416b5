"""What the wind does to a run under way: lost replies, lost batches, refusals of the server, time that passes."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch import run as run_layer
from dfbatch.emulator import Server
from dfbatch.errors import ApiError, BatchLost, RowsFailedWarning, Unauthorized

from .clocks import MovingClock
from .plain_server import PlainServer, always, succeeded

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

TEXTS = ["a", "b", "a"]
ANSWERS = [f"answer to {text}" for text in TEXTS]
KEY = "sk-ant-secret-of-this-test"

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


def label(backend: dfbatch.Anthropic, **more: Any) -> Any:
    frame = Polars({"text": TEXTS})
    return frame.claude.batch("{text}", backend=backend, progress=False, **more)["answer"].to_list()


def begun(plain: PlainServer, claude: dfbatch.Anthropic) -> Any:
    """A run that another process left waiting, opened here with a clock that moves."""
    plain.ending.clear()
    run = Polars({"text": TEXTS}).claude.submit("{text}", backend=claude, progress=False)
    run._work.clock = MovingClock()
    return run


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_lost_reply_costs_nothing_twice_and_no_answer(emulator: Server, local: dfbatch.Anthropic, how: str) -> None:
    emulator.house.faults.arm([f"lost_reply@create:how={how},times=1"])

    assert label(local) == label(local) == ANSWERS
    usage = emulator.usage()
    assert (usage["batches_created"], set(usage["billed_by_digest"].values())) == (1, {1})


@pytest.mark.parametrize(
    "fault",
    [
        "429@create:times=1,retry_after=0.01",
        "404_after_create:seconds=0.1",
        "404_after_end:seconds=0.1",
        "500@retrieve:times=2",
        "reset@results:times=1",
        "503@results:times=1",
    ],
)
def test_what_passes_is_waited_for(fault: str) -> None:
    with Server(engine=lambda params: "answer to " + str(params["messages"][-1]["content"]), faults=[fault]) as server:
        assert label(dfbatch.Anthropic(api_key=KEY, base_url=server.url)) == ANSWERS
        assert set(server.usage()["billed_by_digest"].values()) == {1}


@pytest.mark.parametrize(
    ("fault", "error", "helps"),
    [
        ("400@create:times=1", ApiError, "mend the call and run the cell again"),
        ("401@create:times=1", Unauthorized, "run the cell again, or "),
        ("spend_limit:times=1", ApiError, "run the cell again, or "),
    ],
)
def test_what_does_not_pass_stops_the_run_and_the_cell_again_goes_on(
    fault: str, error: type[Exception], helps: str
) -> None:
    with Server(engine=lambda params: "answer to " + str(params["messages"][-1]["content"]), faults=[fault]) as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        with pytest.raises(error) as caught:
            label(backend)
        stopped = dfbatch.last_run()
        assert stopped.status == "paused"
        (note,) = caught.value.__notes__
        assert note.startswith(f"run {stopped.id}: nothing was accepted, nothing is billed; {helps}")
        assert label(backend) == ANSWERS
        assert stopped.resume().wait().counts == {"succeeded": 3}
        assert set(server.usage()["billed_by_digest"].values()) == {1}


def test_a_revoked_key_pauses_the_run_and_another_key_of_the_workspace_goes_on(monkeypatch: Any) -> None:
    engine = always("done")
    with Server(engine=engine, law="fixed:60", keys={KEY: "team", "sk-ant-new": "team"}) as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        run = Polars({"text": TEXTS}).claude.submit("{text}", backend=backend, progress=False)
        server.house.faults.arm(["401@retrieve"])
        with pytest.raises(Unauthorized, match="mistyped or revoked") as caught:
            run.wait()

        assert run.status == "paused"
        on = f"run {run.id}: what is answered is kept; dfbatch.open({run.id!r}).resume() goes on"
        assert caught.value.__notes__ == [on]
        assert caught.value.in_full.endswith(f"\n{on}")  # as the shell prints it, and …
        with pytest.warns(RowsFailedWarning, match=re.escape(on)):  # … as a warning says it
            run.answers()

        server.house.faults.arm([], replace=True)
        server.advance(60)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-new")
        run_layer.close_ledgers()

        assert dfbatch.open(run.id).resume().wait().counts == {"succeeded": 3}
        assert set(server.usage()["billed_by_digest"].values()) == {1}


def test_a_batch_that_is_gone_is_lost_after_minutes_and_can_be_asked_again(
    plain: PlainServer, claude: dfbatch.Anthropic
) -> None:
    run = begun(plain, claude)
    (name,) = plain.batches
    plain.batches.clear()
    plain.ending.set()
    with pytest.raises(BatchLost) as caught:
        run.wait()

    assert str(caught.value) == (
        f"batch {name} is not there any more: it was deleted at the server: no answer to 2 requests of run {run.id}\n"
        "all other answers are kept\n"
        f"Hint: dfbatch.open({run.id!r}).retry(which='missing') asks those again, and pays for them again;"
        " .resume() looks for the batch once more; .resume(lost='missing') lets them go"
    )
    assert run._work.clock.moved >= 300
    assert run.counts == {"missing": 3}
    assert run.retry(which="missing").result()["answer"].to_list() == ANSWERS


def test_a_lost_batch_is_known_as_lost_in_any_process(
    plain: PlainServer, claude: dfbatch.Anthropic, monkeypatch: Any
) -> None:
    run = begun(plain, claude)
    plain.batches.clear()
    plain.ending.set()
    with pytest.raises(BatchLost):
        run.wait()
    run_layer.close_ledgers()
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)

    assert dfbatch.open(run.id).counts == {"missing": 3}
    assert label(claude) == ANSWERS


def test_archived_results_are_lost(plain: PlainServer, claude: dfbatch.Anthropic) -> None:
    run = begun(plain, claude)
    next(iter(plain.batches.values()))["archived_at"] = "2026-11-22T00:00:00Z"
    plain.ending.set()
    with pytest.raises(BatchLost, match=r"the results of batch .* were archived on 2026-11-22T00:00:00Z"):
        run.wait()


@pytest.mark.parametrize(("retries", "batches"), [(0, 1), (1, 2), (2, 3)])
def test_requests_that_expire_are_asked_again_a_few_times(retries: int, batches: int) -> None:
    with Server(engine=always("late"), law="fixed:1e6") as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        run = Polars({"text": TEXTS}).claude.submit("{text}", backend=backend, progress=False, retries=retries)
        run._work.clock = MovingClock(server, stride=20)
        run.wait()

        assert run.counts == {"expired": 3}
        assert run.answers()["error"].to_list() == ["expired before it was processed"] * 3
        usage = server.usage()
        assert (usage["billed_by_digest"], usage["batches_created"]) == ({}, batches)
        assert len(run._ledger.chunks(run.id)) == batches


def test_canceling_keeps_and_bills_what_was_answered() -> None:
    """Of the emulator's thousand seconds three have passed: what began is finished."""
    with Server(engine=always("done"), law="fixed:100", lanes=1) as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        run = Polars({"text": list("abcd")}).claude.submit("{text}", backend=backend, progress=False)
        server.advance(150)
        run.cancel()
        while not any("/cancel" in route for route in server.usage()["calls"]):
            run._driver.pause(0.01)
        server.advance(100)
        run.wait()

        assert run.counts == {"succeeded": 2, "canceled": 2}
        assert run.status == "canceled"
        assert sum(server.usage()["billed_by_digest"].values()) == 2


def test_two_run_objects_of_one_run(plain: PlainServer, claude: dfbatch.Anthropic, monkeypatch: Any) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    plain.result = always(succeeded('{"answer": "x"}'))
    plain.ending.clear()
    frame = Polars({"text": TEXTS})
    one = frame.claude.submit("{text}", Literal["x", "y"], backend=claude, progress=False)
    two = dfbatch.open(one.id, schema=Literal["x", "y"])
    plain.ending.set()

    assert two is not one
    assert two.wait().answers().equals(one.answers())
    assert dfbatch.open(one.id) is one
    assert (one.counts, two.counts) == ({"succeeded": 3}, {"succeeded": 3})
    assert len(plain.batches) == 1


def test_many_runs_in_many_threads_share_one_backend(plain: PlainServer, claude: dfbatch.Anthropic) -> None:
    """One that ends takes no connection from the others."""

    def cell(number: int) -> Any:
        frame = Polars({"text": [f"{number}", f"{number} again", "of all"]})
        return frame.claude.batch("{text}", backend=claude, progress=False, chunk_size=1)["answer"].to_list()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(cell, range(16)))

    assert found == [[f"answer to {number}", f"answer to {number} again", "answer to of all"] for number in range(16)]
    assert (plain.asked.total(), set(plain.billed.values())) == (33, {1})
