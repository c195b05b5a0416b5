"""Few batches for a budget, over drawn runs: their number, how many runs they finish, and what finishes the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from dfbatch.bounds import Sample
from dfbatch.waves import CUTS, enough, going, way

if TYPE_CHECKING:
    from collections.abc import Iterator

    Array = np.ndarray[Any, np.dtype[Any]]

PILOT = 40
LAWS = ("equal", "narrow", "wide", "two kinds", "heavy")


class Job(NamedTuple):
    """Costs of the requests of a run in random order, the most that one may cost, and how many went ahead at once."""

    costs: Array
    most: float
    pilot: int

    @property
    def true(self) -> float:
        """All that the run costs: those that went ahead twice as much."""
        return float(self.costs.sum() + self.costs[: self.pilot].sum())


def drawn(count: int, seed: int) -> Iterator[Job]:
    """100 to 5,000 requests of 30 to 2,000 tokens, answers by several laws up to max_tokens; Haiku 4.5 in a batch."""
    for at in range(count):
        chance = np.random.default_rng([seed, at])
        size = int(math.exp(chance.uniform(math.log(100), math.log(5_000))))
        most = int(chance.choice([64, 256, 1024]))
        middle = math.exp(chance.uniform(math.log(8), math.log(0.6 * most)))
        out = {
            "equal": np.full(size, middle),
            "narrow": chance.lognormal(math.log(middle), 0.6, size),
            "wide": chance.lognormal(math.log(middle), 1.2, size),
            "two kinds": np.where(chance.random(size) < 0.3, 4 * middle, middle / 2),
            "heavy": (chance.pareto(1.5, size) + 0.5) * middle,
        }[LAWS[at % len(LAWS)]]
        prompts = math.exp(chance.uniform(math.log(30), math.log(2_000))) * chance.lognormal(0, 0.3, size)
        costs = 0.5 * prompts + 2.5 * np.minimum(out, most)
        yield Job(costs, 0.5 * (4 * prompts.max() + 100) + 2.5 * most, PILOT if size >= 1_000 else 0)


@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.full)])
def test_a_budget_a_little_above_the_true_cost_takes_few_batches_and_mostly_finishes(count: int) -> None:
    batches, done = [], []
    for at, job in enumerate(drawn(count, 1)):
        left = (1.1, 1.2, 1.3)[at % 3] * job.true - 2 * float(job.costs[: job.pilot].sum())
        took = way(job.costs[: job.pilot], job.costs[job.pilot :], job.most, left)
        batches.append(took.batches)
        done.append(job.pilot + took.sent == len(job.costs))

        assert job.costs[job.pilot :][: took.sent].sum() <= left

    assert np.median(batches) <= 4
    assert max(batches) <= CUTS + 1 <= 8
    assert sum(done) >= 0.55 * count


@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.full)])
def test_twice_the_true_cost_is_hardly_in_the_way(count: int) -> None:
    """One batch is what no budget takes. Of less than a thousand requests none goes ahead at once."""
    batches, large = [], []
    for job in drawn(count, 2):
        left = 2 * job.true - 2 * float(job.costs[: job.pilot].sum())
        took = way(job.costs[: job.pilot], job.costs[job.pilot :], job.most, left)
        batches.append(took.batches)
        large += [took.batches] * bool(job.pilot)

    assert np.median(batches) <= 2
    assert np.mean(np.array(batches) <= 3) >= 0.75
    assert np.mean(np.array(large) <= 3) >= 0.95


@pytest.mark.parametrize("count", [20, pytest.param(200, marks=pytest.mark.full)])
def test_what_is_said_to_be_enough_finishes_the_run_in_nine_of_ten(count: int) -> None:
    """By sixty answers, where the others turn out as they may."""
    finished = []
    for job in drawn(count, 3):
        seen, rest = job.costs[:60], job.costs[60:]
        assumed = np.random.default_rng(1).choice(seen, len(rest))
        assumed = np.minimum(assumed * 1.1 * seen.mean() / assumed.mean(), job.most)
        took = way(seen, rest, job.most, enough(seen, assumed, job.most))
        finished.append(took.sent == len(rest))

    assert sum(finished) >= 0.9 * count


def test_what_goes_is_all_or_enough_to_bring_the_run_on() -> None:
    seen = Sample.of(np.full(100, 0.1), most=1.0)

    assert going(seen, 400.0, 900, of=1000) == 900
    assert 0 < going(seen, 50.0, 900, of=1000) < 0.2 * 900
    assert going(seen, 50.0, 900, of=1000, cuts=3) == going(seen, 50.0, 900, of=1000, waits=True) == 0
    assert going(seen, 200.0, 900, of=1000, cuts=CUTS) == 0
    assert going(seen, 0.5, 900, of=1000) == 0
