"""Shares of labels and causes of failures: as tables, in the summary, escaped, with intervals that hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
import pytest
from pydantic import BaseModel

import dfbatch
from dfbatch.bounds import wilson
from dfbatch.emulator import Server
from dfbatch.emulator.errors import ApiError
from dfbatch.errors import UnknownColumn
from dfbatch.progress import summary
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
    run = run_over(new({"text": ["goal!", "goal", "goal", "chip"]}))
    low, high = wilson(3, 4)

    table = run.shares("topic")
    assert {name: list(table[name]) for name in table.columns} == {
        "column": ["topic", "topic"],
        "label": ["sport", "tech"],
        "rows": [3, 1],
        "share": [0.75, 0.25],
        "low": [low, wilson(1, 4)[0]],
        "high": [high, wilson(1, 4)[1]],
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


def test_an_interval_of_95_percent_holds_the_true_share_in_about_95_of_100() -> None:
    chance = np.random.default_rng(0)
    for true in (0.05, 0.3, 0.5):
        counts = chance.binomial(60, true, 2_000).tolist()
        held = np.mean([low <= true <= high for low, high in (wilson(count, 60) for count in counts)])

        assert 0.93 <= held <= 0.98


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
