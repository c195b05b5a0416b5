"""Bounds that hold whatever the distribution: drawn by the thousand, none of them may fail."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.bounds import Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, np.dtype[Any]]

MOST = 1024.0
LAWS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "lognormal": lambda chance, size: chance.lognormal(math.log(40), 1.0, size),
    "heavy": lambda chance, size: chance.pareto(1.05, size) * 10,
    "rare": lambda chance, size: np.where(chance.random(size) < 0.003, MOST, 1.0),
    "equal": lambda _, size: np.full(size, 7.0),
    "all or nothing": lambda chance, size: chance.integers(0, 2, size) * MOST,
}


def drawn(law: str, seed: int, size: int) -> Array:
    costs: Array = np.minimum(LAWS[law](np.random.default_rng(seed), size), MOST)
    return costs


@pytest.mark.parametrize("law", LAWS)
def test_the_bound_of_what_comes_next_holds_in_hundreds_of_draws(law: str) -> None:
    broken = 0
    for seed in range(200):
        costs = drawn(law, seed, 2000)
        for seen, size in ((20, 500), (200, 1800), (1000, 1000), (1900, 100)):
            broken += Sample.of(costs[:seen], MOST).next(size, of=2000) < costs[seen : seen + size].sum()

    assert broken == 0


@given(st.lists(st.floats(0, MOST), max_size=60), st.floats(0, 1e6), st.integers(0, 500), st.integers(0, 200))
def test_what_is_affordable_has_a_bound_within_what_is_left(
    seen: list[float], left: float, waiting: int, ahead: int
) -> None:
    sample = Sample.of(np.array(seen), MOST)
    run = len(seen) + ahead + waiting
    size = sample.affordable(left, waiting, ahead=ahead, of=run)

    assert 0 <= size <= waiting
    assert not size or sample.next(size + ahead, of=run) <= left + 1e-3
    assert size >= min(waiting, math.floor(left / MOST) - ahead)


def test_without_a_sample_only_the_worst_case_counts() -> None:
    assert Sample(most=2.0).affordable(10.5, 100) == 5
    assert Sample(most=2.0).affordable(-1.0, 100) == 0
    assert Sample(most=0.0).affordable(0.0, 100) == 100


def test_more_answers_make_the_bound_smaller() -> None:
    costs = drawn("lognormal", 1, 5000)
    bounds = [Sample.of(costs[:seen], MOST).next(1000, of=6000) for seen in (50, 500, 5000)]

    assert bounds == sorted(bounds, reverse=True)


def test_of_equal_costs_the_bound_is_near_what_can_be_known() -> None:
    """A dearest one among a hundred, unseen among fifty, is likely as a coin; twenty of them are not."""
    sample = Sample.of(np.full(50, 1.0), most=11.0)
    bound = sample.next(50, of=100)
    chance = math.comb(50, 20) / math.comb(100, 20)

    assert chance < 1e-7
    assert 50 + 10 * 15 < bound < 50 + 10 * 25


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_bound_that_may_fail_often_fails_no_more_than_that(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in twenty, for one part of a run, looked at ten times: by simulation."""
    monkeypatch.setattr("dfbatch.bounds._LOG", math.log(20))
    failed = 0
    for seed in range(300):
        costs = np.where(np.random.default_rng(seed).permutation(400) < share * 400, 10.0, 1.0)
        true = float(costs[:300].sum())
        failed += any(Sample.of(costs[:seen], 10.0).refutes(true, 300) for seen in range(20, 220, 20))

    assert failed <= 0.05 * 300 + 3 * math.sqrt(300 * 0.05 * 0.95)


@pytest.mark.parametrize("size", [10_000, 30_000])
def test_a_fifth_more_than_the_true_cost_lets_all_go_in_few_parts(size: int) -> None:
    """Median 40 tokens, sigma 1, cap 1,024; 100 tokens of input in 400 bytes; Haiku 4.5 in a batch."""
    for seed in range(20):
        costs = 50 + 2.5 * np.minimum(drawn("lognormal", seed, size).round(), MOST)
        worst, budget = 200 + 2.5 * MOST, 1.2 * costs.sum()
        sent, parts = 0, 0
        while sent < size:
            parts += 1
            sample = Sample.of(costs[:sent], worst)
            left = budget - costs[:sent].sum()
            going = sample.affordable(left, size - sent, of=size)
            assert costs[sent : sent + going].sum() <= left
            assert going
            sent += going

        assert parts <= 5
