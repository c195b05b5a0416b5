"""Confidence intervals for shares of rows, where rows come in groups that stand or fall together.

Rows that ask the same request have one answer: 1,000 rows of 50 texts tell as much as 50 texts. The interval is that
of Korn and Graubard ("Confidence intervals for proportions with small expected number of positive counts estimated
from survey data", Survey Methodology 24 (2), 1998): Clopper and Pearson's, with the effective number of units in place
of the number of rows. That number is the smaller of Kish's ((sum of sizes)² / sum of sizes², "Survey Sampling", 1965)
and the one that the variance of the ratio estimator over groups gives.

Where only a part of a finite frame is answered, drawn at random, its share is predicted from the sizes of the groups
that are still to come (Royall, "On finite population sampling theory under certain linear regression models",
Biometrika 57 (2), 1970); with groups of one row that is the finite-population correction 1 - n/N.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, np.dtype[Any]]

CONFIDENCE: Final = 0.95
UNKNOWN: Final = -1  # the label of a row whose answer is not known and may be any
_STEPS: Final = 100
_EXACT: Final = 1e-10  # of a value: shares are told to a hundredth
_TERMS: Final = 20_000
_TINY: Final = 1e-300


def intervals(labels: Array, units: Array, count: int, unseen: Array) -> list[tuple[float, float]]:
    """Low and high end of the share of each label, 0 to `count` - 1.

    `labels` are those of the rows, UNKNOWN counts as not this label for the low end and as this one for the high end
    (Manski's bounds). `units` says which rows stand or fall together. `unseen` are the sizes of the groups that are
    still to come: the interval is then about all rows, seen and unseen; without any, about more rows like these.

    >>> labels, units = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 2, 3])
    >>> [(round(low, 2), round(high, 2)) for low, high in intervals(labels, units, 2, np.empty(0))]
    [(0.2, 1.0), (0.0, 0.8)]
    """
    _, units = np.unique(units, return_inverse=True)
    sizes = np.bincount(units).astype(float)
    known = labels != UNKNOWN
    unknown = float(np.count_nonzero(~known))
    pairs, rows = np.unique(units[known] * count + labels[known], return_counts=True)
    which, groups = pairs % count, pairs // count
    open_rows = np.bincount(units[~known], minlength=len(sizes)).astype(float)
    totals = np.bincount(which, rows, count)
    squares = np.bincount(which, rows.astype(float) ** 2, count)
    crossed = np.bincount(which, rows * sizes[groups], count)
    with_open = np.bincount(which, rows * open_rows[groups], count)
    more = (2 * with_open + (open_rows**2).sum(), (open_rows * sizes).sum())
    found = []
    for at in range(count):
        low, high = _ends(totals[at], squares[at], crossed[at], sizes, unseen)
        if unknown:
            wide = totals[at] + unknown, squares[at] + more[0][at], crossed[at] + more[1]
            high = _ends(*wide, sizes, unseen)[1]
        found.append((float(low), float(high)))
    return found


def _ends(total: float, squares: float, crossed: float, sizes: Array, unseen: Array) -> tuple[float, float]:
    """Both ends for one label: its rows, the sum of their squares by group, and of their products with the sizes."""
    whole, spread = float(sizes.sum()), float((sizes**2).sum())
    share = min(1.0, total / whole)
    effective = whole**2 / spread
    scatter = squares - 2 * share * crossed + share**2 * spread
    if scatter > 0:
        effective = max(1.0, min(effective, share * (1 - share) * whole**2 / scatter))
    rest = float(unseen.sum()) if len(unseen) else 0.0
    if not rest:
        return exact(share, effective)
    future = float((unseen.astype(float) ** 2).sum())
    low, high = exact(share, (whole + rest) ** 2 / (future + rest**2 / effective))
    step = future / rest / (whole + rest)  # rows come in whole groups
    return max(total / (whole + rest), low - step), min((total + rest) / (whole + rest), high + step)


def exact(share: float, size: float) -> tuple[float, float]:
    """Clopper and Pearson's interval for a share of so many, which need not be whole numbers.

    >>> [round(end, 3) for end in exact(0.3, 40)]
    [0.166, 0.465]
    """
    half = (1 - CONFIDENCE) / 2
    hits = min(size, share * size)
    misses = size - hits
    low = 0.0 if share <= 0 else _quantile(half, hits, misses + 1)
    high = 1.0 if share >= 1 else _quantile(1 - half, hits + 1, misses)
    return low, high


@lru_cache(1024)
def _quantile(chance: float, a: float, b: float) -> float:
    """The quantile of the beta distribution, by Newton's steps, halved where they would leave what is left."""
    low, high, at = 0.0, 1.0, a / (a + b)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(_STEPS):
        off = _beta(at, a, b) - chance
        low, high = (low, at) if off > 0 else (at, high)
        slope = math.exp(min(700.0, scale + (a - 1) * math.log(at) + (b - 1) * math.log1p(-at)))
        step = at - off / slope if slope > 0 else -1.0
        after = step if low < step < high else (low + high) / 2
        if abs(after - at) <= _EXACT * at or not 0 < after < 1:
            break
        at = after
    return at


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function (DLMF 8.17.22: its continued fraction, by Lentz's method)."""
    if x <= 0 or x >= 1 or a <= 0 or b <= 0:
        return 0.0 if x <= 0 or b <= 0 < a else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _fraction(1 - x, b, a)  # where it converges fast
    return _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    value, upper, lower = 1.0, 1.0, 0.0
    for term in range(_TERMS):
        m = term // 2
        if term == 0:
            factor = 1.0
        elif term % 2:
            factor = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            factor = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower = 1 / (1 + factor * lower or _TINY)
        upper = 1 + factor / upper or _TINY
        value *= upper * lower
        if term and abs(1 - upper * lower) < 1e-12:
            break
    return min(1.0, math.exp(log) / a * (value - 1))
