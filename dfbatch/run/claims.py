"""Equal requests are paid once: what is paid for or under way already is drawn on, the rest becomes our chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfbatch.ledger.files import read_array
from dfbatch.ledger.records import COLLECTED, ENDED, PLANNED, RELEASED, SUBMITTED, SUBMITTING
from dfbatch.plan import locate
from dfbatch.results import CODE
from dfbatch.run.spools import remove, spool

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.run.spools import LinesOf


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim came to: our new chunks, and what is drawn on."""

    chunks: list[ChunkRecord]
    cover: Cover


def claim(
    ledger: Ledger,
    record: RunRecord,
    requests: np.ndarray[Any, Any],
    lengths: np.ndarray[Any, Any],
    lines_of: LinesOf,
    *,
    reuse: bool,
    before: Callable[[], None] = lambda: None,
) -> Claimed:
    """Write the run (where it is new) with chunks for whatever nobody has asked yet, in one transaction.

    `before` is called where the network will be needed.

    Files come first, so that the transaction is short; where somebody claimed meanwhile, it is all looked up again.
    """
    while True:
        version = ledger.claims_version(record.shared)
        if reuse:
            found = cover(ledger, record.shared, requests["digest"], max_tokens=record.max_tokens)
        else:
            found = Cover(np.zeros(len(requests), bool), {}, under_way=False)
        new = np.flatnonzero(~found.covered)
        if len(new) or found.under_way:
            before()
        chunks = spool(ledger, record, requests[new], lengths[new], lambda which: lines_of(new[which]))  # noqa: B023
        try:
            if ledger.begin(record, chunks, found.chunks, unless_changed=version):
                return Claimed(chunks, found)
        except BaseException:
            remove(ledger, [chunk.id for chunk in chunks])
            raise
        remove(ledger, [chunk.id for chunk in chunks])


@dataclass(frozen=True, slots=True)
class Cover:
    """What is covered (one bool a request), and the chunks that cover it, by id."""

    covered: np.ndarray[Any, Any]
    chunks: dict[str, int]  # chunk id → how many of the requests it answers
    under_way: bool  # whether one of them has no results yet


def cover(ledger: Ledger, shared: str, digests: np.ndarray[Any, Any], *, max_tokens: int) -> Cover:
    """Look the digests up among all chunks with this shared part, collected ones first."""
    covered = np.zeros(len(digests), bool)
    used: dict[str, int] = {}
    waits = False
    claims = sorted(ledger.claims(shared), key=lambda chunk: chunk.state != COLLECTED)
    for chunk in claims:
        if covered.all():
            break
        spot = locate(digests, read_array(ledger.chunk_file(chunk.id, "map.npy"))["digest"])
        wanted = (spot >= 0) & ~covered
        if not wanted.any() or not _holds(ledger, chunk):
            continue
        if chunk.state != COLLECTED and chunk.max_tokens > max_tokens:
            continue  # its answer may be longer than what is asked for here
        if chunk.state == COLLECTED:
            found = read_array(ledger.chunk_file(chunk.id, "found.npy"))
            wanted[wanted] = reusable(found[spot[wanted]], chunk.max_tokens, max_tokens)
        if wanted.any():
            covered |= wanted
            used[chunk.id] = int(wanted.sum())
            waits |= chunk.state != COLLECTED
    return Cover(covered, used, waits)


def _holds(ledger: Ledger, chunk: ChunkRecord) -> bool:
    """Whether a chunk's claim counts. One that was never sent, by a process that is gone, is released to us."""
    if chunk.state == PLANNED and ledger.lock(chunk.run).is_free():
        return not ledger.move(chunk.id, RELEASED, only_from=(PLANNED,))
    return chunk.state in (PLANNED, SUBMITTING, SUBMITTED, ENDED, COLLECTED)


def reusable(found: np.ndarray[Any, Any], had: np.ndarray[Any, Any] | int, asked: int) -> np.ndarray[Any, Any]:
    """Which outcomes answer a request that asks for at most `asked` tokens, where they were given at most `had`.

    All that was paid for is final: succeeded ones if they fit, truncated ones if no more is asked than they had.
    """
    outcome = found["outcome"]
    fits = (outcome == CODE["succeeded"]) & (found["output"] <= asked)
    cut = (outcome == CODE["truncated"]) & (asked <= had)
    usable: np.ndarray[Any, Any] = fits | cut | (outcome == CODE["refused"]) | (outcome == CODE["invalid"])
    return usable
