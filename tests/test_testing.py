"""The door for users' own tests: answers of their own, no bill, a ledger that goes with the block."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import polars as pl
import pydantic
import pytest

import dfbatch
from dfbatch.errors import NoBackend, RowsFailedWarning
from dfbatch.testing import Emulator, answers

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME = pd.DataFrame({"text": ["A goal!", "A chip"]})


class Review(pydantic.BaseModel):
    topic: Literal["sport", "tech"]
    score: int


@pytest.fixture
def goals() -> Iterator[Emulator]:
    """As users write one."""
    with answers({"goal": "sport", "chip": "tech"}) as fake:
        yield fake


def test_a_mapping_answers_by_a_word_of_the_prompt() -> None:
    with answers({"goal": "sport", "chip": "tech"}):
        assert FRAME.claude.batch("Topic: {text}", progress=False)["answer"].tolist() == ["sport", "tech"]


def test_a_function_answers_by_the_parameters() -> None:
    with answers(lambda params: f"{params['model']} {params['max_tokens']}"):
        out = FRAME.claude.batch("Topic: {text}", progress=False, model="claude-haiku-5-5", max_tokens=7)

    assert out["answer"].tolist() == ["claude-haiku-5-5 7"] * 2


def test_answers_may_be_objects() -> None:
    with answers({"goal": {"topic": "sport", "score": 5}, "chip": {"topic": "tech", "score": 1}}):
        out = pl.from_pandas(FRAME).claude.batch("{text}", Review, progress=False)  # type: ignore[attr-defined]  # ours

    assert out["topic"].to_list() == ["sport", "tech"]
    assert out["score"].to_list() == [5, 1]


def test_an_answer_that_does_not_fit_the_schema_is_judged_as_claudes_would_be() -> None:
    given = {"goal": {"topic": "sport", "score": 5}, "chip": {"topic": "cars", "score": 1}}
    with answers(given), pytest.warns(RowsFailedWarning):
        out = FRAME.claude.batch("{text}", Review, progress=False, include=["status"])

    assert out["claude_status"].tolist() == ["succeeded", "invalid"]


def test_a_row_that_no_answer_was_given_for_says_so() -> None:
    with answers({"goal": "sport"}):
        with pytest.warns(RowsFailedWarning):
            out = FRAME.claude.batch("Topic: {text}", progress=False)
        error = dfbatch.last_run().failures()["error"].tolist()

    assert out["answer"].isna().tolist() == [False, True]
    assert ["no answer was given for 'Topic: A chip'" in text for text in error] == [True]


def test_requests_are_recorded(goals: Emulator) -> None:
    FRAME.claude.batch("Topic: {text}", progress=False, system="Be brief.")

    asked = sorted(params["messages"][0]["content"] for params in goals.requests)
    assert asked == ["Topic: A chip", "Topic: A goal!"]
    assert {params["system"] for params in goals.requests} == {"Be brief."}


@pytest.mark.parametrize("engine", ["sample", lambda _: "said"], ids=["sample", "function"])
def test_requests_are_recorded_whichever_engine_answers(engine: Any) -> None:
    with Emulator(engine=engine) as emulator:
        FRAME.claude.batch("Topic: {text}", progress=False, system="Be brief.")

    assert sorted(params["messages"][0]["content"] for params in emulator.requests) == [
        "Topic: A chip",
        "Topic: A goal!",
    ]
    assert {params["system"] for params in emulator.requests} == {"Be brief."}
    assert emulator.server is not None
    assert emulator.server.engine.name in {"sample", "<lambda>"}


def test_a_block_that_is_entered_again_records_anew() -> None:
    emulator = Emulator()
    for text in ("a", "b"):
        with emulator:
            pd.DataFrame({"text": [text]}).claude.batch("{text}", progress=False)

    assert [params["messages"][0]["content"] for params in emulator.requests] == ["b"]


def test_equal_rows_are_asked_once_and_the_usage_says_so(goals: Emulator) -> None:
    pd.concat([FRAME, FRAME]).claude.batch("Topic: {text}", progress=False)
    FRAME.claude.batch("Topic: {text}", progress=False, into="again")

    assert len(goals.requests) == goals.usage()["requests"] == 2


def test_the_block_has_a_ledger_of_its_own_that_goes_with_it(ledger_home: Path) -> None:
    with answers({"goal": "sport", "chip": "tech"}):
        FRAME.claude.batch("Topic: {text}", progress=False)
        inside = Path(os.environ["DFBATCH_HOME"])
        assert inside != ledger_home
        assert len(dfbatch.runs()) == 1

    assert os.environ["DFBATCH_HOME"] == str(ledger_home)
    assert not inside.exists()
    assert dfbatch.runs() == []


def test_a_home_that_was_not_set_is_not_set_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DFBATCH_HOME")
    with Emulator():
        assert "DFBATCH_HOME" in os.environ

    assert "DFBATCH_HOME" not in os.environ


def test_it_is_the_default_in_its_block_alone_also_after_an_error() -> None:
    with pytest.raises(KeyError), Emulator():
        _ = FRAME.claude.batch("Topic: {text}", progress=False)["no such column"]

    with pytest.raises(NoBackend):
        FRAME.claude.batch("Topic: {text}", progress=False)


def test_the_inner_of_two_blocks_answers(goals: Emulator) -> None:
    with answers(lambda _: "inner") as inner:
        assert FRAME.claude.batch("{text}", progress=False)["answer"].tolist() == ["inner", "inner"]

    assert FRAME.claude.batch("{text}", progress=False)["answer"].tolist() == ["sport", "tech"]
    assert (len(inner._settings), len(goals.requests)) == (1, 2)


def test_one_emulator_may_be_entered_again() -> None:
    emulator = Emulator(engine=lambda _: "said")
    for _ in range(2):
        with emulator:
            assert FRAME.claude.batch("{text}", progress=False)["answer"].tolist() == ["said", "said"]


def test_what_goes_wrong_can_be_ordered() -> None:
    with Emulator(faults=["refusal:times=1"]), pytest.warns(RowsFailedWarning):
        out = FRAME.claude.batch("{text}", progress=False, include=["status"])

    assert sorted(out["claude_status"]) == ["refused", "succeeded"]


def test_it_has_an_address_in_its_block_alone_and_tells_afterwards_what_it_was_asked() -> None:
    emulator = Emulator(engine=lambda _: "said")
    with pytest.raises(AttributeError):
        _ = emulator.url
    with emulator:
        assert emulator.url.startswith("http://127.0.0.1:")
        FRAME.claude.batch("{text}", progress=False)

    assert len(emulator.requests) == 2
    with pytest.raises(RuntimeError, match="Hint: "):
        _ = emulator.url


def test_a_run_says_who_answered() -> None:
    with answers({"goal": "sport", "chip": "tech"}):
        run: Any = dfbatch.submit(FRAME, "{text}", progress=False)
        run.wait()

        assert run.record.answered_by.endswith(", not Claude")
        assert "as-if" in str(run.cost)


def test_a_function_may_ask_dfbatch_nothing_new_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key in the environment the block still never leaves this machine."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-real")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    with answers(lambda _: "here"):
        assert FRAME.claude.batch("{text}", progress=False)["answer"].tolist() == ["here", "here"]


@pytest.mark.parametrize("given", [{"A": "said"}, lambda _: "said"], ids=["mapping", "function"])
def test_who_answers_is_said_in_plain_words(given: Any) -> None:
    with answers(given):
        FRAME.claude.batch("Topic: {text}", progress=False)
        run = dfbatch.last_run()

        assert "answered by the answers of this test, not Claude" in repr(run.show(0))
        assert run.snapshot().answered_by == "the answers of this test, not Claude"
