"""What a run does when it is told to: wait, stop, come back, cancel, retry, forget, export."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import polars as pl
import pytest
from pydantic import BaseModel

import dfbatch
from dfbatch.errors import (
    NoFrame,
    NoSuchRun,
    OptionError,
    RowsFailed,
    RowsFailedWarning,
    RunPaused,
    StillRunning,
)

from .plain_server import PlainServer, always, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dfbatch.run import Run

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
PATIENCE = 20.0
TICK = 0.005
TEXTS = ["a", "b", "a", None, "c"]
ANSWERS = ["answer to a", "answer to b", "answer to a", None, "answer to c"]
ERROR = {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}}

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def submit(claude: dfbatch.Anthropic) -> Callable[..., Run]:
    def begin(texts: list[Any] = TEXTS, prompt: Any = "{text}", schema: Any = None, **options: Any) -> Run:
        frame = Polars({"text": texts})
        run: Run = frame.claude.submit(prompt, schema, backend=claude, progress=False, **options)
        return run

    return begin


def stop_pressed(arrived: threading.Event | None = None) -> threading.Thread:
    """Press the stop button once the main thread waits for a run (and a request has arrived at a gate)."""
    main = threading.main_thread().ident or 0

    def press() -> None:
        assert arrived is None or arrived.wait(PATIENCE)
        for _ in range(int(PATIENCE / TICK)):
            if _waits(main):
                break
            tick.wait(TICK)
        signal.pthread_kill(main, signal.SIGINT)

    tick = threading.Event()
    thread = threading.Thread(target=press)
    thread.start()
    return thread


def _waits(thread: int) -> bool:
    frame = sys._current_frames()[thread]
    names = [one.f_code.co_qualname for one, _ in traceback.walk_stack(frame)]
    return "Driver.pause" in names and names.index("Driver.pause") <= 4


# ---------------------------------------------------------------------- waiting


def test_submit_returns_at_the_first_accepted_chunk_and_says_what_was_begun(
    submit: Any, plain: PlainServer, capsys: pytest.CaptureFixture[str]
) -> None:
    plain.ending.clear()
    run = submit()
    said = capsys.readouterr().out

    assert re.fullmatch(
        rf"run {run.id}: 5 rows, 3 requests to send · at most \$0\.\d+ \(how long answers will be is not known yet\)"
        rf" · dfbatch\.open\('{run.id}'\)\.answers\(\)\n",
        said,
    )
    assert (run.done, run.counts) == (False, {"pending": 4, "skipped": 1})
    plain.ending.set()
    run.wait()


def test_the_time_given_to_wait_is_over_and_the_run_goes_on(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run: Any = submit()
    with pytest.raises(StillRunning) as caught:
        run.wait(timeout=0.01)

    assert str(caught.value) == (
        f"run {run.id} is still waiting for answers after 0.01 s\nall is sent: it goes on at the server\n"
        f"Hint: wait again, or come back with dfbatch.open({run.id!r}).wait()"
    )
    assert caught.value.run == run
    with pytest.raises(TimeoutError):
        run.result(timeout=0)
    plain.ending.set()
    assert run.result()["answer"].to_list() == ANSWERS


def test_waiting_until_sent_ends_when_all_chunks_are(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run = submit(chunk_size=1)
    run.wait(until="sent")

    assert len(plain.batches) == 3
    assert not run.done
    plain.ending.set()
    run.wait()
    assert run.status == "done"


def test_a_run_is_awaited_inside_a_running_loop(submit: Any) -> None:
    async def cell() -> Any:
        run = submit()
        return await run, await asyncio.wait_for(run, 10), run.partial()

    first, second, frame = asyncio.run(cell())

    assert first is second
    assert frame["answer"].to_list() == ANSWERS


def test_a_blocking_call_works_inside_a_running_loop(claude: dfbatch.Anthropic) -> None:
    async def cell() -> Any:
        return Polars({"text": TEXTS}).claude.batch("{text}", backend=claude, progress=False)

    assert asyncio.run(cell())["answer"].to_list() == ANSWERS


def test_a_run_in_another_thread(submit: Any) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(submit(chunk_size=1).result()))
    thread.start()
    thread.join()

    assert found[0]["answer"].to_list() == ANSWERS


def test_several_chunks_fit_together_again(submit: Any, plain: PlainServer) -> None:
    texts = [f"row {number}" for number in range(57)]
    run = submit(texts, chunk_size=7)

    assert run.result()["answer"].to_list() == [f"answer to {text}" for text in texts]
    assert len(plain.batches) > 8
    assert len({len(held) for held in plain.requests.values()}) > 3
    assert run.cost.tokens.output == 5 * 57


# ------------------------------------------------------------------- the stop button


def test_the_stop_button_detaches_sends_nothing_further_and_resume_sends_the_rest(
    submit: Any, plain: PlainServer
) -> None:
    plain.ending.clear()
    plain.gates["create"].close()
    pressing = stop_pressed(plain.gates["create"].arrived)
    with pytest.raises(dfbatch.Detached) as caught:
        submit(["a", "b", "c", "d", "e"], chunk_size=1)
    pressing.join()
    run: Any = caught.value.run
    plain.gates["create"].open.set()
    plain.ending.set()

    assert run is not None
    assert re.fullmatch(
        rf"detached from run {run.id}: [12] of 5 chunks sent, nothing further is sent\n"
        r"[12] requests? (is|are) under way and may be billed; collecting goes on while this process lives\n"
        rf"Hint: dfbatch.open\('{run.id}'\).wait\(\) comes back; .resume\(\) sends the other [34]; .cancel\(\) cancels",
        str(caught.value),
    ), str(caught.value)
    with pytest.raises(RunPaused, match=r"paused: [34] of 5 chunks not sent"):
        run.wait()
    assert len(plain.batches) in {1, 2}
    assert run.resume().result()["answer"].to_list() == [f"answer to {text}" for text in "abcde"]
    assert (len(plain.batches), set(plain.billed.values())) == (5, {1})


def test_the_stop_button_is_no_exception_that_anybody_swallows(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run = submit()
    pressing = stop_pressed()
    with pytest.raises(KeyboardInterrupt) as caught:
        run.wait()
    pressing.join()
    plain.ending.set()

    assert not isinstance(caught.value, Exception)
    assert "1 of 1 chunks sent, nothing further is sent" in str(caught.value)
    assert ".resume()" not in str(caught.value)
    assert dfbatch.open(run.id[:4]).result()["answer"].to_list() == ANSWERS


# ------------------------------------------------------------------------ cancel


def test_canceling_while_it_runs_keeps_what_is_answered(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run = submit()
    run.cancel().cancel()
    run.wait()

    assert (run.status, run.counts) == ("canceled", {"canceled": 4, "skipped": 1})
    assert plain.gates["cancel"].count == 1
    assert run.cancel().status == "canceled"
    assert run.answers()["error"].to_list()[0] == "canceled before it was processed"


def test_canceling_before_all_is_sent_sends_no_more(submit: Any, plain: PlainServer, monkeypatch: Any) -> None:
    plain.ending.clear()
    plain.gates["create"].close()
    pressing = stop_pressed(plain.gates["create"].arrived)
    with pytest.raises(dfbatch.Detached) as caught:
        submit(["a", "b", "c", "d"], chunk_size=1)
    pressing.join()
    run = caught.value.run
    assert run is not None
    run.cancel()
    plain.gates["create"].open.set()
    run.wait()

    assert run.status == "canceled"
    assert run.counts == {"canceled": 4}
    assert len(plain.batches) in {1, 2}
    assert "canceled before it was sent" in run.answers()["error"].to_list()
    counts = run.counts
    assert opened_anew(run.id, monkeypatch).counts == counts


def test_a_retry_that_finds_nothing_to_ask_leaves_a_canceled_run_canceled(
    submit: Any, plain: PlainServer, monkeypatch: Any
) -> None:
    plain.ending.clear()
    run = submit()
    run.cancel().wait()
    with pytest.warns(UserWarning, match="is refused: nothing is asked"):
        run.retry("refused")
    again = opened_anew(run.id, monkeypatch)
    plain.ending.set()

    assert (again.status, again.counts) == ("canceled", {"canceled": 4, "skipped": 1})
    assert again.retry().wait().counts == {"succeeded": 4, "skipped": 1}


def test_canceling_a_run_that_is_done_changes_nothing(submit: Any, plain: PlainServer) -> None:
    run = submit().wait().cancel()

    assert (run.status, plain.gates["cancel"].count) == ("done", 0)


def test_what_was_canceled_is_asked_again_by_a_later_run(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    submit().cancel().wait()
    plain.ending.set()

    assert submit().result()["answer"].to_list() == ANSWERS


# ------------------------------------------------------------------------- retry


def test_retry_asks_what_failed_and_nothing_else(submit: Any, plain: PlainServer) -> None:
    plain.result = lambda params: ERROR if params["messages"][0]["content"] != "b" else succeeded("first")
    run = submit(retries=0)
    with pytest.warns(RowsFailedWarning, match=f"4 of 5 rows|3 of 5 rows of run {run.id} have no answer: 3 errored"):
        run.result()
    failed = run.failures()
    plain.result = always(succeeded("second"))
    out = run.retry().result()

    assert failed["error"].to_list()[:3] == ["overloaded_error: Overloaded"] * 3
    assert failed["prompt"].to_list()[:3] == ["a", "a", "c"]
    assert out["answer"].to_list() == ["second", "first", "second", None, "second"]
    assert [len(held) for held in plain.requests.values()] == [3, 2]
    assert (run.status, run.counts) == ("done", {"succeeded": 4, "skipped": 1})


def test_retry_of_some_outcomes_only(submit: Any, plain: PlainServer) -> None:
    kinds = {"a": ERROR, "b": succeeded("no", stop_reason="refusal"), "c": succeeded("cut", stop_reason="max_tokens")}
    plain.result = lambda params: kinds[params["messages"][0]["content"]]
    run = submit(retries=0).wait()
    plain.result = always(succeeded("good"))
    run.retry("refused").wait()

    assert run.partial()["answer"].to_list() == [None, "good", None, None, None]
    run.retry(["errored", "truncated"]).wait()
    assert run.partial()["answer"].to_list() == ["good", "good", "good", None, "good"]
    with pytest.raises(OptionError, match="which='succeeded' cannot be asked again"):
        run.retry("succeeded")
    assert dfbatch.open(run.id).retry().wait().status == "done"
    assert plain.asked.total() == 6


def test_retry_of_answers_that_no_column_holds(submit: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded(f'{{"answer": {2**70}}}'))
    run = submit(["a"], schema=int).wait()

    assert run.counts == {"invalid": 1}
    plain.result = always(succeeded('{"answer": 7}'))
    assert run.retry().result()["answer"].to_list() == [7]


def test_retry_in_a_process_that_knows_only_the_ledger(submit: Any, plain: PlainServer, monkeypatch: Any) -> None:
    plain.result = always(ERROR)
    run_id = submit().wait().id
    reopened = opened_anew(run_id, monkeypatch)
    plain.result = always(succeeded("second"))
    reopened.retry().wait()

    assert reopened.answers()["answer"].to_list() == ["second", "second", "second", None, "second"]


def opened_anew(run_id: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """As another process finds it: nothing known but the ledger."""
    from dfbatch import run as run_layer

    run_layer.close_ledgers()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    return dfbatch.open(run_id)


# -------------------------------------------------------------- open, export, forget


def test_another_process_has_answers_and_joins_but_no_frame(submit: Any, plain: PlainServer, monkeypatch: Any) -> None:
    mine = submit().wait()
    answers, counts, joined = mine.answers(), mine.counts, mine.join(Polars({"text": ["c", "a"]}))
    run = opened_anew(mine.id, monkeypatch)

    assert run.answers().equals(answers)
    assert run.join(Polars({"text": ["c", "a"]})).equals(joined)
    assert run.answers("pandas")["answer"].tolist()[:2] == ANSWERS[:2]
    assert run.counts == counts
    with pytest.raises(NoFrame) as caught:
        run.result()
    assert str(caught.value) == (
        f"the frame of run {run.id} is not in this process\n"
        f"Hint: dfbatch.open({run.id!r}).answers() needs no frame; .join(df) lays them onto one"
    )


def test_an_exported_run_opens_anywhere(submit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = submit(chunk_size=1).wait()
    file = run.export(tmp_path / "run.dfbatch")
    answers = run.answers()
    from dfbatch import run as run_layer

    run_layer.close_ledgers()
    monkeypatch.setenv("DFBATCH_HOME", str(tmp_path / "elsewhere"))
    opened = dfbatch.open(str(file))

    assert opened.answers().equals(answers)
    assert (opened.status, opened.counts) == ("done", {"succeeded": 4, "skipped": 1})
    opened._ledger.close()


def test_an_exported_run_that_reused_answers_opens_anywhere(submit: Any, tmp_path: Path) -> None:
    submit(["a", "b"]).wait()
    run = submit().wait()
    opened = dfbatch.open(str(run.export(tmp_path / "run.dfbatch")))

    assert opened.id == run.id
    assert opened.answers()["answer"].to_list() == ANSWERS
    opened._ledger.close()


def test_forget_leaves_nothing_of_the_run_on_disk(submit: Any, ledger_home: Path, plain: PlainServer) -> None:
    plain.result = lambda params: ERROR if "b" in str(params["messages"]) else succeeded("secret answer")
    run = submit(["a secret question", "b secret question"]).wait()
    (ledger_home / "chunks" / f"{run._ledger.chunks(run.id)[0].id}.jsonl.77.part").touch(mode=0o600)
    run.forget()

    assert [path.name for path in (ledger_home / "chunks").iterdir()] == []
    assert list((ledger_home / "runs").iterdir()) == []
    assert dfbatch.runs() == []
    with pytest.raises(NoSuchRun, match=r"no run .* in the ledger"):
        dfbatch.open(run.id)
    assert "secret" not in everything(ledger_home)


def test_forgetting_a_run_keeps_what_others_drew_from_it(submit: Any, ledger_home: Path) -> None:
    first = submit(["a", "b"]).wait()
    second = submit(["a", "c"]).wait()
    first.forget()

    assert [run.id for run in dfbatch.runs()] == [second.id]
    assert second.result()["answer"].to_list() == ["answer to a", "answer to c"]
    exported = dfbatch.open(str(second.export(ledger_home / "run.dfbatch")))
    assert exported.answers()["answer"].to_list() == ["answer to a", "answer to c"]
    exported._ledger.close()
    (ledger_home / "run.dfbatch").unlink()
    second.forget()
    assert list((ledger_home / "chunks").iterdir()) == []
    assert dfbatch.runs() == []


def everything(folder: Path) -> str:
    return "".join(path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file())


def test_a_run_under_way_is_not_forgotten(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run = submit()
    with pytest.raises(RunPaused, match=r"is under way\nHint: cancel it or wait for it first"):
        run.forget()
    plain.ending.set()
    run.wait()


# ---------------------------------------------------------------------- looking


def test_partial_shows_what_is_there_while_the_rest_is_awaited(submit: Any, plain: PlainServer) -> None:
    submit(["a"]).wait()
    plain.ending.clear()
    run = submit(["a", "b"])
    while run.counts.get("succeeded") != 1:
        run._driver.pause(0.01)

    assert run.partial()["answer"].to_list() == ["answer to a", None]
    assert run.counts == {"pending": 1, "succeeded": 1}
    plain.ending.set()
    assert run.result()["answer"].to_list() == ["answer to a", "answer to b"]


def test_failures_show_the_most_frequent_cause_first(submit: Any, plain: PlainServer) -> None:
    kinds = {"a": succeeded("no", stop_reason="refusal"), "b": ERROR, "c": ERROR, "d": succeeded("neither")}
    plain.result = lambda params: kinds[params["messages"][0]["content"]]
    run = submit(["a", "b", None, "c", "d"], schema=Literal["x", "y"]).wait()
    failed = run.failures()

    assert failed["row"].to_list() == [1, 3, 4, 0, 2]
    assert failed["status"].to_list() == ["errored", "errored", "invalid", "refused", "skipped"]
    assert failed["error"].to_list()[:2] == ["overloaded_error: Overloaded"] * 2
    assert failed["answer"].to_list() == [None, None, "neither", "no", None]  # an error is not an answer
    assert failed["prompt"].to_list() == ["b", "c", "d", "a", None]


class Label(BaseModel):
    topic: Literal["sport", "tech"]
    score: int


def test_objects_are_instances_of_the_schema(submit: Any, plain: PlainServer) -> None:
    plain.result = lambda params: (
        ERROR if params["messages"][0]["content"] == "b" else succeeded('{"topic": "tech", "score": 3}')
    )
    run = submit(schema=Label).wait()
    label = Label(topic="tech", score=3)

    assert run.objects() == [label, None, label, None, label]


def test_counts_sum_to_the_rows_at_any_moment(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run = submit(chunk_size=1)
    seen = [run.counts, run.wait(until="sent").counts]
    plain.ending.set()
    seen.append(run.wait().counts)

    assert {sum(counts.values()) for counts in seen} == {5}


def test_failed_rows_raise_where_that_was_asked_for(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    plain.result = always(ERROR)
    with pytest.raises(RowsFailed, match=r"2 of 2 rows of run .* have no answer: 2 errored") as caught:
        pd.DataFrame({"text": ["a", "b"]}).claude.batch("{text}", on_error="raise", backend=claude, progress=False)

    assert caught.value.run is not None
    assert caught.value.run.counts == {"errored": 2}


def test_the_repr_is_short_and_asks_nobody(submit: Any, plain: PlainServer) -> None:
    run = submit().wait()
    before = sum(gate.count for gate in plain.gates.values())

    assert re.fullmatch(rf"<Run {run.id} · done · 4/5 rows answered · \$0\.\d+>", repr(run))
    assert repr(dfbatch.runs()).startswith(run.id)
    assert sum(gate.count for gate in plain.gates.values()) == before


def test_the_key_is_in_no_file_message_or_repr(
    submit: Any,
    claude: dfbatch.Anthropic,
    plain: PlainServer,
    ledger_home: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    caplog.set_level("DEBUG")
    run = submit().wait()
    said = "".join(map(str, [claude, run, run.record, run.snapshot(), run.show(0), caplog.text, *capfd.readouterr()]))
    exported = run.export(tmp_path / "run.dfbatch").read_bytes().decode("latin-1")

    assert plain.keys == {"sk-ant-secret-of-this-test", ""}  # whoever is asked whether it is an emulator gets no key
    assert "secret-of-this-test" not in said + everything(ledger_home) + exported


def test_a_fork_of_the_process_runs_for_itself(submit: Any) -> None:
    """The I/O thread of the parent is not the child's; nothing hangs, nothing is shared."""
    submit(["a"]).wait()
    pid = os.fork()
    if not pid:
        from dfbatch import run as run_layer

        run_layer.shelf._ledgers.clear()
        os._exit(0 if submit(["forked"]).result()["answer"].to_list() == ["answer to forked"] else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_run_that_waits_for_its_pilot_is_said_to(submit: Any, plain: PlainServer) -> None:
    plain.ending.clear()
    run: Any = submit([f"text {at}" for at in range(100)], pilot="batch")
    with pytest.raises(StillRunning) as caught:
        run.wait(timeout=0.2)
    plain.ending.set()
    first, message, goes_on, hint = str(caught.value).splitlines()

    assert first == f"run {run.id} is waiting for its pilot after 0.2 s"
    assert "pilot" in message
    assert goes_on == "it goes on while this process lives, and goes on sending"
    assert hint == f"Hint: wait again, or come back with dfbatch.open({run.id!r}).resume()"
    assert run.wait().counts == {"succeeded": 100}
