"""How often the prompt cache is hit: what is assumed, what answers so far say, and what a cached token then costs.

Whether anything is marked is `caching.py`'s to decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.caching import HITS
from dfbatch.forecasts import NORMAL, Range
from dfbatch.pricing import column

if TYPE_CHECKING:
    from dfbatch.models import Model

    Array = np.ndarray[Any, np.dtype[Any]]

ASSUMED: Final = (
    2.0  # requests: what `HITS` counts for. Nine of ten shares drawn from Beta(1.6, 0.4) are above 29 %, as
)
# the documentation has it (30 to 98 %), and one answer that was a hit or a miss tells something at once
TOLD: Final = (
    40.0  # requests that those seen count for at most: the cache is best effort, and other hours are not alike
)
_GRID: Final = (np.arange(10_000) + 0.5) / 10_000  # shares


@dataclass(frozen=True, slots=True)
class Hits:
    """Of so many requests with a prefix that could be cached, how many read it; and the tokens of that prefix.

    >>> Hits().share(1000).likely, Hits(seen=38, read=38).share(1000).likely
    (0.8, 0.99)
    """

    seen: int = 0
    read: float = 0.0
    prefix: float = 0.0  # tokens; nothing where nobody saw it

    @classmethod
    def among(cls, found: Array) -> Hits:
        """What was found of requests that were marked, and could read what another wrote."""
        written, read = (column(found, name).astype(np.float64) for name in ("written", "read"))
        either = written + read
        seen = int((either > 0).sum())
        return cls(seen, seen * float(read.sum() / either.sum()), float(either.sum() / seen)) if seen else cls()

    def share(self, count: int) -> Range:
        """The share of hits of so many requests to come: Bayes' rule, from what is assumed and what was seen."""
        weight = min(1.0, TOLD / self.seen) if self.seen else 0.0
        hit = HITS * ASSUMED + weight * self.read
        missed = (1 - HITS) * ASSUMED + weight * (self.seen - self.read)
        likely = hit / (hit + missed)
        chance = NORMAL * math.sqrt(likely * (1 - likely) / max(1, count))  # of these requests, whatever the share
        low, high = _ends(hit, missed)
        low, high = likely - math.hypot(likely - low, chance), likely + math.hypot(high - likely, chance)
        return Range(max(0.0, low), likely, min(1.0, high), self._how)

    @property
    def _how(self) -> str:
        return f"as {self.seen:,} earlier requests did" if self.seen else "assumed"

    def price(self, model: Model, lifetime: str, count: int) -> Range:
        """What a token of the prefix costs such requests, as a multiple of the price of input."""
        share, read, write = self.share(count), model.price.cache_read, written(model, lifetime)
        low, likely, high = (
            (hit * read + (1 - hit) * write) / (model.price.input or 1.0)
            for hit in (share.high, share.likely, share.low)
        )
        return Range(low, likely, high, f"{share.likely:.0%} of requests read the cache: {share.how}")


def written(model: Model, lifetime: str) -> float:
    """USD per million tokens written to the cache."""
    return model.price.cache_write_1h if lifetime == "1h" else model.price.cache_write_5m


def _ends(hit: float, missed: float) -> tuple[float, float]:
    """Between which nine of ten draws from this Beta distribution are, on a grid."""
    logs = (hit - 1) * np.log(_GRID) + (missed - 1) * np.log1p(-_GRID)
    parts = np.cumsum(np.exp(logs - logs.max()))
    low, high = np.searchsorted(parts, [0.05 * parts[-1], 0.95 * parts[-1]])
    return float(_GRID[low]), float(_GRID[high])
