"""Tries by cause: what may pass, what was cut, what does not fit; each once or a few times, each in the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import OptionError
from dfbatch.run import tries

from .clocks import MovingClock
from .plain_server import PlainServer, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

KEY = "sk-ant-secret-of-this-test"
PASSING = ["overloaded_error", "api_error", "timeout_error", "rate_limit_error"]

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


def errored(kind: str) -> dict[str, Any]:
    return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": "no"}}}


def told_by_batch(plain: PlainServer, *told: Any) -> None:
    """The first batch is told the first, the second the second, and so on."""

    def result(params: dict[str, Any]) -> Any:
        batches = [
            at for at, held in enumerate(plain.requests.values()) if any(item["params"] is params for item in held)
        ]
        return told[min(batches[-1], len(told) - 1)]

    plain.result = result


@pytest.fixture
def label(plain: PlainServer, claude: dfbatch.Anthropic) -> Callable[..., Any]:
    """Label one row by a clock that moves; the run, done."""

    def call(schema: Any = None, **options: Any) -> Any:
        frame = Polars({"text": ["a"]})
        run = frame.claude.submit("{text}", schema, backend=claude, progress=False, **options)
        run._work.clock = MovingClock()
        return run.wait()

    return call


@pytest.mark.parametrize("kind", [*PASSING, "expired"])
def test_what_may_pass_is_asked_again_with_growing_pauses(
    plain: PlainServer, label: Callable[..., Any], kind: str
) -> None:
    failed = {"type": "expired"} if kind == "expired" else errored(kind)
    told_by_batch(plain, failed, failed, succeeded("at last"))
    run = label()

    assert (run.counts, len(plain.batches)) == ({"succeeded": 1}, 3)
    assert run._work.clock.moved >= sum(tries.PAUSES[:2])
    assert [chunk.kind for chunk in run._ledger.chunks(run.id)] == ["", "again", "again"]


@pytest.mark.parametrize(("retries", "batches"), [(0, 1), (1, 2), (2, 3)])
def test_what_does_not_pass_is_asked_again_only_so_often(
    plain: PlainServer, label: Callable[..., Any], retries: int, batches: int
) -> None:
    told_by_batch(plain, errored("overloaded_error"))
    run = label(retries=retries)

    assert (run.counts, len(plain.batches)) == ({"errored": 1}, batches)
    assert run.answers()["error"].to_list() == ["overloaded_error: no"]


@pytest.mark.parametrize(
    "final",
    [
        errored("invalid_request_error"),
        errored("not_found_error"),
        {"type": "canceled"},
        succeeded("no", stop_reason="refusal"),
        succeeded("so", stop_reason="pause_turn"),
        succeeded("so", stop_reason="model_context_window_exceeded"),
        {"type": "new_type_of_result"},
    ],
    ids=lambda told: str(told.get("error") or told)[:60],
)
def test_what_would_be_the_same_again_is_never_asked_again_by_itself(
    plain: PlainServer, label: Callable[..., Any], final: dict[str, Any]
) -> None:
    told_by_batch(plain, final)
    run = label()

    assert len(plain.batches) == 1
    assert run.counts.keys() & {"succeeded", "pending"} == set()


def test_an_absent_line_is_never_asked_again_by_itself(plain: PlainServer, label: Callable[..., Any]) -> None:
    plain.lines = lambda _: b""
    run = label()

    assert (run.counts, len(plain.batches)) == ({"missing": 1}, 1)


def test_an_answer_that_was_cut_is_asked_for_once_with_more_room_and_reused_as_it_is(
    plain: PlainServer, label: Callable[..., Any]
) -> None:
    usage = {"input_tokens": 10, "output_tokens": 300}
    told_by_batch(plain, succeeded("half", stop_reason="max_tokens"), succeeded("whole", usage=usage))
    run = label(max_tokens=100)
    sent = [item["params"]["max_tokens"] for held in plain.requests.values() for item in held]

    assert (run.answers()["answer"].to_list(), sent) == (["whole"], [100, 400])
    assert label(max_tokens=100).answers()["answer"].to_list() == ["whole"]
    assert len(plain.batches) == 2


def test_an_answer_that_is_cut_twice_stays_cut(plain: PlainServer, label: Callable[..., Any]) -> None:
    told_by_batch(plain, succeeded("half", stop_reason="max_tokens"))

    assert (label().counts, len(plain.batches)) == ({"truncated": 1}, 2)


def test_an_answer_that_does_not_fit_is_asked_for_once_with_what_is_wrong(
    plain: PlainServer, label: Callable[..., Any]
) -> None:
    told_by_batch(plain, succeeded('{"answer": "maybe"}'), succeeded('{"answer": "yes"}'))
    run = label(Literal["yes", "no"])
    *_, last = plain.requests.values()
    asked, said, correction = last[0]["params"]["messages"]

    assert run.answers()["answer"].to_list() == ["yes"]
    assert (asked["content"], said) == ("a", {"role": "assistant", "content": '{"answer": "maybe"}'})
    assert correction["content"].startswith("This answer does not fit the schema: ")
    assert run.show(0).asked == "a"
    assert label(Literal["yes", "no"]).answers()["answer"].to_list() == ["yes"]
    assert len(plain.batches) == 2


CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
CALLED = "the model called tool 'f' and wrote no text; include=['message'] holds the call"
ANSWER = succeeded('{"answer": "yes"}')


@pytest.mark.parametrize("schema", [None, Literal["yes", "no"]])
def test_a_call_of_a_tool_alone_is_invalid_and_never_asked_again_by_itself(
    plain: PlainServer, label: Callable[..., Any], schema: Any
) -> None:
    told_by_batch(plain, succeeded("", content=[CALL], stop_reason="tool_use"), ANSWER)
    run = label(schema, include=["message", "error"])

    assert (run.counts, len(plain.batches)) == ({"invalid": 1}, 1)
    assert run.result()["claude_error"].to_list() == [CALLED]
    assert "toolu_1" in str(run.result()["claude_message"].to_list())


@pytest.mark.parametrize("content", [[], [{"type": "text", "text": " "}], [{"type": "thinking", "thinking": "hm"}]])
def test_an_empty_answer_is_asked_for_once_more_as_it_was(
    plain: PlainServer, label: Callable[..., Any], content: list[Any]
) -> None:
    told_by_batch(plain, succeeded("", content=content), ANSWER)
    run = label(Literal["yes", "no"], correct=False)
    first, second = (held[0]["params"] for held in plain.requests.values())

    assert (run.answers()["answer"].to_list(), len(plain.batches)) == (["yes"], 2)
    assert first == second
    assert (run.cost.tokens.input, run.cost.tokens.output) == (20, 10)
    assert sum(part.usd for part in run.cost.outcomes) == pytest.approx(run.cost.spent)


def test_an_answer_that_is_empty_twice_is_invalid_and_final(plain: PlainServer, label: Callable[..., Any]) -> None:
    told_by_batch(plain, succeeded("", content=[]))
    run = label()

    assert (run.counts, run.answers()["error"].to_list()) == ({"invalid": 1}, ["the answer is empty"])
    assert label().counts == {"invalid": 1}
    assert len(plain.batches) == 2


def test_an_empty_answer_is_not_asked_again_where_no_tries_are_wanted(
    plain: PlainServer, label: Callable[..., Any]
) -> None:
    told_by_batch(plain, succeeded("", content=[]))

    assert (label(retries=0).counts, len(plain.batches)) == ({"invalid": 1}, 1)


def test_after_an_empty_answer_one_that_does_not_fit_is_still_corrected(
    plain: PlainServer, label: Callable[..., Any]
) -> None:
    told_by_batch(plain, succeeded("", content=[]), succeeded('{"answer": "maybe"}'), ANSWER)
    run = label(Literal["yes", "no"])

    assert run.answers()["answer"].to_list() == ["yes"]
    assert [chunk.kind for chunk in run._ledger.chunks(run.id)] == ["", "empty", "corrected"]


@pytest.mark.parametrize(
    ("fault", "error", "calls"),
    [
        ("empty", "the answer is empty", 2),
        ("thoughts_only", "the answer is empty: the model thought, and wrote no text", 2),
        ("tool_call:tool=f", CALLED, 1),
    ],
)
def test_what_the_emulator_bills_for_answers_without_a_text_is_the_cost_of_the_run(
    fault: str, error: str, calls: int
) -> None:
    with Server(engine=lambda _: "fine", faults=[fault]) as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        run = Polars({"text": ["a", "b"]}).claude.submit("{text}", backend=backend, progress=False).wait()
        usage = server.usage()

        assert run.answers()["error"].to_list() == [error] * 2
        assert set(usage["billed_by_digest"].values()) == {calls}
        assert run.cost.spent == pytest.approx(usage["dollars"])


def test_no_correction_where_none_is_wanted(plain: PlainServer, label: Callable[..., Any]) -> None:
    told_by_batch(plain, succeeded('{"answer": "maybe"}'))

    assert (label(Literal["yes", "no"], correct=False).counts, len(plain.batches)) == ({"invalid": 1}, 1)
    assert (label(Literal["yes", "no"], reuse=False).counts, len(plain.batches)) == ({"invalid": 1}, 3)


def test_every_try_is_in_the_cost(plain: PlainServer, label: Callable[..., Any]) -> None:
    told_by_batch(plain, succeeded('{"answer": "maybe"}'), succeeded('{"answer": "yes"}'))
    run = label(Literal["yes", "no"])

    assert (run.cost.tokens.input, run.cost.tokens.output) == (20, 10)
    assert dfbatch.open(run.id).cost == run.cost


def test_by_hand_another_model_is_asked_for_the_failed_rows_alone(
    plain: PlainServer, label: Callable[..., Any]
) -> None:
    told_by_batch(plain, succeeded("no", stop_reason="refusal"), succeeded("fine"))
    run = label()
    run.retry(which="refused", model="claude-sonnet-5-5", max_tokens=50).wait()
    *_, last = plain.requests.values()

    assert run.answers()["answer"].to_list() == ["fine"]
    assert (last[0]["params"]["model"], last[0]["params"]["max_tokens"]) == ("claude-sonnet-5-5", 50)


def test_by_hand_the_last_rows_are_asked_at_once_at_the_full_price() -> None:
    answers = iter(["no", "yes"])
    with Server(engine=lambda _: {"answer": next(answers)}) as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        frame = Polars({"text": ["a"]})
        run = frame.claude.submit(
            "{text}", Literal["yes"], backend=backend, progress=False, retries=0, correct=False
        ).wait()

        assert run.counts == {"invalid": 1}

        run.retry(via="now").wait()
        usage = server.usage()

        assert run.answers()["answer"].to_list() == ["yes"]
        assert (usage["calls"]["POST /v1/messages"], usage["batches_created"]) == (1, 1)
        assert run.cost.spent == pytest.approx(usage["dollars"])
        assert dfbatch.open(run.id).counts == {"succeeded": 1}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"via": "later"}, "via='later'"),
        ({"which": "succeeded"}, "which='succeeded' cannot be asked again"),
        ({"max_tokens": 0}, "max_tokens=0: a whole number of at least 1 is needed"),
    ],
)
def test_what_cannot_be_asked_again_is_refused(
    plain: PlainServer, label: Callable[..., Any], changes: dict[str, Any], text: str
) -> None:
    told_by_batch(plain, errored("invalid_request_error"))
    run = label()
    with pytest.raises(OptionError, match=text):
        run.retry(**changes)

    assert len(plain.batches) == 1


def test_a_second_run_on_the_same_rows_gets_what_the_tries_of_the_first_bring(
    plain: PlainServer, claude: dfbatch.Anthropic
) -> None:
    plain.ending.clear()
    told_by_batch(plain, succeeded('{"answer": "maybe"}'), succeeded('{"answer": "yes"}'))
    frame = Polars({"text": ["a"]})
    runs = [frame.claude.submit("{text}", Literal["yes", "no"], backend=claude, progress=False) for _ in range(2)]
    plain.ending.set()

    assert [run.wait().answers()["answer"].to_list() for run in runs] == [["yes"], ["yes"]]
    assert len(plain.batches) == 2
