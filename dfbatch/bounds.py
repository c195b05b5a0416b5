"""How much is surely enough: upper bounds for sums of costs, whatever their distribution.

Requests are sent in random order, so those answered so far are drawn without replacement from them and those that
come next together. Costs lie between nothing and a most that is known beforehand (the input, and max_tokens). That the
total is some amount or more is refuted by bets against it, one answer after the other, which could hardly have made so
much money were it true: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", Journal of
the Royal Statistical Society B 86 (1), 2024, section 5. By Ville's inequality one bound holds at all looks together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

FAILURE: Final = 1e-6  # the probability, over a whole run, that a bound does not hold
PARTS: Final = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.42, 0.35, 0.28, 0.22, 0.17, 0.13, 0.1, 0.07, 0.05, 0.025)
# of a whole run: a bound is made for these only, since all of them must hold together
STAKES: Final = np.array([1.0, 0.7, 0.45, 0.28, 0.16, 0.09, 0.05, 0.025])  # of what may be staked at most; by each …
CAPITAL: Final = np.array([0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])  # … with so much of the capital
BETS: Final = 100_000  # answers that are bet on; the others count as they are
_LOG: Final = math.log(len(PARTS) / FAILURE)
_HALVINGS: Final = 24
NORMAL: Final = 1.96  # standard errors to either side that hold in 95 of 100 cases


@dataclass(frozen=True, slots=True)
class Sample:
    """Costs seen so far, in the order in which their requests were drawn, and the most that any one may be."""

    costs: Array = field(default_factory=lambda: np.empty(0))
    most: float = 0.0

    @classmethod
    def of(cls, costs: Array, most: float) -> Sample:
        """The sample of these costs."""
        return cls(costs, max(most, float(costs.max(initial=0.0))))

    @property
    def total(self) -> float:
        """Of those seen."""
        return float(self.costs.sum())

    def refutes(self, total: float, whole: int) -> bool:
        """Whether those seen and the next ones, so many as a `whole`, cannot cost as much as this `total`.

        >>> seen = Sample.of(np.full(1000, 0.5), most=1.0)
        >>> seen.refutes(1030.0, 2000), seen.refutes(1005.0, 2000)
        (True, False)
        """
        bet, seen = self.costs[:BETS], self.total
        if total - seen > self.most * (whole - len(self.costs)):
            return True
        if not len(bet) or total <= seen:
            return False
        before = np.concatenate(([0.0], np.cumsum(bet[:-1])))
        means = (total - before) / (whole - np.arange(len(bet)))  # of what is still to be drawn, were it so
        if (means >= self.most).any():
            return True
        gains = (means - bet) / (self.most - means)
        with np.errstate(divide="ignore"):
            logs = np.array([float(np.log1p(np.maximum(stake * gains, -1.0)).sum()) for stake in STAKES])
        best = float(logs.max())
        return best + math.log(float((CAPITAL * np.exp(logs - best)).sum())) >= _LOG if best > -math.inf else False

    def next(self, size: int, of: int) -> float:
        """What the next so many cost at most; `of` so many of a run, with those seen.

        >>> round(Sample.of(np.full(1000, 0.5), most=1.0).next(1000, of=2000))
        513
        """
        whole, seen = self._whole(len(self.costs) + size, of), self.total
        low, high = 0.0, size * self.most
        for _ in range(_HALVINGS if self.refutes(seen + high, whole) else 0):
            middle = (low + high) / 2
            low, high = (low, middle) if self.refutes(seen + middle, whole) else (middle, high)
        return high

    def affordable(self, left: float, waiting: int, *, ahead: int = 0, of: int = 0) -> int:
        """How many of those waiting may be sent so that they surely cost no more than what is left.

        `ahead` so many are under way, whose cost is within what is left too. `of` so many are in the run, with those
        seen.

        >>> Sample(most=1.0).affordable(10.5, 100)
        10
        """
        if self.most <= 0:
            return waiting
        certain = max(0, min(waiting, math.floor(left / self.most) - ahead))
        seen = len(self.costs) + ahead
        run = max(of, seen + waiting)
        sizes = {min(waiting, math.ceil(part * run) - seen) for part in PARTS} | {waiting}
        for size in sorted(sizes, reverse=True):
            if size <= certain:
                break
            if self.refutes(self.total + left, self._whole(seen + size, run)):
                return size
        return certain

    def _whole(self, count: int, run: int) -> int:
        """The smallest of the parts of a run that holds so many."""
        return min((whole for part in PARTS if (whole := math.ceil(part * run)) >= count), default=count)


def wilson(count: int, total: int, *, errors: float = NORMAL) -> tuple[float, float]:
    """Wilson's interval for a share, so many standard errors to either side: by default it holds in 95 of 100 cases.

    >>> [round(end, 3) for end in wilson(12, 40)]
    [0.181, 0.454]
    """
    if not total:
        return 0.0, 1.0
    share, squared = count / total, errors**2
    middle = share + squared / (2 * total)
    spread = errors * math.sqrt(share * (1 - share) / total + squared / (4 * total**2))
    scale = 1 + squared / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
