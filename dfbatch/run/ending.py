"""How a run ended, where it did not end well: chunks in doubt and what is at stake, chunks that were never sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dfbatch.errors import InDoubt
from dfbatch.ledger.records import PLANNED, RELEASED, SUBMITTING, ChunkRecord, RunRecord
from dfbatch.plan import forecast
from dfbatch.pricing import dollars

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.run.sheet import Sheet


def doubtful(ledger: Ledger, record: RunRecord, posting: Collection[str]) -> list[ChunkRecord]:
    """Chunks that left some process, and of which nobody knows whether they were accepted."""
    chunks = ledger.chunks(record.id)
    return [chunk for chunk in chunks if chunk.state == SUBMITTING and chunk.id not in posting]


def doubt(ledger: Ledger, record: RunRecord, posting: Collection[str], *, spends: bool) -> str:
    """One line about chunks in doubt; empty where there are none."""
    chunks = doubtful(ledger, record, posting)
    return f"{len(chunks)} chunks in doubt: {_stake(record, chunks, spends=spends)} at stake" if chunks else ""


def in_doubt(ledger: Ledger, record: RunRecord, posting: Collection[str], *, spends: bool) -> InDoubt | None:
    """What stops a run that is done but for chunks in doubt."""
    chunks = doubtful(ledger, record, posting)
    if not chunks:
        return None
    count = sum(chunk.requests for chunk in chunks)
    some, are = ("1 chunk", "is") if len(chunks) == 1 else (f"{len(chunks)} chunks", "are")
    return InDoubt(
        f"{some} of run {record.id} {are} in doubt: {count:,} requests were sent, and no answer told whether the API"
        " accepted them",
        f"{_stake(record, chunks, spends=spends)} may be billed for them already; nothing is sent again by itself",
        *(_why(chunk.error) for chunk in chunks if chunk.error),
        hint="all other answers are there: run.partial(). To ask these again, and perhaps pay twice:"
        " batch(..., reuse=False)",
    )


def _why(error: str) -> str:
    """The first line of an error, and the id by which the API's support finds the call."""
    first, *rest = error.splitlines()
    return "; ".join([first, *(line for line in rest if line.startswith("request-id: "))])


def _stake(record: RunRecord, chunks: Sequence[ChunkRecord], *, spends: bool) -> str:
    highs = [forecast(record.model, chunk.bytes, chunk.requests, chunk.max_tokens).high for chunk in chunks]
    known = [high for high in highs if high is not None]
    if len(known) < len(highs):
        return "an unknown sum (no price for this model)"
    return f"at most {dollars(sum(known), as_if=not spends)}"


def release(ledger: Ledger, sheet: Sheet, unsent: Sequence[ChunkRecord]) -> None:
    """Give up chunks that were never sent: others may ask their requests."""
    for chunk in unsent:
        if ledger.move(chunk.id, RELEASED, only_from=(PLANNED,)):
            sheet.absent(ledger.chunk_file(chunk.id, "map.npy"), "canceled", "canceled before it was sent")


def first_line(error: BaseException) -> str:
    """The part of an error's text that says what happened."""
    return str(error).partition("\n")[0]
