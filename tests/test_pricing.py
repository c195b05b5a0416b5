"""Prices: a known model has one, an unknown one has none, and none is never zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.pricing import PRICES, Cost, Tokens, cost, dollars, price_of

HAIKU = "claude-haiku-4-5"
COUNT = st.integers(0, 10**9)
TOKENS = st.builds(Tokens, COUNT, COUNT, COUNT, COUNT)


@pytest.mark.parametrize("model", [HAIKU, f"{HAIKU}-20251001"])
def test_a_model_has_its_price_by_alias_and_by_dated_id(model: str) -> None:
    price = price_of(model)

    assert price is PRICES[HAIKU]
    assert (price.input, price.output, price.cache_write, price.cache_read) == (1.0, 5.0, 1.25, 0.10)


@pytest.mark.parametrize(
    "model",
    [
        "",
        "x",
        "claude-haiku-4",
        "claude-haiku-4-5-",
        "claude-haiku-4-5-2025100",
        "claude-haiku-4-5-2025100x",
        "SmolLM2",
    ],
)
def test_a_model_that_is_not_known_costs_nothing_that_is_known(model: str) -> None:
    assert price_of(model) is None
    assert cost(model, Tokens()) is None
    assert cost(model, Tokens(input=1)) is None


def test_every_price_says_where_and_when_it_was_read() -> None:
    assert all("20" in price.source and "," in price.source for price in PRICES.values())


def test_a_million_of_each_kind_of_token_costs_its_price_and_half_in_a_batch() -> None:
    million = 10**6

    assert cost(HAIKU, Tokens(input=million), batch=False) == 1.0
    assert cost(HAIKU, Tokens(output=million), batch=False) == 5.0
    assert cost(HAIKU, Tokens(cache_write=million), batch=False) == 1.25
    assert cost(HAIKU, Tokens(cache_read=million), batch=False) == pytest.approx(0.10)
    assert cost(HAIKU, Tokens(million, million, million, million)) == pytest.approx(7.35 / 2)


@given(TOKENS, TOKENS)
def test_costs_add_up_as_tokens_do(one: Tokens, other: Tokens) -> None:
    parts = [cost(HAIKU, one) or 0.0, cost(HAIKU, other) or 0.0]

    assert cost(HAIKU, one + other) == pytest.approx(sum(parts))


def test_no_tokens_of_a_known_model_cost_zero() -> None:
    assert cost(HAIKU, Tokens()) == 0.0


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0.0, "$0.00"),
        (0.41, "$0.41"),
        (12.3456, "$12.35"),
        (1_234_567.891, "$1,234,567.89"),
        (0.00041, "$0.00041"),
        (0.0123, "$0.012"),
        (0.00000005, "$0.00000005"),
        (None, "unknown"),
    ],
)
def test_an_amount_is_written_for_people(amount: float | None, text: str) -> None:
    assert dollars(amount) == text


@given(st.floats(5e-8, 1e9))  # half the price of one cached token, and up
def test_no_amount_is_shown_as_nothing_and_none_in_powers_of_ten(amount: float) -> None:
    text = dollars(amount)

    assert "e" not in text
    assert float(text[1:].replace(",", "")) == pytest.approx(amount, rel=0.11)


def test_where_nothing_is_spent_the_amount_says_so() -> None:
    assert str(Cost(0.41, Tokens(), as_if=True)) == "$0.41 as-if"
    assert str(Cost(0.41, Tokens())) == "$0.41"
    assert str(Cost(None, Tokens())) == "unknown"
