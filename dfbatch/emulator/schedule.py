"""How long things take or grow: a law of lengths, and the timetable it gives a batch.

Not here: the clock (clock.py), and when the engine really answers (processing.py).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from dfbatch.emulator.clock import DAY, SECOND

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NORMAL = NormalDist()
_LONGEST = 2 * DAY  # longer than any batch lives, and sums of these stay within 64 bits
_SHAPES = {"fixed": 1, "uniform": 2, "lognormal": 2}


@dataclass(frozen=True, slots=True)
class Law:
    """A distribution written as text: `0`, `fixed:30`, `uniform:10:60`, `lognormal:MEDIAN:SIGMA`."""

    text: str
    shape: str
    figures: tuple[float, ...]

    @classmethod
    def parse(cls, text: str | float) -> Law:
        """From text; a plain number is a fixed law."""
        words = str(text).split(":")
        if len(words) == 1:
            words = ["fixed", *words]
        shape, *figures = words
        try:
            law = cls(str(text), shape, tuple(float(figure) for figure in figures))
        except ValueError:
            law = cls(str(text), "", ())
        if len(law.figures) != _SHAPES.get(law.shape) or not all(0 <= figure < 1e12 for figure in law.figures):
            raise ValueError(f"not a law: {text!r}. Hint: 0, fixed:30, uniform:10:60 or lognormal:120:0.6")
        return law

    @property
    def instant(self) -> bool:
        """Whether everything takes no time at all."""
        return self.shape == "fixed" and self.figures == (0.0,)

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """So many values."""
        if self.shape == "fixed":
            return np.full(count, self.figures[0])
        if self.shape == "uniform":
            low, high = sorted(self.figures)
            return rng.uniform(low, high, count)
        median, sigma = self.figures
        drawn: NDArray[np.float64] = median * np.exp(sigma * rng.standard_normal(count))
        return drawn

    def at(self, share: float) -> float:
        """The value below which `share` of all draws lie."""
        if self.shape == "fixed":
            return self.figures[0]
        low, high = self.figures
        if self.shape == "uniform":
            return low + (high - low) * share
        return low * math.exp(high * _NORMAL.inv_cdf(share))


@dataclass(frozen=True, slots=True)
class Timetable:
    """When each request of a batch starts and finishes (µs after creation), in the order they start."""

    starts: NDArray[np.int64]
    finishes: NDArray[np.int64]

    @property
    def last(self) -> int:
        """When the last request finishes."""
        return int(self.finishes.max())


def timetable(law: Law, total: int, *, lanes: int, speed: float, seed: tuple[int, ...]) -> Timetable:
    """`lanes` requests at a time, each as long as the law says, all of it `speed` times faster."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(law.draw(rng, total) * (SECOND / speed), _LONGEST).astype(np.int64)
    if total <= lanes or law.instant:
        return Timetable(np.zeros(total, np.int64), lengths)
    free = [0] * lanes
    starts = np.empty(total, np.int64)
    for row, length in enumerate(lengths.tolist()):
        starts[row] = free[0]
        heapq.heapreplace(free, free[0] + length)
    return Timetable(starts, starts + lengths)


def answering_order(total: int, *, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """The order in which a batch's requests are answered, and so that of its result lines: never that of the body."""
    order = np.random.default_rng((*seed, 1)).permutation(total)
    if total > 1 and bool((order == np.arange(total)).all()):
        order = order[::-1]
    return order
