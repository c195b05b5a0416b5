"""Requests cut into chunks by count and bytes, and the API's limits. Where chunks are kept and sent is not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

# platform.claude.com, Message Batches guide, August 2026: 100,000 requests or 256 MB, whichever comes first. The unit
# (MB or MiB) is not said, so we stay under 250e6 bytes.
MAX_REQUESTS = 100_000
MAX_BYTES = 250_000_000

FIRST_CUT = 10_000  # up to here one chunk; beyond, about ten, so that progress and early answers are real
PARTS = 10


@dataclass(frozen=True, slots=True)
class Cut:
    """A run of requests, start included, stop not, that will travel together."""

    start: int
    stop: int
    size: int  # bytes of the body

    def __len__(self) -> int:
        """How many requests."""
        return self.stop - self.start


def cut(
    sizes: np.ndarray[Any, Any],
    *,
    chunk_size: int | Literal["auto"] = "auto",
    max_bytes: int = MAX_BYTES,
    max_requests: int = MAX_REQUESTS,
) -> list[Cut]:
    """Cut requests of these sizes (bytes each, its comma included) into chunks, in order.

    Every chunk but the last aims at one request less than the one before it, so that counts differ and a batch
    whose reply was lost can be told from its siblings.

    >>> [len(c) for c in cut(np.full(9, 100), chunk_size=4)]
    [4, 3, 2]
    """
    ends = np.cumsum(sizes, dtype=np.int64)
    most = min(_target(len(sizes), chunk_size), max_requests)
    cuts: list[Cut] = []
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        fits = int(np.searchsorted(ends, before + max_bytes, side="right"))
        stop = max(start + 1, min(start + max(most - len(cuts) % max(most // 2, 1), 1), fits, len(sizes)))
        cuts.append(Cut(start, stop, int(ends[stop - 1]) - before))
        start = stop
    return cuts


def _target(count: int, chunk_size: int | Literal["auto"]) -> int:
    if chunk_size != "auto":
        return chunk_size
    return max(FIRST_CUT, -(-count // PARTS))
