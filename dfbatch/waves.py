"""Few batches for a budget: how much of a run goes now, and how many batches, one after the other, that will take.

What is surely enough is in `bounds.py`; who sends is `run/gate.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from dfbatch.bounds import Sample

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

CUTS: Final = 5  # batches that a budget makes of one at most, besides the last; each may take an hour
FREE: Final = 3  # of those, the first ones may be small: they tell how long answers are …
LARGE: Final = 0.2  # … later ones must bring the run on by this share of what waits, …
HALF: Final = 0.5  # … and any, while something is under way that will tell more
SMALLER: Final = 5_000  # requests: what happens to more of them is told by so many, and a budget in proportion
_SHARES: Final = 12  # steps in which a budget is looked for that is enough


class Way(NamedTuple):
    """Batches that follow each other, and the requests that go in them."""

    batches: int
    sent: int


def going(
    sample: Sample,
    left: float,
    waiting: int,
    *,
    rest: int = 0,
    ahead: int = 0,
    of: int = 0,
    cuts: int = 0,
    waits: bool = False,
) -> int:
    """How many of those waiting go now: all, or a part that is worth a batch of its own, or none.

    `rest` so many wait in all, `ahead` so many are under way, `of` so many are in the run. It was cut so often, and
    something under way may tell more where it `waits`.

    >>> seen = Sample.of(np.full(100, 0.1), most=1.0)
    >>> going(seen, 400.0, 900, of=1000), going(seen, 120.0, 900, of=1000), going(seen, 1.5, 900, of=1000)
    (900, 400, 1)
    """
    size = sample.affordable(left, waiting, ahead=ahead, of=of)
    if size >= waiting:
        return waiting
    share = HALF if waits else 0.0 if cuts < FREE else LARGE
    return size if cuts < CUTS and size >= max(1.0, share * max(rest, waiting)) else 0


def way(seen: Array, rest: Array, most: float, left: float, *, cuts: int = 0) -> Way:
    """How it goes where these costs were seen, the rest will be like this, and so much is left."""
    costs, sent, batches = np.concatenate((seen, rest)), len(seen), 0
    while sent < len(costs):
        waiting = len(costs) - sent
        size = going(Sample.of(costs[:sent], most), left, waiting, of=len(costs), cuts=cuts + batches)
        if not size:
            break
        left -= float(costs[sent : sent + size].sum())
        sent, batches = sent + size, batches + 1
    return Way(batches, sent - len(seen))


def enough(seen: Array, rest: Array, most: float) -> float:
    """The least that must be left for all of the rest to go, by the same rules, where it will be like this."""
    low, high = float(rest.sum()), len(rest) * most
    for _ in range(_SHARES):
        middle = math.sqrt(low * high) if low > 0 else high / 2
        low, high = (low, middle) if way(seen, rest, most, middle).sent == len(rest) else (middle, high)
    return high


def foretold(costs: Array, most: float, budget: float, *, pilot: int = 0) -> str:
    """What a budget will do to a run whose requests cost so much in a batch, in words; empty where it is in no way.

    `pilot` so many of them go ahead at once, for twice as much.

    >>> foretold(np.full(157, 0.001), 0.0075, 2.0)
    ''
    >>> foretold(np.full(157, 0.001), 0.0075, 0.25)
    'budget is 1.6 × the forecast: up to 4 batches one after the other'
    """
    size = len(costs)
    if not size or (total := float(costs.sum()) * (1 + pilot / size)) <= 0:
        return ""
    order = np.random.default_rng(size).permutation(size)[:SMALLER]
    drawn, scale = costs[order], len(order) / size
    ahead = min(pilot, len(order) - 1)
    left = scale * (budget - 2 * pilot * float(costs.mean()))
    took, times = way(drawn[:ahead], drawn[ahead:], most, left), f"budget is {budget / total:.2g} × the forecast"
    if took.sent < len(order) - ahead:
        return f"{times}: the run will probably pause with BudgetReached, after up to {took.batches + 1} batches"
    return f"{times}: up to {took.batches} batches one after the other" if took.batches > 1 else ""
