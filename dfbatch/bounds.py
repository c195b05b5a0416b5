"""How much is surely enough: upper bounds for sums of costs, whatever their distribution.

Requests are sent in random order, so those answered so far are a sample, drawn without replacement, of those answered
and those that come next together. Costs lie between nothing and a most that is known beforehand (the input, and
max_tokens). The empirical Bernstein-Serfling inequality then bounds their mean from the sample's mean and variance:
Bardenet and Maillard, "Concentration inequalities for sampling without replacement", Bernoulli 21 (3), 2015,
theorem 4.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

FAILURE: Final = 1e-6  # the probability, over a whole run, that a bound does not hold
_STEPS: Final = 48  # sizes to choose from at each look; all bounds of all looks must hold at once
_KAPPA: Final = 7 / 3 + 3 / math.sqrt(2)
NORMAL: Final = 1.96  # standard errors to either side that hold in 95 of 100 cases
_FINER: Final = 0.8  # from one size to the next


@dataclass(frozen=True, slots=True)
class Sample:
    """Costs seen so far: how many, their sum, the sum of their squares, and the most that any one may be."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, costs: np.ndarray[Any, np.dtype[Any]], most: float) -> Sample:
        """The sample of these costs."""
        return cls(len(costs), float(costs.sum()), float((costs**2).sum()), max(most, float(costs.max(initial=0.0))))

    @property
    def mean(self) -> float:
        """Of one request."""
        return self.total / self.count if self.count else self.most

    @property
    def deviation(self) -> float:
        """The standard deviation of one request, of the sample itself."""
        return math.sqrt(max(0.0, self.squares / self.count - self.mean**2)) if self.count else self.most

    def next(self, size: int, failure: float = FAILURE) -> float:
        """What the next so many cost at most, with this probability of being wrong.

        >>> import numpy as np
        >>> seen = np.full(1000, 0.5)
        >>> round(Sample.of(seen, most=1.0).next(1000))
        637
        """
        surely = size * self.most
        if self.count < 2 or not size:
            return surely
        whole = self.count + size
        if self.count <= whole / 2:
            shrunk = 1 - (self.count - 1) / whole
        else:
            shrunk = (1 - self.count / whole) * (1 + 1 / self.count)
        log = math.log(5 / failure)
        spread = self.deviation * math.sqrt(2 * shrunk * log / self.count)
        mean = self.mean + spread + _KAPPA * self.most * log / self.count
        return min(surely, max(0.0, whole * mean - self.total))

    def affordable(self, left: float, waiting: int, *, look: int = 1) -> tuple[int, float]:
        """How many of those waiting may be sent so that they surely cost no more than what is left, and their bound.

        `look` counts the looks of a run from 1: each may fail less often than the one before, so that all of them
        together fail once in a million runs.

        >>> Sample(most=1.0).affordable(10.5, 100)
        (10, 10.0)
        """
        certain = waiting if self.most <= 0 else max(0, min(waiting, math.floor(left / self.most)))
        failure = FAILURE / (look * (look + 1)) / _STEPS
        for size in _sizes(waiting):
            if size <= certain:
                break
            if (bound := self.next(size, failure)) <= left:
                return size, bound
        return certain, certain * self.most


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


def _sizes(waiting: int) -> list[int]:
    """Sizes to choose from, largest first."""
    sizes = [waiting]
    while sizes[-1] > 1 and len(sizes) < _STEPS:
        sizes.append(int(sizes[-1] * _FINER))
    return sizes
