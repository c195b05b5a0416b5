"""Room on the disk: runs that are over and old are removed, with all they paid for. One by hand: `run.forget()`."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dfbatch.errors import OptionError
from dfbatch.ledger.states import OVER
from dfbatch.run.listing import chunk_files, in_bytes, size
from dfbatch.run.spools import remove

if TYPE_CHECKING:
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord

DAY: Final = 86_400.0
ENDED: Final = ("done", "canceled")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was freed; prints as `2 runs removed, 1.3 MB freed`."""

    runs: int = 0
    bytes: int = 0

    def __repr__(self) -> str:
        """In words."""
        return f"{self.runs:,} {'run' if self.runs == 1 else 'runs'} removed, {in_bytes(self.bytes)} freed"

    def __add__(self, other: Pruned) -> Pruned:
        """Both together."""
        return Pruned(self.runs + other.runs, self.bytes + other.bytes)


def prune(ledger: Ledger, *, older_than: Any) -> Pruned:
    """Remove the runs that are over and have not changed for so many days."""
    if isinstance(older_than, bool) or not isinstance(older_than, int | float) or not older_than >= 0:
        raise OptionError(f"older_than={older_than!r}: a number of days is needed", hint="older_than=30")
    freed = Pruned()
    for record in ledger.runs():
        if _is_over(ledger, record, before=time.time() - older_than * DAY):
            freed += _removed(ledger, record)
    return freed


def _is_over(ledger: Ledger, record: RunRecord, *, before: float) -> bool:
    """Whether nothing is left to wait for, in any chunk it draws on, and nothing happened since `before`."""
    chunks = ledger.chunks(record.id)
    last = max([record.created, *(chunk.changed for chunk in chunks)])
    return record.status in ENDED and last <= before and all(chunk.state in OVER for chunk in chunks)


def _removed(ledger: Ledger, record: RunRecord) -> Pruned:
    """Remove a run and the chunks that nobody else draws on; nothing where a process has it under way."""
    lock = ledger.lock(record.id)
    folder = lock.path.parent
    freed = sum(map(size, folder.iterdir()))
    if not lock.acquire():
        return Pruned()
    try:
        gone = ledger.forget(record.id)
        freed += sum(map(size, chunk_files(ledger, gone)))
        remove(ledger, gone)
    finally:
        lock.release()
    shutil.rmtree(folder, ignore_errors=True)
    return Pruned(1, freed)
