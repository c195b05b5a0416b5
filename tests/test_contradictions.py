"""What a request asks against what is known of its model: what is not known contradicts nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.contradictions import LONG, Asked, contradictions
from dfbatch.models import KINDS, LISTED, unlisted

if TYPE_CHECKING:
    from dfbatch.models import Model

UNKNOWN = unlisted("m")
LONGER = replace(UNKNOWN, most=128_000, most_beta=300_000)
NARROW = replace(
    UNKNOWN, most=1000, structured=False, batches=False, thinking=frozenset({"disabled"}), most_beta=2000, context=10
)


def hints(asked: Asked, model: Model) -> list[str]:
    return [found.hint for found in contradictions(asked, model)]


def asked(**more: Any) -> Asked:
    return replace(Asked("m", 1000), **more)


def params(**more: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "max_tokens": 1000, "messages": []} | more)


@given(st.builds(Asked, st.text(), st.integers(1), st.booleans(), st.sampled_from([*KINDS, "", "of_tomorrow"])))
def test_a_model_of_which_nothing_is_known_is_never_contradicted(any_request: Asked) -> None:
    assert contradictions(any_request, UNKNOWN) == []


@pytest.mark.parametrize("model", LISTED, ids=lambda model: model.id)
def test_the_shortest_request_contradicts_no_listed_model(model: Model) -> None:
    assert contradictions(asked(model=model.id), model) == []


def test_a_request_may_ask_for_as_much_as_a_model_writes_and_no_token_more() -> None:
    assert hints(asked(max_tokens=1000), NARROW)[1:] == []
    assert hints(asked(max_tokens=1001, direct=True), NARROW) == [
        'max_tokens=1000; betas=["output-300k-2026-03-24"] allows 2,000 in a batch'
    ]


def test_the_beta_of_long_answers_counts_in_batches_alone() -> None:
    betas = ("another-beta", LONG)

    assert hints(asked(max_tokens=300_000, betas=betas), LONGER) == []
    assert hints(asked(max_tokens=300_000, betas=betas, direct=True), LONGER) == [
        "max_tokens=128000; the beta of longer answers counts in batches alone"
    ]


def test_beyond_the_beta_it_is_our_own_lists_word() -> None:
    (found,) = contradictions(asked(max_tokens=300_001, betas=(LONG,)), LONGER)

    assert (found.by, found.hint, found.known) == ("list", "max_tokens=300000", "300,000 tokens an answer at most")


def test_where_nobody_knows_whether_the_beta_counts_nothing_is_said() -> None:
    assert contradictions(asked(max_tokens=300_000, betas=(LONG,)), replace(LONGER, most_beta=None)) == []


def test_a_model_without_batches_may_be_asked_at_once() -> None:
    model = replace(UNKNOWN, batches=False)

    assert contradictions(asked(direct=True), model) == []
    assert [found.what for found in contradictions(asked(), model)] == ["model='m' cannot be asked in a batch"]


def test_only_a_request_with_a_schema_needs_structured_outputs() -> None:
    model = replace(UNKNOWN, structured=False)

    assert contradictions(asked(), model) == []
    assert [found.known for found in contradictions(asked(schema=True), model)] == [
        "structured_outputs are not supported"
    ]


@pytest.mark.parametrize("kind", ["adaptive", "enabled", "between_tools"])
def test_a_kind_of_thinking_that_a_model_does_not_take_is_named_with_those_it_takes(kind: str) -> None:
    (found,) = contradictions(asked(thinking=kind), replace(UNKNOWN, thinking=frozenset({"disabled"})))

    assert found.what == f'params={{"thinking": {{"type": "{kind}"}}}} is refused by m'
    assert found.known == "it takes disabled"
    assert found.hint == 'params={"thinking": {"type": "disabled"}}, or leave thinking out'


@pytest.mark.parametrize("kind", ["", "of_tomorrow"])
def test_a_kind_that_is_not_said_or_not_known_is_nobodys_business(kind: str) -> None:
    assert contradictions(asked(thinking=kind), replace(UNKNOWN, thinking=frozenset())) == []


@pytest.mark.parametrize(("thought", "count"), [(999, 0), (1000, 1), (1001, 1)])
def test_thinking_must_leave_room_for_the_answer(thought: int, count: int) -> None:
    """Reference §3.1: budget_tokens < max_tokens."""
    found = contradictions(asked(thinking="enabled", thought=thought), UNKNOWN)

    assert [each.by for each in found] == ["rule"] * count


def test_thinking_between_tools_may_take_more_than_one_answer() -> None:
    betas = ("interleaved-thinking-2025-05-14",)

    assert contradictions(asked(thinking="enabled", thought=5000, betas=betas), UNKNOWN) == []


def test_all_contradictions_are_told_together() -> None:
    request = asked(max_tokens=5000, schema=True, thinking="enabled", thought=6000)

    assert [each.by for each in contradictions(request, NARROW)] == ["told", "told", "told", "told", "rule"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {}),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, {"schema": True}),
        ({"output_config": {"effort": "low"}}, {}),
        ({"output_config": None}, {}),
        ({"output_config": "odd"}, {}),
        ({"thinking": {"type": "adaptive"}}, {"thinking": "adaptive"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, {"thinking": "enabled", "thought": 5}),
        ({"thinking": {"type": "disabled", "budget_tokens": 5}}, {"thinking": "disabled"}),
        ({"thinking": {"type": "enabled", "budget_tokens": "many"}}, {"thinking": "enabled"}),
        ({"thinking": {"type": 5}}, {}),
        ({"thinking": "adaptive"}, {}),
        ({"thinking": None}, {}),
    ],
)
def test_what_is_asked_is_read_off_the_request_and_what_is_odd_is_left_to_the_server(
    more: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert Asked.of(params(**more)) == asked(**expected)
