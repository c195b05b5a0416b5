"""What a look at the folder tells of damage to a run. Long files are checked when they are read whole, not here.

What is done about it is in `recovery.py`, as it is met, and in `repairs.py`, for whoever asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dfbatch.ledger.states import COLLECTED, ENDED, PLANNED, REJECTED
from dfbatch.run.recovery import rows_of
from dfbatch.run.spools import is_spent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dfbatch.errors import LedgerDamaged
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord

LOOKED_INTO: Final = 1_000_000  # bytes: a third of a millisecond
DAMAGED: Final = "damaged"  # as the table of runs says


def short(damage: LedgerDamaged) -> str:
    """The file and what is wrong with it, for a table that names the run: `rows.npy is gone`."""
    name = damage.path.name
    _, _, ending = name.partition(".")
    return f"{ending if damage.path.parent.name == 'chunks' else name} {damage.wrong}"


def look(ledger: Ledger, record: RunRecord, chunks: Iterable[ChunkRecord]) -> None:
    """Raise LedgerDamaged for the first file that is gone, or is not what was written; long ones by their length."""
    for path in needed(ledger, record, chunks):
        if wrong := ledger.wrong_length(path):
            raise ledger.damaged(path, wrong)
        if path.stat().st_size <= LOOKED_INTO:
            ledger.check(path)
    if len(rows_of(ledger, record)):
        ledger.check(ledger.run_file(record.id, "rows.npy"))


def needed(ledger: Ledger, record: RunRecord, chunks: Iterable[ChunkRecord]) -> Iterator[Path]:
    """The files without which something of a run cannot be had."""
    if record.spec.key is not None:
        yield ledger.run_file(record.id, "keys.jsonl")
    for chunk in chunks:
        if chunk.state == COLLECTED:
            yield ledger.chunk_file(chunk.id, "jsonl")
        if chunk.state in (PLANNED, REJECTED, ENDED, COLLECTED) and keeps_spool(ledger, chunk):
            yield ledger.chunk_file(chunk.id, "spool")


def keeps_spool(ledger: Ledger, chunk: ChunkRecord) -> bool:
    """Whether a chunk's spool has what was not answered, or not sent."""
    return ledger.chunk_file(chunk.id, "spool").exists() or not is_spent(ledger, chunk)
