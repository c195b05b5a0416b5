"""Where a run's money went: chunk by chunk, outcome by outcome. What one request cost is said in `costs.py`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dfbatch.pricing import FIRST, ChunkCost, OutcomeCost, Tokens
from dfbatch.results import CODE, OUTCOMES, PENDING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dfbatch.ledger.records import BatchRecord, ChunkRecord
    from dfbatch.run.sheet import Bill

    Array = np.ndarray[Any, np.dtype[Any]]


class Parts(NamedTuple):
    """A chunk's bill: as a whole, and by how its answers ended."""

    chunk: ChunkCost
    outcomes: tuple[OutcomeCost, ...]


def of_bill(chunk: ChunkRecord, batch: BatchRecord | None, bill: Bill, usd: Array | None) -> Parts:
    """Sum up a bill; `usd` is what each request cost, None where it has no price. No line came back: missing."""
    outcomes = np.where(bill.outcomes == PENDING, CODE["missing"], bill.outcomes)
    parts = []
    for code in np.unique(outcomes).tolist():
        these = outcomes == code
        name, count = OUTCOMES[code], int(these.sum())
        parts.append(OutcomeCost(name, count, *_tokens(bill.used[these]), None if usd is None else _sum(usd[these])))
    whole = ChunkCost(
        chunk.ordinal + 1,
        chunk.kind or FIRST,
        batch.id if batch else None,
        len(bill.outcomes),
        *_tokens(bill.used),
        None if usd is None else _sum(usd),
    )
    return Parts(whole, tuple(parts))


def by_outcome(parts: Iterable[Parts]) -> tuple[OutcomeCost, ...]:
    """The same outcomes of all chunks together, in the order in which outcomes are told."""
    known = [outcome for part in parts for outcome in part.outcomes]
    names = sorted({outcome.outcome for outcome in known}, key=OUTCOMES.index)
    return tuple(_together([outcome for outcome in known if outcome.outcome == name]) for name in names)


def _together(same: list[OutcomeCost]) -> OutcomeCost:
    usd = [part.usd for part in same]
    return OutcomeCost(
        same[0].outcome,
        sum(part.requests for part in same),
        sum(part.input_tokens for part in same),
        sum(part.output_tokens for part in same),
        sum(part.cache_write_tokens for part in same),
        sum(part.cache_read_tokens for part in same),
        None if None in usd else math.fsum(each for each in usd if each is not None),
    )


def _sum(usd: Array) -> float:
    return float(usd.sum())


def _tokens(used: Array) -> tuple[int, int, int, int]:
    tokens = Tokens.of(used)
    return tokens.input, tokens.output, tokens.cache_write_5m + tokens.cache_write_1h, tokens.cache_read
