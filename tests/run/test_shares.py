"""Shares of labels and causes of failures: as tables, in the summary, escaped, with intervals that hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import polars as pl
import pytest
from pydantic import BaseModel

import dfbatch
from dfbatch.emulator import Server
from dfbatch.emulator.errors import ApiError
from dfbatch.errors import BudgetReached, UnknownColumn
from dfbatch.progress import summary
from dfbatch.proportions import exact
from dfbatch.run.shares import shares
from dfbatch.testing import answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    New = Callable[[dict[str, Any]], Any]

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


class Review(BaseModel):
    topic: Literal["sport", "tech"]
    good: bool
    words: list[str]


def label(params: dict[str, Any]) -> Any:
    text = params["messages"][-1]["content"]
    if text == "bad":
        return {"topic": "music", "good": True, "words": []}
    return {"topic": "sport" if "goal" in text else "tech", "good": "!" in text, "words": [text]}


@pytest.fixture(autouse=True)
def labelled() -> Iterator[None]:
    """Answers by the words of a text."""
    with answers(label):
        yield


def run_over(frame: Any, **options: Any) -> dfbatch.Run:
    run: dfbatch.Run = frame.claude.submit("{text}", Review, progress=False, **options)
    return run.wait()


def test_each_label_has_its_rows_its_share_and_an_interval(new: New) -> None:
    run = run_over(new({"text": ["goal!", "goal", "one more goal", "chip"]}))
    low, high = exact(0.75, 4)

    table = run.shares("topic")
    assert {name: list(table[name]) for name in table.columns} == {
        "column": ["topic", "topic"],
        "label": ["sport", "tech"],
        "rows": [3, 1],
        "share": [0.75, 0.25],
        "low": pytest.approx([low, 1 - high]),
        "high": pytest.approx([high, 1 - low]),
        "about": ["more rows like these"] * 2,
    }
    assert list(run.shares()["label"]) == ["sport", "tech", "False", "True"]
    assert list(run.shares()["rows"]) == [3, 1, 3, 1]


def test_rows_without_an_answer_are_not_counted_and_equal_rows_are_each() -> None:
    run = run_over(pl.DataFrame({"text": ["goal", "goal", "bad", None]}), retries=0)

    assert run.shares("topic")["rows"].to_list() == [2, 0]


def test_columns_go_by_the_names_that_the_user_sees() -> None:
    run = run_over(pl.DataFrame({"text": ["goal"]}), into="review")

    assert run.shares()["column"].unique(maintain_order=True).to_list() == ["review_topic", "review_good"]


def test_a_column_without_labels_is_named() -> None:
    with pytest.raises(UnknownColumn, match=r"no column 'words' with labels\nHint: columns with labels: topic, good"):
        run_over(pl.DataFrame({"text": ["goal"]})).shares("words")


def test_equal_rows_are_told_once_by_chance(new: New) -> None:
    """Six hundred rows of two texts know as little as two texts."""
    run = run_over(new({"text": ["goal"] * 300 + ["chip"] * 300}))
    table, (low, high) = run.shares("topic"), exact(0.5, 2)

    assert [*table["low"], *table["high"]] == pytest.approx([low, low, high, high])


def test_equal_rows_asked_each_on_its_own_are_no_more_than_one_text() -> None:
    once, each = (run_over(pl.DataFrame({"text": ["goal"] * 9 + ["chip"]}), dedupe=way) for way in (True, False))

    assert once.shares("topic").rows() == each.shares("topic").rows()


def test_the_samples_of_a_row_are_one_vote_for_its_share() -> None:
    frame = pl.DataFrame({"text": ["goal", "goal 2", "chip", "chip 2", "chip 3"]})

    assert run_over(frame).shares().rows() == run_over(frame, samples=3).shares().rows()


def test_rows_that_do_not_fit_may_have_any_label() -> None:
    texts = [f"goal {at}" for at in range(60)] + ["bad"] * 20
    run = run_over(pl.DataFrame({"text": texts}), retries=0, correct=False)
    sport = run.shares("topic").row(0, named=True)

    assert (sport["share"], sport["high"]) == (1.0, 1.0)
    assert sport["low"] < 60 / 80
    assert sport["about"] == "more rows like these, whatever 20 rows without an answer would say"


@pytest.fixture
def paused() -> dfbatch.Run:
    """A run over a frame sorted by topic whose budget is reached before all of it is asked."""
    texts = [f"goal {at}" for at in range(250)] + [f"chip {at}" for at in range(250)]
    with Server(engine=label) as server:
        backend = dfbatch.Anthropic(api_key="k", base_url=server.url)
        with pytest.raises(BudgetReached):
            run_over(
                pl.DataFrame({"text": texts}), backend=backend, model="claude-haiku-4-5", max_tokens=50, budget=0.025
            )
    return dfbatch.last_run()


def test_while_rows_wait_in_random_order_the_interval_is_about_the_frame(paused: dfbatch.Run) -> None:
    row = paused.shares("topic").row(0, named=True)

    assert 20 < 500 - paused.counts["pending"] < 480
    assert row["about"] == "all rows of this frame"
    assert (
        row["rows"] / 500 <= row["low"] < row["share"] < row["high"] <= (row["rows"] + paused.counts["pending"]) / 500
    )
    assert "the interval is about all rows of this frame" in summary.html(paused.snapshot())


def test_while_rows_wait_in_another_order_there_is_no_interval(paused: dfbatch.Run) -> None:
    """Without a budget the frame's own order is kept."""
    known, spec = paused._answers, msgspec.structs.replace(paused._answers.record.spec, budget=None)
    found = shares(known.sheet, replace(known.record, spec=spec), known.rows, known.standing)

    assert [(share.low, share.high) for share in found] == [(None, None)] * 4
    assert found[0].about == "no interval: rows wait for an answer, and those answered are no random part"
    seen = replace(paused.snapshot(), shares=tuple(found))
    assert " % (" not in summary.html(seen)


def test_causes_that_differ_in_the_value_alone_are_one() -> None:
    """The value differs from row to row; what was expected does not, and is told."""
    with answers(lambda params: {"topic": params["messages"][-1]["content"], "good": True, "words": []}):
        run = run_over(pl.DataFrame({"text": ["chess", "go", "sport", "dice"]}), retries=0, correct=False)
        (cause,) = run.snapshot().causes

        assert (cause.outcome, cause.count, cause.rows) == ("invalid", 3, (0, 1, 3))
        assert "sport" in cause.error
        assert "chess" not in cause.error
        assert "…" in cause.error
        assert "chess" in run.failures()["error"].sort()[0]


def test_causes_too_many_to_be_told_are_counted() -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]

    def refuse(params: dict[str, Any]) -> Any:
        raise ApiError(f"{params['messages'][-1]['content']} is too much", kind="invalid_request_error", status=400)

    with Server(engine=refuse) as server:
        backend = dfbatch.Anthropic(api_key="k", base_url=server.url)
        causes = run_over(pl.DataFrame({"text": words}), backend=backend).snapshot().causes

    assert len(causes) == 9
    assert (causes[-1].outcome, causes[-1].count, causes[-1].rows) == ("other", 2, ())
    assert causes[-1].error == "2 more causes: run.failures() has all rows"


def test_labels_of_rows_without_any_answer_have_no_shares() -> None:
    run = run_over(pl.DataFrame({"text": ["bad"]}), retries=0, correct=False)

    assert (len(run.shares()), run.snapshot().shares) == (0, ())


def test_causes_are_grouped_with_their_first_rows() -> None:
    run = run_over(pl.DataFrame({"text": ["bad", *["goal"] * 3, *["bad"] * 9, None]}), retries=0)
    (cause,) = run.snapshot().causes

    assert (cause.outcome, cause.count, cause.rows) == ("invalid", 10, (0, 4, 5, 6, 7, 8))
    assert "topic" in cause.error
    assert "0, 4, 5, 6, 7, 8, …" in summary.html(run.snapshot())
    assert "10 invalid: " in summary.text(run.snapshot())
