"""The one warning about failed rows: how many, the commonest cause, and the step that helps against that one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import pytest

import dfbatch
from dfbatch.errors import RowsFailed, RowsFailedWarning
from dfbatch.run.failures import helps

from .plain_server import PlainServer, always, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = ["a", "b", None]


def errored(kind: str, message: str = "said") -> dict[str, Any]:
    return {"type": "errored", "error": {"type": "error", "error": {"type": kind, "message": message}}}


@pytest.fixture
def warned(claude: dfbatch.Anthropic) -> Callable[..., str]:
    """What the warning says after a cell without automatic tries."""

    def label(texts: list[Any] = TEXTS, schema: Any = None, **more: Any) -> str:
        more = {"backend": claude, "progress": False, "retries": 0, **more}
        with pytest.warns(RowsFailedWarning) as caught:
            pd.DataFrame({"text": texts}).claude.batch("{text}", schema, **more)
        return str(caught[-1].message)

    return label


def hint(text: str) -> str:
    return text.partition("\nHint: ")[2].partition("; run.failures()")[0]


def test_the_warning_counts_names_the_cause_and_how_to_see_it(warned: Any, plain: PlainServer) -> None:
    plain.result = always(errored("overloaded_error", "Overloaded"))
    told = warned()
    run_id = dfbatch.last_run().id

    assert told == (
        f"2 of 3 rows of run {run_id} have no answer: 2 errored\n"
        "most often: overloaded_error: Overloaded (2×)\n"
        "Hint: this may pass: run.retry(which='errored') asks them again; run.failures() shows why"
        f" (run = dfbatch.open({run_id!r}))"
    )


def test_rows_that_were_never_sent_are_no_cause_of_a_failure(warned: Any, plain: PlainServer) -> None:
    plain.result = always(errored("overloaded_error"))

    assert "most often: overloaded_error: said (1×)" in warned(["a", None, None, None])


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (succeeded("no", stop_reason="refusal"), "run.retry(which='refused') asks them again, with model=…"),
        (errored("invalid_request_error"), "asking them again as they are does not help: mend the call"),
        (errored("not_found_error"), "asking them again as they are does not help: mend the call"),
        (errored("permission_error"), "mend the key or its account, then run.retry(which='errored')"),
        (errored("rate_limit_error"), "this may pass: run.retry(which='errored') asks them again"),
        ({"type": "expired"}, "run.retry(which='expired') asks them again: what expires is not billed"),
        ({"type": "canceled"}, "run.retry(which='canceled') asks them again"),
        (
            succeeded("x", stop_reason="model_context_window_exceeded"),
            "prompt and answer do not fit the model's context",
        ),
        (succeeded("x", stop_reason="pause_turn"), "the model paused for its tools"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_the_step_that_helps_depends_on_the_outcome(
    warned: Any, plain: PlainServer, result: dict[str, Any], expected: str
) -> None:
    plain.result = always(result)

    assert hint(warned()).startswith(expected)


def test_an_answer_that_does_not_fit_points_at_the_schema(warned: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded('{"answer": "z"}'))

    assert hint(warned(schema=Literal["x", "y"])) == (
        "run.retry(which='invalid') asks them again; where answers are right as they are, widen the schema"
    )


def test_cut_answers_name_a_larger_limit_that_asks_only_those_rows_again(warned: Any, plain: PlainServer) -> None:
    cut = {"a": succeeded("x", stop_reason="max_tokens"), "b": succeeded("whole")}
    plain.result = lambda params: cut[params["messages"][0]["content"]]
    told = hint(warned(max_tokens=10))
    larger = re.search(r"max_tokens=(\d+) in the cell", told)
    assert larger
    plain.result = always(succeeded("now whole"))
    before = plain.asked.total()
    backend = dfbatch.last_run()._work.backend
    out = pd.DataFrame({"text": TEXTS}).claude.batch(
        "{text}", max_tokens=int(larger[1]), backend=backend, progress=False, on_error="raise"
    )

    assert told.startswith("they were cut at 10 tokens: max_tokens=40 in the cell asks only these rows again")
    assert out["answer"].tolist()[:2] == ["now whole", "whole"]
    assert plain.asked.total() == before + 1


def test_cut_answers_that_were_tried_with_more_name_more_than_that(warned: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded("x", stop_reason="max_tokens"))

    told = warned(max_tokens=10, retries=1)

    assert "they were cut at 10, and again at 40 tokens: max_tokens=160 in the cell" in hint(told)
    assert re.search(r"\nthe truncated ones were asked twice, \$0\.0\d+ spent on them\n", told)


def test_what_was_tried_in_vain_is_said_with_how_often_and_what_it_cost(warned: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded('{"answer": "z"}'))
    told = warned(schema=Literal["x", "y"], retries=1)
    spent = dfbatch.last_run().cost

    assert f"\nthe invalid ones were asked twice, {spent} spent on them\n" in told
    assert hint(told) == (
        "they were asked twice already: a clearer prompt or a wider schema helps more than run.retry(which='invalid')"
    )


def test_what_did_not_pass_is_said_with_the_number_of_tries(warned: Any, plain: PlainServer) -> None:
    plain.result = always(errored("overloaded_error", "Overloaded"))
    told = warned(retries=2)

    assert "\nthe errored ones were asked 3 times\n" in told
    assert hint(told) == "it did not pass in 3 tries: wait a while, then run.retry(which='errored') asks them again"


def test_the_commonest_outcome_decides(warned: Any, plain: PlainServer) -> None:
    kinds = {"a": errored("overloaded_error"), "b": {"type": "expired"}, "c": {"type": "expired"}}
    plain.result = lambda params: kinds[params["messages"][0]["content"]]
    told = warned(["a", "b", "c"])

    assert "have no answer: 2 expired, 1 errored\nmost often: expired before it was processed (2×)\n" in told
    assert hint(told).startswith("run.retry(which='expired')")


def test_failed_rows_that_raise_say_the_same(claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    plain.result = always(succeeded("no", stop_reason="refusal"))
    with pytest.raises(RowsFailed, match=r"\nHint: run\.retry\(which='refused'\)"):
        pd.DataFrame({"text": ["a"]}).claude.batch("{text}", backend=claude, progress=False, on_error="raise")


def test_every_outcome_has_something_that_helps() -> None:
    outcomes = ("refused", "truncated", "invalid", "errored", "expired", "canceled", "missing", "pending")
    told = {outcome: helps(outcome, "", 10) for outcome in outcomes}

    assert len(set(told.values())) == len(outcomes)
    assert "pays again" in told["missing"]
    assert told["pending"] == "run.resume() goes on"


@pytest.mark.parametrize(
    ("cause", "hint"),
    [
        ("the model called tool 'f' and wrote no text; include=['message'] holds the call", "'tool_choice': {'type'"),
        ("the answer holds no text, only 'server_tool_use'; include=['message'] holds it", "asks nothing again"),
        ("the answer is empty: white space alone", "run.retry(which='invalid') asks them once more"),
        ("expected int, got str - at $.score", "widen the schema"),
    ],
)
def test_what_helps_against_answers_that_are_none_depends_on_why(cause: str, hint: str) -> None:
    assert hint in helps("invalid", cause, 1024)
