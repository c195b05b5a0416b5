"""Rows that fail for many causes at once, at both servers: which are asked again, how, how often, and at what cost.

Each cause by itself is in `test_tries.py`; what goes through `/v1/messages` in `test_now.py`.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch.models import Models
from dfbatch.pricing import Tokens
from dfbatch.pricing import cost as priced
from dfbatch.run.tries import PAUSES, REHEARSED

from .hours import Hours
from .oracle import PASSING, Oracle
from .sites import KEY, Emulated, Plain, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
Answer = Literal["x", "y"]

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")

HAIKU = Models().find("claude-haiku-5-5")


@pytest.fixture
def oracle() -> Oracle:
    return Oracle()


@pytest.fixture(params=["emulator", "plain"])
def site(request: pytest.FixtureRequest, oracle: Oracle) -> Iterator[Site]:
    """Each server."""
    with Emulated(engine=oracle.engine) if request.param == "emulator" else Plain(oracle.result) as server:
        yield server


@pytest.fixture
def alone(oracle: Oracle) -> Iterator[Plain]:
    """The plain server, where nothing is cheaper than at the API."""
    with Plain(oracle.result) as server:
        yield server


@pytest.fixture
def hours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Hours:
    """What runs go by."""
    clock = Hours(request.getfixturevalue("site" if "site" in request.fixturenames else "alone"))
    monkeypatch.setattr("dfbatch.run.clock.wall", clock)
    monkeypatch.setattr("dfbatch.run.tries.PAUSES", PAUSES)  # as long as they are for users
    return clock


def begun(site: Site, texts: list[str], **more: Any) -> Any:
    backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
    return Polars({"text": texts}).claude.submit("{text}", Answer, backend=backend, progress=False, **more)


def kinds(run: Any) -> list[tuple[str, int]]:
    """The run's chunks: why each was asked, and how many requests it has."""
    return [(chunk.kind, chunk.requests) for chunk in run._ledger.chunks(run.id)]


def dollars(site: Site) -> float:
    """What the server billed."""
    if isinstance(site, Emulated):
        return float(site.usage()["dollars"])
    assert isinstance(site, Plain)
    count = site.billed.total()
    return priced(HAIKU, Tokens(10 * count, 5 * count)) or 0.0


# --------------------------------------------------------------- by themselves


def test_every_cause_at_once_and_every_try_in_the_cost(site: Site, hours: Hours, oracle: Oracle) -> None:
    oracle.script = {
        "passes": ["api_error", "fine"],
        "passes late": ["overloaded_error", "rate_limit_error", "fine"],
        "passes never": ["timeout_error"],
        "long": ["cut", "fine"],
        "too long": ["cut"],
        "odd": ["unfit", "fine"],
        "too odd": ["unfit"],
        "wrong": ["invalid_request_error", "fine"],
        "no": ["refused", "fine"],
        "pausing": ["paused", "fine"],
        "full": ["full", "fine"],
    }
    texts = [*oracle.script, "good", "long"]
    run = begun(site, texts).wait()

    assert dict(zip(texts, run.answers()["status"].to_list(), strict=True)) == {
        "passes": "succeeded",
        "passes late": "succeeded",
        "passes never": "errored",
        "long": "succeeded",
        "too long": "truncated",
        "odd": "succeeded",
        "too odd": "invalid",
        "wrong": "errored",
        "no": "refused",
        "pausing": "truncated",
        "full": "truncated",
        "good": "succeeded",
    }
    assert kinds(run) == [("", 12), ("again", 3), ("longer", 2), ("corrected", 2), ("again", 2)]
    assert run.cost.spent == pytest.approx(dollars(site))
    assert run.cost.spent == pytest.approx(dfbatch.open(run.id).cost.spent)
    asked = {text: oracle.texts().count(text) for text in oracle.script}
    assert asked == {
        "passes": 2,
        "passes late": 3,
        "passes never": 3,
        "long": 2,
        "too long": 2,
        "odd": 2,
        "too odd": 2,
        "wrong": 1,
        "no": 1,
        "pausing": 1,
        "full": 1,
    }


@pytest.mark.parametrize("kind", PASSING)
def test_pauses_grow_up_to_ten_minutes(alone: Plain, hours: Hours, oracle: Oracle, kind: str) -> None:
    oracle.script = {"a": [kind]}
    run = begun(alone, ["a"], retries=4).wait()

    made = [datetime.fromisoformat(batch["created_at"]).timestamp() for batch in alone.batches.values()]
    waited = [after - before for before, after in pairwise(made)]
    assert run.counts == {"errored": 1}
    assert waited == [pytest.approx(pause, abs=10) for pause in (*PAUSES, PAUSES[-1])]


def test_an_emulator_does_not_let_anybody_wait(monkeypatch: pytest.MonkeyPatch, oracle: Oracle) -> None:
    oracle.script = {"a": ["api_error"]}
    with Emulated(engine=oracle.engine) as site:
        hours = Hours(site)
        monkeypatch.setattr("dfbatch.run.clock.wall", hours)
        monkeypatch.setattr("dfbatch.run.tries.PAUSES", PAUSES)
        begun(site, ["a"]).wait()

        assert sum(PAUSES[:2]) * REHEARSED <= hours.passed < 30


@pytest.mark.parametrize("word", [*PASSING, "cut", "unfit"])
def test_retries_of_zero_switch_off_every_try(site: Site, hours: Hours, oracle: Oracle, word: str) -> None:
    oracle.script = {"a": [word, "fine"]}
    run = begun(site, ["a", "b"], retries=0).wait()

    assert kinds(run) == [("", 2)]
    assert run.counts["succeeded"] == 1


def test_those_that_expired_are_asked_again_alone(alone: Plain, hours: Hours, oracle: Oracle) -> None:
    oracle.script = {"a": ["expired", "fine"], "b": ["canceled", "fine"]}
    run = begun(alone, ["a", "b", "c"]).wait()

    assert (run.counts, kinds(run)) == ({"succeeded": 2, "canceled": 1}, [("", 3), ("again", 1)])
    assert run.retry().wait().counts == {"succeeded": 3}
    assert kinds(run)[2:] == [("hand", 1)]
    assert alone.bills() == [1, 1, 1]


def test_a_run_that_is_canceled_while_it_pauses_asks_nothing_more(alone: Plain, hours: Hours, oracle: Oracle) -> None:
    oracle.script = {"a": ["api_error", "fine"]}
    with hours.still():
        run = begun(alone, ["a", "b"])
        hours.at(15, run.cancel)
    run.wait()

    assert (run.status, run.counts, len(alone.made())) == ("canceled", {"succeeded": 1, "errored": 1}, 1)
    assert run.resume().wait().counts == {"succeeded": 2}


# --------------------------------------------------------------- what others get


def test_the_cell_again_takes_the_best_answer_of_all_tries_and_asks_for_none(
    site: Site, hours: Hours, oracle: Oracle
) -> None:
    oracle.script = {"long": ["cut", "fine"], "too long": ["cut"], "odd": ["unfit", "fine"], "too odd": ["unfit"]}
    first = begun(site, [*oracle.script]).wait()
    asked = len(oracle.asked)
    second = begun(site, [*oracle.script]).wait()

    assert len(oracle.asked) == asked
    assert second.answers().equals(first.answers())
    assert (second.counts, second.cost.spent) == ({"succeeded": 2, "truncated": 1, "invalid": 1}, 0)
    assert second.cost.saved is not None
    assert second.cost.saved.reuse > 0


def test_a_longer_answer_serves_who_asks_for_no_more_than_the_first_call_did(
    alone: Plain, hours: Hours, oracle: Oracle
) -> None:
    """It has more tokens than that call allowed; a call that allows less still gets the cut one."""
    oracle.script = {"long": ["cut", "fine"]}
    line = oracle._line
    oracle._line = lambda word: line(word) if word == "cut" else _of_size(line(word), 300)  # type: ignore[method-assign]
    begun(alone, ["long"], max_tokens=100).wait()

    again = [begun(alone, ["long"], max_tokens=limit).wait().counts for limit in (100, 300, 99)]
    assert again == [{"succeeded": 1}, {"succeeded": 1}, {"truncated": 1}]
    assert len(alone.made()) == 2


def _of_size(line: dict[str, Any], tokens: int) -> dict[str, Any]:
    line["message"]["usage"]["output_tokens"] = tokens
    return line


def _asks(site: Site, texts: list[str], **more: Any) -> int:
    before = len(site.made())
    begun(site, texts, **more).wait()
    return len(site.made()) - before


@pytest.mark.parametrize("words", [["api_error", "fine"], ["cut", "fine"], ["unfit", "fine"], ["unfit"], ["cut"]])
def test_a_second_run_waits_for_the_tries_of_the_first_and_has_the_same_columns(
    site: Site, hours: Hours, oracle: Oracle, words: list[str]
) -> None:
    site.last(600)
    oracle.script = {"a": words}
    with hours.still():
        first, second = (begun(site, texts) for texts in (["a", "b"], ["b", "a", "a", "c"]))
    one, two = first.wait().answers(), second.wait().answers()

    assert two["answer"].to_list()[:3] == [one["answer"][1], one["answer"][0], one["answer"][0]]
    assert two["status"].to_list()[:3] == [one["status"][1], one["status"][0], one["status"][0]]
    assert two["error"].to_list()[:3] == [one["error"][1], one["error"][0], one["error"][0]]
    assert oracle.texts().count("a") == 2
    assert (first.cost.spent or 0) + (second.cost.spent or 0) == pytest.approx(dollars(site))


# --------------------------------------------------------------- tries whose reply is lost


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize(("words", "kind"), [("api_error", "again"), ("cut", "longer"), ("unfit", "corrected")])
def test_a_try_whose_reply_is_lost_is_found_or_made_once_more_as_it_was(
    site: Site, hours: Hours, oracle: Oracle, words: str, kind: str, *, accepted: bool
) -> None:
    oracle.script = {"a": [words, "fine"]}
    site.last(100)
    with hours.still():
        run = begun(site, ["a", "b"])
        site.lose("reset" if accepted else 500, accepted=accepted)
    run.wait()

    assert run.counts == {"succeeded": 2}
    assert kinds(run) == [("", 2), (kind, 1)] + ([] if accepted else [(kind, 1)])
    assert oracle.texts().count("a") == 2
    assert run.cost.spent == pytest.approx(dollars(site))


@pytest.mark.parametrize("accepted", [True, False])
def test_a_retry_by_hand_whose_reply_is_lost(site: Site, hours: Hours, oracle: Oracle, *, accepted: bool) -> None:
    oracle.script = {"a": ["refused", "fine"]}
    run = begun(site, ["a", "b"]).wait()
    site.lose("reset" if accepted else 529, accepted=accepted)
    run.retry("refused", max_tokens=99, model="claude-sonnet-4-6").wait()

    assert run.counts == {"succeeded": 2}
    assert kinds(run) == [("", 2), ("hand", 1)] + ([] if accepted else [("hand", 1)])
    assert [(params["max_tokens"], params["model"]) for params in oracle.asked[2:]] == [(99, "claude-sonnet-4-6")]


# --------------------------------------------------------------- by hand


def test_by_hand_some_outcomes_are_asked_and_no_others(site: Site, hours: Hours, oracle: Oracle) -> None:
    oracle.script = {
        "a": ["refused", "fine"],
        "b": ["invalid_request_error", "fine"],
        "c": ["cut", "cut", "fine"],
        "d": ["unfit", "unfit", "fine"],
        "e": ["fine", "api_error"],
    }
    run = begun(site, [*"abcde"]).wait()

    assert run.counts == {"refused": 1, "errored": 1, "truncated": 1, "invalid": 1, "succeeded": 1}
    assert run.retry("invalid").wait().counts == {"refused": 1, "errored": 1, "truncated": 1, "succeeded": 2}
    assert run.retry(["truncated", "errored"]).wait().counts == {"refused": 1, "succeeded": 4}
    assert run.retry().wait().counts == {"refused": 1, "succeeded": 4}  # a refusal would come again
    assert run.retry("refused").wait().counts == {"succeeded": 5}
    assert run.cost.spent == pytest.approx(dollars(site))
    assert run.answers()["answer"].to_list() == ["x"] * 5


def test_by_hand_a_worse_answer_never_takes_the_place_of_a_better_one(site: Site, hours: Hours, oracle: Oracle) -> None:
    """Of two failures the latest counts, and what was asked and not answered leaves what was there."""
    oracle.script = {"a": ["refused", "invalid_request_error"]}
    run = begun(site, ["a"]).wait()

    assert run.retry("refused").wait().counts == {"errored": 1}
    assert run.answers()["error"].to_list() == ["invalid_request_error: no"]


def test_by_hand_more_tokens_are_asked_for_and_answer_later_calls(site: Site, hours: Hours, oracle: Oracle) -> None:
    oracle.script = {"a": ["cut", "cut", "fine"]}
    run = begun(site, ["a", "b"], max_tokens=50).wait()
    run.retry("truncated", max_tokens=1000).wait()

    assert [params["max_tokens"] for params in oracle.asked if params["messages"][0]["content"] == "a"] == [
        50,
        200,
        1000,
    ]
    assert run.counts == {"succeeded": 2}
    assert _asks(site, ["a", "b"], max_tokens=50) == 0
    assert _asks(site, ["a", "b"], max_tokens=1000) == 0


def test_by_hand_another_models_answer_is_laid_here_and_serves_that_models_calls(
    site: Site, hours: Hours, oracle: Oracle
) -> None:
    oracle.script = {"a": ["refused", "fine"]}
    run = begun(site, ["a", "b"]).wait()
    run.retry("refused", model="claude-sonnet-5-5").wait()

    assert run.counts == {"succeeded": 2}
    assert [params["model"] for params in oracle.asked] == ["claude-haiku-5-5"] * 2 + ["claude-sonnet-5-5"]
    assert dfbatch.open(run.id).counts == {"succeeded": 2}
    assert _asks(site, ["a"], model="claude-sonnet-5-5") == 0
    assert begun(site, ["a", "b"]).wait().counts["succeeded"] >= 1
