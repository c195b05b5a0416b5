"""What tokens cost: by the row as by the sum, with every part at its own price; and amounts written for people."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.models import Model, Models
from dfbatch.pricing import Cost, Saved, Tokens, cost, costs, dollars
from dfbatch.results import FOUND

COUNT = st.integers(0, 10**9)
TOKENS = st.builds(Tokens, COUNT, COUNT, COUNT, COUNT, COUNT)


def model(name: str = "claude-haiku-4-5") -> Model:
    found = Models().find(name)
    assert found is not None
    return found


HAIKU = model()
TIERED = model("claude-haiku-5-5")


def found(*lines: dict[str, int]) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    made = np.zeros(len(lines), FOUND)
    for at, line in enumerate(lines):
        for name, value in line.items():
            made[name][at] = value
    return made


def test_a_model_that_is_not_known_costs_nothing_that_is_known() -> None:
    assert cost(None, Tokens(input=1)) is None
    assert costs(None, found({"input": 1}, {})) is None


def test_what_used_no_tokens_costs_nothing_of_whatever_model() -> None:
    each = costs(None, found({}, {}))
    assert each is not None

    assert each.tolist() == [0.0, 0.0]


def test_a_million_of_each_kind_of_token_costs_its_price_and_half_in_a_batch() -> None:
    million = 10**6

    assert cost(HAIKU, Tokens(input=million), batch=False) == 1.0
    assert cost(HAIKU, Tokens(output=million), batch=False) == 5.0
    assert cost(HAIKU, Tokens(cache_write_5m=million), batch=False) == 1.25
    assert cost(HAIKU, Tokens(cache_write_1h=million), batch=False) == 2.0
    assert cost(HAIKU, Tokens(cache_read=million), batch=False) == pytest.approx(0.10)
    assert cost(HAIKU, Tokens(million, million, million, million, million)) == pytest.approx(9.35 / 2)
    assert cost(HAIKU, Tokens()) == 0.0


@given(TOKENS, TOKENS)
def test_costs_add_up_as_tokens_do(one: Tokens, other: Tokens) -> None:
    parts = [cost(HAIKU, one) or 0.0, cost(HAIKU, other) or 0.0]

    assert cost(HAIKU, one + other) == pytest.approx(sum(parts))


LINES = st.fixed_dictionaries(
    {"input": st.integers(0, 10**6), "output": st.integers(0, 10**6), "read": st.integers(0, 10**6)},
    optional={"written": st.integers(0, 10**6)},
)


@given(lines=st.lists(LINES, max_size=5), priced=st.sampled_from([HAIKU, TIERED]), batch=st.booleans())
def test_many_requests_cost_what_each_of_them_costs(lines: list[dict[str, int]], priced: Model, *, batch: bool) -> None:
    marks = found(*({**line, "written_1h": line.get("written", 0) // 3} for line in lines))
    each = costs(priced, marks, batch=batch)
    assert each is not None

    assert each.tolist() == pytest.approx(
        [cost(priced, Tokens.of(marks[at : at + 1]), batch=batch) for at in range(len(lines))]
    )


def test_a_prompt_past_the_threshold_costs_more_in_all_its_parts_and_cached_tokens_count_for_it() -> None:
    at, past = {"input": 60_000, "read": 40_000, "output": 10}, {"input": 60_000, "read": 40_001, "output": 10}
    each = costs(TIERED, found(at, past), batch=False)
    assert each is not None

    assert each[0] == pytest.approx((60_000 * 0.10 + 40_000 * 0.01 + 10 * 0.50) / 1e6)
    assert each[1] == pytest.approx((60_000 * 0.50 + 40_001 * 0.05 + 10 * 2.50) / 1e6)


def test_the_united_states_cost_a_tenth_more_where_they_can_be_asked_for() -> None:
    each = costs(model("claude-sonnet-4-6"), found({"input": 1000}, {"input": 1000, "us": 1}))
    assert each is not None

    assert each[1] == pytest.approx(1.1 * each[0])


def test_without_a_cache_all_of_a_prompt_costs_the_price_of_its_input() -> None:
    marks = found({"input": 10, "written": 300, "written_1h": 100, "read": 1000, "output": 7})
    each = costs(HAIKU, marks, cached=False)
    assert each is not None

    assert each.tolist() == [cost(HAIKU, Tokens(1310, 7))]


def test_tokens_are_summed_past_what_one_line_can_hold() -> None:
    assert Tokens.of(found(*[{"input": 2**32 - 1, "written": 5, "written_1h": 2}] * 3)) == Tokens(
        3 * (2**32 - 1), 0, 9, 6, 0
    )


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


def test_what_was_saved_adds_up() -> None:
    assert Saved(batch=1.0, dedupe=2.0, reuse=4.0, cache=-0.5).total == 6.5
