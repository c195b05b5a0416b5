"""Chunks in doubt, in words: what may be billed for them, and how long a search takes. The search is in `search.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dfbatch.errors import InDoubt
from dfbatch.ledger.records import OVERLOADED
from dfbatch.pricing import dollars
from dfbatch.progress.words import many
from dfbatch.run.stakes import at_most

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

# Seconds of the server's time without a candidate, before a chunk counts as not accepted: an accepted batch is listed
# by then, whatever became of the reply. Assumed, not documented; reads were seen to lag behind writes by minutes
# (anthropics/anthropic-sdk-python #1432).
PROOF: Final = 600.0
# The same after a 529 with the API's own body and request id. Assumed too: "overloaded" means refused
# (platform.claude.com, Errors, August 2026), and what was accepted all the same is listed within a minute. A 500, 502
# to 504, and a 529 that something in between made up say nothing of the kind.
PROOF_OVERLOADED: Final = 60.0
MINUTE: Final = 60.0


def proof(doubt: str) -> float:
    """Seconds of complete listings without it that prove that a chunk in doubt was not accepted."""
    return PROOF_OVERLOADED if doubt == OVERLOADED else PROOF


def doubt(work: Work, chunks: Sequence[ChunkRecord]) -> str:
    """One line about chunks in doubt; empty where there are none."""
    if not chunks:
        return ""
    some = "1 chunk" if len(chunks) == 1 else f"{len(chunks)} chunks"
    told = f"{some} in doubt, {_stake(work, chunks)} at stake: looked for at the server ({_patience(chunks)})"
    if any(chunk.doubt == OVERLOADED for chunk in chunks):
        return f"the API is overloaded (529): {told}, and sent again where that does not show it"
    return told


def _patience(chunks: Sequence[ChunkRecord]) -> str:
    """How long it takes at most to prove that chunks in doubt were not accepted."""
    return many(round(max(proof(chunk.doubt) for chunk in chunks) / MINUTE), "minute")


def in_doubt(work: Work, chunks: Sequence[ChunkRecord]) -> InDoubt:
    """What stops a run while nobody knows whether the API has some of its chunks."""
    record = work.record
    count = sum(chunk.requests for chunk in chunks)
    some, are = ("1 chunk", "is") if len(chunks) == 1 else (f"{len(chunks)} chunks", "are")
    return InDoubt(
        f"{some} of run {record.id} {are} in doubt: {count:,} requests were sent, and no answer told whether the API"
        " accepted them",
        f"{_stake(work, chunks)} may be billed for them already; nothing is sent again by itself",
        *dict.fromkeys(_why(chunk.error) for chunk in chunks if chunk.error),
        hint=f"dfbatch.open({record.id!r}).wait() looks for them at the server for {_patience(chunks)}; to ask them"
        f" again at once, and perhaps pay twice: dfbatch.open({record.id!r}).resolve(pay_twice=True)",
    )


def _why(error: str) -> str:
    """The first line of an error, and the id by which the API's support finds the call."""
    first, *rest = error.splitlines()
    return "; ".join([first, *(line for line in rest if line.startswith("request-id: "))])


def _stake(work: Work, chunks: Sequence[ChunkRecord]) -> str:
    highs = [at_most(work.models, work.record, chunk) for chunk in chunks]
    known = [high for high in highs if high is not None]
    if len(known) < len(highs):
        return "an unknown sum (no price for this model)"
    return f"at most {dollars(sum(known), as_if=not work.backend.spends)}"
