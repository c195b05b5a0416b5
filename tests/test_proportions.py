"""Intervals for shares hold the truth as often as they say: drawn with a seed, in every situation that shares meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dfbatch.proportions import UNKNOWN, exact, intervals

Array = np.ndarray[Any, np.dtype[Any]]

DRAWS = 300
LEAST = 0.93
NONE: Array = np.empty(0)


def ends(hits: Array, sizes: Array, unseen: Array = NONE) -> tuple[float, float]:
    """The interval of one label, where whole groups have it or not."""
    units = np.repeat(np.arange(len(sizes)), sizes)
    return intervals(np.repeat(hits, sizes).astype(np.int64), units, 2, unseen)[1]


def skewed(groups: int) -> Array:
    """Sizes of groups of very different size: about a thousand rows."""
    weights = np.random.default_rng(7).pareto(1.2, groups)
    sizes: Array = np.maximum(1, weights / weights.sum() * 1000).astype(np.int64)
    return sizes


SIZES = {
    "1,000 texts": np.full(1000, 1),
    "200 texts": np.full(200, 5),
    "50 texts": np.full(50, 20),
    "10 texts": np.full(10, 100),
    "200 unequal": skewed(200),
    "50 unequal": skewed(50),
    "10 unequal": skewed(10),
}


@pytest.mark.parametrize("true", [0.01, 0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("case", SIZES)
def test_rows_of_few_texts_have_an_interval_that_holds_for_more_like_them(case: str, true: float) -> None:
    chance = np.random.default_rng(1)
    found = [ends(chance.random(len(SIZES[case])) < true, SIZES[case]) for _ in range(DRAWS)]
    held = np.mean([low <= true <= high for low, high in found])

    assert held >= LEAST


def test_texts_that_come_often_may_have_another_label_than_rare_ones() -> None:
    chance = np.random.default_rng(2)
    sizes = np.minimum(chance.zipf(2.0, 200_000), 100)
    hits = chance.random(len(sizes)) < np.where(sizes > 3, 0.8, 0.2)
    true = (sizes * hits).sum() / sizes.sum()
    drawn = [chance.integers(0, len(sizes), 200) for _ in range(DRAWS)]
    found = [ends(hits[which], sizes[which]) for which in drawn]
    held = np.mean([low <= true <= high for low, high in found])

    assert held >= LEAST


@pytest.mark.parametrize("true", [0.001, 0.003, 0.05, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("answered", [0.3, 0.9, 0.95])
def test_a_frame_answered_in_part_has_an_interval_for_its_own_share(answered: float, true: float) -> None:
    chance = np.random.default_rng(3)
    hits, held, most = np.arange(1000) < round(1000 * true), 0, round(1000 * answered)
    for _ in range(DRAWS):
        order = chance.permutation(1000)
        low, high = ends(hits[order[:most]], np.full(most, 1), np.full(1000 - most, 1))
        held += low <= hits.mean() <= high

    assert held / DRAWS >= LEAST


@pytest.mark.parametrize("case", ["200 texts", "50 texts", "200 unequal", "50 unequal"])
def test_a_frame_of_few_texts_answered_in_part_likewise(case: str) -> None:
    chance = np.random.default_rng(4)
    sizes, held = SIZES[case], 0
    most = len(sizes) * 19 // 20
    for _ in range(DRAWS):
        hits, order = chance.random(len(sizes)) < 0.5, chance.permutation(len(sizes))
        low, high = ends(hits[order[:most]], sizes[order[:most]], sizes[order[most:]])
        held += low <= (hits * sizes).sum() / sizes.sum() <= high

    assert held / DRAWS >= LEAST


def test_a_frame_answered_to_95_percent_is_not_told_as_if_it_were_infinite() -> None:
    hits = np.arange(950) % 2 == 0
    low, high = ends(hits, np.full(950, 1), np.full(50, 1))
    as_infinite = exact(0.5, 950)

    assert (high - low) < (as_infinite[1] - as_infinite[0]) / 3
    assert 475 / 1000 <= low < 0.5 < high <= 525 / 1000


@pytest.mark.parametrize("refused", [0.06, 0.4])
def test_rows_without_an_answer_for_a_reason_of_its_own_are_within_the_interval(refused: float) -> None:
    """Only rows of one label are refused: without a bound, no interval would hold."""
    chance, held = np.random.default_rng(5), 0
    for _ in range(DRAWS):
        labels = (chance.random(1000) < 0.5).astype(np.int64)
        labels[(labels == 1) & (chance.random(1000) < 2 * refused)] = UNKNOWN
        low, high = intervals(labels, np.arange(1000), 2, NONE)[1]
        held += low <= 0.5 <= high

    assert held / DRAWS >= LEAST


def test_even_one_label_for_all_leaves_room_for_chance() -> None:
    for rows in (1, 2, 1000, 1_000_000):
        low, high = exact(1.0, rows)

        assert low < high == 1.0
