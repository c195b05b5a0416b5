"""The ledger is gone: batches are laid back onto the rows that asked them, by their ids; nothing is sent again."""

from __future__ import annotations

import json
import signal
import threading
import warnings
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfbatch
from dfbatch import run as run_layer
from dfbatch.emulator import Server
from dfbatch.errors import BatchLost, InputError, NotFound, OptionError, RowsFailedWarning, RunPaused
from dfbatch.ledger.states import COLLECTED, FORGONE

from .plain_server import PlainServer, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dfbatch.run import Run

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
TEXTS = ["a", "b", "a", None, "c"]
ANSWERS = ["answer to a", "answer to b", "answer to a", None, "answer to c"]


@pytest.fixture
def lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lose the ledger: the next call finds an empty folder."""
    homes = iter(range(1000))

    def lose() -> None:
        run_layer.close_ledgers()
        monkeypatch.setenv("DFBATCH_HOME", str(tmp_path / f"new-home-{next(homes)}"))

    return lose


@pytest.fixture(autouse=True)
def skipped_rows_are_no_news() -> Iterator[None]:
    """Every warning is a failure of the test, unless it waits for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def sent(backend: Any, frame: Any, prompt: Any = "{text}", schema: Any = None, **options: Any) -> list[str]:
    """The ids of the batches of a run that was sent and is forgotten."""
    run = frame.claude.submit(prompt, schema, backend=backend, progress=False, **options).wait()
    return [mark.batch_id for mark in run.snapshot().batches]


def adopt(backend: Any, batches: Any, frame: Any, prompt: Any = "{text}", schema: Any = None, **options: Any) -> Run:
    return dfbatch.adopt(batches, frame, prompt, schema, backend=backend, progress=False, **options)


def test_a_batch_is_laid_back_and_nothing_is_sent(
    new: Any, claude: dfbatch.Anthropic, plain: PlainServer, lost: Any
) -> None:
    (batch_id,) = sent(claude, new({"text": TEXTS}))
    lost()
    run = adopt(claude, batch_id, new({"text": TEXTS}))

    assert (run.status, run.counts) == ("done", {"succeeded": 4, "skipped": 1})
    assert [cell if isinstance(cell, str) else None for cell in run.result()["answer"]] == ANSWERS
    assert plain.gates["create"].count == 1
    assert set(plain.billed.values()) == {1}
    assert run.cost.tokens.output == 3 * 5


def test_what_was_adopted_is_reused_like_any_answer(claude: dfbatch.Anthropic, plain: PlainServer, lost: Any) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    lost()
    adopt(claude, batch_id, Polars({"text": TEXTS}))
    out = Polars({"text": [*TEXTS, "d"]}).claude.batch("{text}", backend=claude, progress=False)

    assert out["answer"].to_list() == [*ANSWERS, "answer to d"]
    assert [len(held) for held in plain.requests.values()] == [3, 1]


def test_the_frame_comes_back_from_the_ledger_alone(
    claude: dfbatch.Anthropic, lost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    lost()
    run = adopt(claude, batch_id, Polars({"text": TEXTS}), name="again")
    answers = run.answers()
    run_layer.close_ledgers()

    assert dfbatch.open("again").answers().equals(answers)


def test_all_batches_of_a_run_and_of_its_retries_go_together(
    claude: dfbatch.Anthropic, plain: PlainServer, lost: Any
) -> None:
    texts = [f"row {number}" for number in range(39)]
    plain.lines = lambda lines: b"\n".join(
        line.replace(b"succeeded", b"expired", 1) if b'7", "citations' in line and len(lines) > 4 else line
        for line in lines
    )
    options: dict[str, Any] = {"chunk_size": 20, "retries": 0, "preflight": False}
    run = Polars({"text": texts}).claude.submit("{text}", backend=claude, progress=False, **options)

    assert run.wait().counts == {"succeeded": 35, "expired": 4}
    ids = [mark.batch_id for mark in run.retry().wait().snapshot().batches]
    lost()
    back = adopt(claude, [*reversed(ids), ids[0]], Polars({"text": texts}))

    assert len(ids) == 3
    assert back.result()["answer"].to_list() == [f"answer to {text}" for text in texts]
    assert back.counts == {"succeeded": 39}


def test_rows_of_a_batch_that_was_not_given_are_missing_and_said(
    claude: dfbatch.Anthropic, plain: PlainServer, lost: Any
) -> None:
    texts = [f"row {number}" for number in range(12)]
    first, second = sent(claude, Polars({"text": texts}), chunk_size=8)
    lost()
    with pytest.warns(RowsFailedWarning) as caught:
        run = adopt(claude, first, Polars({"text": texts}))

    assert str(caught[0].message) == (
        f"4 of 12 requests are not in batch {first}\n"
        "their rows are missing (first asked by row 8, 9, 10, 11): the frame, the prompt or an option is not what it"
        " was, or not every batch was given\n"
        "Hint: batch() with the same arguments asks these alone"
    )
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (run.status, run.counts) == ("done", {"succeeded": 8, "missing": 4})
    assert run.answers()["error"].to_list()[8] == (
        "in no adopted batch: what it asks is not what was sent, or its batch was not given"
    )
    assert run.resume().wait().counts == {"succeeded": 8, "missing": 4}
    assert plain.gates["create"].count == 2
    again = adopt(claude, [first, second], Polars({"text": texts}))
    assert again.counts == {"succeeded": 12}
    assert plain.gates["create"].count == 2
    assert run.retry("missing").wait().counts == {"succeeded": 12}
    assert plain.gates["create"].count == 3


def test_a_row_that_changed_since_stays_missing(claude: dfbatch.Anthropic, lost: Any) -> None:
    texts = [f"row {number}" for number in range(12)]
    (batch_id,) = sent(claude, Polars({"text": texts}))
    lost()
    texts[5] = "another text"
    with pytest.warns(RowsFailedWarning, match=r"^1 of 12 requests are not in batch .*; 1 that are there, no row asks"):
        run = adopt(claude, batch_id, Polars({"text": texts}))

    assert run.partial()["answer"].to_list() == [f"answer to row {at}" if at != 5 else None for at in range(12)]


def test_the_head_of_the_frame_takes_its_part_of_a_batch(claude: dfbatch.Anthropic, lost: Any) -> None:
    texts = [f"row {number}" for number in range(3000)]
    (batch_id,) = sent(claude, Polars({"text": texts}), preflight=False, pilot=False)
    lost()
    run = adopt(claude, batch_id, Polars({"text": texts[:2]}))

    assert run.result()["answer"].to_list() == ["answer to row 0", "answer to row 1"]


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "Now: {text}"},
        {"system": "Be brief."},
        {"schema": Literal["x", "y"]},
        {"model": "claude-sonnet-5-5"},
        {"params": {"stop_sequences": ["."]}},
    ],
    ids=str,
)
def test_another_call_than_the_one_that_was_sent_is_an_error(
    claude: dfbatch.Anthropic, lost: Any, tmp_path: Path, other: dict[str, Any]
) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    lost()
    with pytest.raises(InputError) as caught:
        adopt(claude, batch_id, Polars({"text": TEXTS}), **{"prompt": "{text}"} | other)

    assert str(caught.value) == (
        f"no row of the frame asks what batch {batch_id} answered\nnothing was kept\n"
        "Hint: give frame, prompt, schema, system, model, params and backend as they were when it was sent"
    )
    assert dfbatch.runs() == []
    assert list((tmp_path / "new-home-0" / "chunks").iterdir()) == []
    assert list((tmp_path / "new-home-0" / "runs").iterdir()) == []


def test_a_batch_that_still_runs_says_when_it_ends(claude: dfbatch.Anthropic, plain: PlainServer, lost: Any) -> None:
    plain.ending.clear()
    Polars({"text": TEXTS}).claude.submit("{text}", backend=claude, progress=False)
    (batch_id,) = plain.batches
    plain.batches[batch_id]["expires_at"] = "2026-11-23T16:30:00Z"
    run = dfbatch.last_run()
    with pytest.raises(RunPaused) as caught:
        adopt(dfbatch.Anthropic(api_key="k", base_url=plain.url), batch_id, Polars({"text": TEXTS}))

    assert str(caught.value) == (
        f"batch {batch_id} has not ended yet: it is in_progress, with 3 requests\n"
        "it ends by 2026-11-23 16:30 UTC at the latest; nothing was changed here\n"
        f"Hint: call dfbatch.adopt({batch_id!r}, …) again when it has ended"
    )
    assert len(dfbatch.runs()) == 1
    plain.ending.set()
    run.wait()


def test_a_batch_that_is_not_there_or_archived_says_so(
    claude: dfbatch.Anthropic, plain: PlainServer, lost: Any
) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    plain.batches[batch_id]["archived_at"] = "2026-12-24T00:00:00Z"
    lost()

    with pytest.raises(NotFound, match=r"^no batch msgbatch_other for this key\nnothing was changed here\nHint: check"):
        adopt(claude, "msgbatch_other", Polars({"text": TEXTS}))
    with pytest.raises(BatchLost, match=rf"^the results of batch {batch_id} were archived on 2026-12-24T00:00:00Z"):
        adopt(claude, batch_id, Polars({"text": TEXTS}))


@pytest.mark.parametrize("batches", [[], [7], "", ["msgbatch_1", ""]], ids=repr)
def test_what_is_no_id_is_refused(claude: dfbatch.Anthropic, plain: PlainServer, batches: Any) -> None:
    with pytest.raises(OptionError, match=r"a batch is named by its id|no batch was named"):
        adopt(claude, batches, Polars({"text": TEXTS}))

    assert sum(gate.count for gate in plain.gates.values()) == 0


def renamed(names: Callable[[int, str], str]) -> Callable[[list[bytes]], bytes]:
    """Lines with other ids."""

    def lines(made: list[bytes]) -> bytes:
        told = [json.loads(line) for line in made]
        return b"".join(
            json.dumps(line | {"custom_id": names(at, line["custom_id"])}).encode() + b"\n"
            for at, line in enumerate(told)
        )

    return lines


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (lambda at, name: f"my-request-{at}" if at == 1 else name, "it has the custom_id 'my-request-1'"),
        (lambda _, name: name + "0", "it has the custom_id '"),
        (lambda at, name: f"d{at:09}" + name[10:], "its custom_ids begin in different ways: 'd000000000"),
    ],
)
def test_a_batch_of_another_maker_is_an_error_that_names_one_id(
    claude: dfbatch.Anthropic, plain: PlainServer, lost: Any, names: Any, why: str
) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    plain.lines = renamed(names)
    lost()
    with pytest.raises(InputError) as caught:
        adopt(claude, batch_id, Polars({"text": TEXTS}))

    assert str(caught.value).startswith(f"batch {batch_id} was not made by dfbatch: {why}")
    assert dfbatch.runs() == []


def test_a_batch_without_a_line_is_an_error(claude: dfbatch.Anthropic, plain: PlainServer, lost: Any) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    plain.lines = lambda _: b"\r\n\n"
    lost()

    with pytest.raises(InputError, match="was not made by dfbatch: it has no results"):
        adopt(claude, batch_id, Polars({"text": TEXTS}))


def test_results_larger_than_answers_can_be_are_not_read_to_the_end(
    claude: dfbatch.Anthropic, plain: PlainServer, lost: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    lost()
    monkeypatch.setattr("dfbatch.run.relics.AROUND", 10)
    monkeypatch.setattr("dfbatch.run.relics.BYTES_A_TOKEN", 0)

    with pytest.raises(dfbatch.DfbatchError, match=rf"the results of batch {batch_id} are larger than 30 bytes"):
        adopt(claude, batch_id, Polars({"text": TEXTS}))


def test_adopting_twice_is_the_same_answers_once(claude: dfbatch.Anthropic, plain: PlainServer, lost: Any) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    lost()
    first = adopt(claude, batch_id, Polars({"text": TEXTS}))
    results = plain.gates["results"].count
    second = adopt(claude, batch_id, Polars({"text": TEXTS}))

    assert second.answers().equals(first.answers())
    assert (first.cost.tokens.output, second.cost.tokens.output) == (15, 0)
    assert plain.gates["results"].count == results


def test_a_batch_of_a_run_that_failed_here_is_drawn_on_as_it_is(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    plain.result = lambda params: {"type": "expired"} if params["messages"][0]["content"] == "b" else succeeded("good")
    frame = Polars({"text": ["a", "b"]})
    (batch_id,) = sent(claude, frame, retries=0)
    run = adopt(claude, batch_id, frame)

    assert (run.status, run.counts) == ("done", {"succeeded": 1, "expired": 1})


def test_a_chunk_in_doubt_is_proved_by_adopting_its_batch(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    frame = Polars({"text": TEXTS})
    run = frame.claude.submit("{text}", backend=claude, progress=False).wait()
    (chunk,) = run._ledger.chunks(run.id)
    (batch_id,) = plain.batches
    with run._ledger.transaction():  # as a lost reply leaves it
        run._ledger._link.execute("UPDATE chunks SET state = 'orphaned'")
        run._ledger._link.execute("DELETE FROM batches")
    adopted = adopt(claude, batch_id, frame)

    assert adopted.counts == {"succeeded": 4, "skipped": 1}
    assert run._ledger.chunk(chunk.id).state == COLLECTED
    assert plain.gates["create"].count == 1


def test_a_batch_that_was_let_go_here_says_which_run_had_it(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    frame = Polars({"text": TEXTS})
    run = frame.claude.submit("{text}", backend=claude, progress=False).wait()
    (batch_id,) = plain.batches
    run._ledger.note(run._ledger.chunks(run.id)[0].id, state=FORGONE)
    with pytest.raises(InputError, match=rf"^batch {batch_id} is known here: it is of run {run.id}, .* is forgone\n"):
        adopt(claude, batch_id, frame)


@pytest.mark.parametrize("event", ["accepted", "ended"])
def test_a_kill_between_the_steps_leaves_a_run_that_finds_its_batch(
    claude: dfbatch.Anthropic,
    plain: PlainServer,
    lost: Any,
    monkeypatch: pytest.MonkeyPatch,
    event: str,
) -> None:
    from dfbatch.ledger import Ledger

    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    lost()
    happen = Ledger.happen

    def dies(self: Ledger, chunk_id: str, what: str, **more: Any) -> str:
        if what == event:
            raise KeyboardInterrupt
        return happen(self, chunk_id, what, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "happen", dies)
        patched.setattr("dfbatch.run.prepare.remove", lambda *_: None)
        patched.setattr("dfbatch.run.prepare.shutil.rmtree", lambda *_, **__: None)
        patched.setattr(Ledger, "forget", lambda *_: [])
        with pytest.raises(KeyboardInterrupt):
            adopt(claude, batch_id, Polars({"text": TEXTS}))
    run_layer.close_ledgers()
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    (run,) = dfbatch.runs()
    run._progress = False

    assert run.wait().counts == {"succeeded": 4, "skipped": 1}
    assert plain.gates["create"].count == 1


def test_the_stop_button_during_a_download_leaves_nothing(
    claude: dfbatch.Anthropic, plain: PlainServer, lost: Any, tmp_path: Path
) -> None:
    (batch_id,) = sent(claude, Polars({"text": TEXTS}))
    lost()
    plain.gates["middle"].close()
    main = threading.main_thread().ident or 0

    def press() -> None:
        assert plain.gates["middle"].arrived.wait(20)
        signal.pthread_kill(main, signal.SIGINT)

    finger = threading.Thread(target=press)
    finger.start()
    with pytest.raises(KeyboardInterrupt):
        adopt(claude, batch_id, Polars({"text": TEXTS}))
    finger.join()
    plain.gates["middle"].open.set()

    assert dfbatch.runs() == []
    assert list((tmp_path / "new-home-0" / "runs").iterdir()) == []
    assert adopt(claude, batch_id, Polars({"text": TEXTS})).counts == {"succeeded": 4, "skipped": 1}


def test_the_emulator_s_batch_with_a_schema_comes_back_too(local: dfbatch.Anthropic, lost: Any) -> None:
    with Server(engine="sample") as server:
        backend = dfbatch.Anthropic(api_key="k", base_url=server.url)
        frame = Polars({"text": [f"row {number}" for number in range(20)]})
        ask: dict[str, Any] = {"schema": Literal["sport", "tech"], "into": "topic", "include": ("status",)}
        once = frame.claude.batch("{text}", backend=backend, progress=False, **ask)
        (batch_id,) = [mark.batch_id for mark in dfbatch.last_run().snapshot().batches]
        lost()

        assert adopt(backend, batch_id, frame, **ask).result().equals(once)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.sampled_from([*"abcdefgh", None]), min_size=1, max_size=20),
    changed=st.sets(st.integers(0, 19)),
    order=st.integers(0, 99),
)
def test_every_row_has_its_own_answer_or_none(
    claude: dfbatch.Anthropic, plain: PlainServer, lost: Any, texts: list[str | None], changed: set[int], order: int
) -> None:
    """Whatever cells were edited since, and in whatever order the lines come."""
    lost()
    frame = Polars({"text": texts}, schema={"text": pl.String})
    before = set(plain.batches)
    frame.claude.submit("{text}", backend=claude, progress=False).wait()
    ids = sorted(set(plain.batches) - before)
    plain.lines = lambda lines: b"\n".join(Random(order).sample(lines, len(lines))) + b"\n"
    lost()
    now = [f"new {at}" if at in changed else text for at, text in enumerate(texts)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not ids:
            return
        try:
            out = adopt(claude, ids, Polars({"text": now}, schema={"text": pl.String})).partial()["answer"].to_list()
        except InputError:
            out = [None] * len(now)

    assert all(answer in (None, f"answer to {text}") for text, answer in zip(now, out, strict=True))
    firsts = {text: texts.index(text) for text in texts}
    for text, answer in zip(now, out, strict=True):
        if text in firsts and text is not None and now.index(text) == firsts[text]:
            assert answer is not None
