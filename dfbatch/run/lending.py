"""Damaged files of earlier runs, written again from a run of the same call on the same frame.

Only the frame tells which row asked what, and it is at hand when the cell is run again. Files that are whole say
whether it is the same frame; what other files of a run tell is in `recovery.py`.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dfbatch.distinct import locate
from dfbatch.errors import LedgerDamaged, LedgerError
from dfbatch.ledger.files import sum_of
from dfbatch.run.damage import LOOKED_INTO

if TYPE_CHECKING:
    from pathlib import Path

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord

log = logging.getLogger("dfbatch")

LOOKED_AT: Final = 20  # earlier runs of the same call, the newest


def lend(ledger: Ledger, record: RunRecord) -> None:
    """Write damaged files of earlier runs of this call again; a disk that is full, say, is no harm to this run."""
    alike = [other for other in ledger.runs() if other.id != record.id and _is_alike(other, record)]
    for other in alike[:LOOKED_AT]:
        with suppress(LedgerError):
            _lend(ledger, record, other)


def _is_alike(other: RunRecord, record: RunRecord) -> bool:
    one, two = other.spec, record.spec
    counts = (other.rows, other.requests, other.skipped) == (record.rows, record.requests, record.skipped)
    called = (one.prompt, one.reads, one.reasons, one.samples) == (two.prompt, two.reads, two.reasons, two.samples)
    return counts and called and other.shared == record.shared


def _lend(ledger: Ledger, record: RunRecord, other: RunRecord) -> None:
    names = ["requests.npy", "rows.npy"]
    names += ["keys.jsonl"] if other.spec.key is not None and other.spec.key == record.spec.key else []
    damaged = [name for name in names if _is_damaged(ledger, ledger.run_file(other.id, name))]
    proof = [name for name in names[:2] if name not in damaged]
    if not damaged or not proof:
        return
    if any(sum_of(ledger.run_file(other.id, name)) != sum_of(ledger.run_file(record.id, name)) for name in proof):
        return  # another frame
    if "requests.npy" in damaged and not _asks_what_was_sent(ledger, record, other):
        return
    for name in damaged:
        ledger.write_blocks(ledger.run_file(other.id, name), [ledger.run_file(record.id, name).read_bytes()])
        log.warning("run %s is damaged: %s; it was made again from the frame of run %s", other.id, name, record.id)


def _asks_what_was_sent(ledger: Ledger, record: RunRecord, other: RunRecord) -> bool:
    """Whether this run has all requests that the other sent: rows may be the same, and a prompt function another."""
    asked = ledger.read_array(ledger.run_file(record.id, "requests.npy"))["digest"]
    own = [chunk for chunk in ledger.chunks(other.id) if chunk.run == other.id and not chunk.head]
    maps = [ledger.read_array(ledger.chunk_file(chunk.id, "map.npy"))["digest"] for chunk in own]
    return bool(maps) and all((locate(sent, asked) >= 0).all() for sent in maps)


def _is_damaged(ledger: Ledger, path: Path) -> bool:
    """Whether a file is not what was written; of a long one its length tells."""
    if ledger.wrong_length(path):
        return True
    if path.stat().st_size > LOOKED_INTO:
        return False
    try:
        ledger.check(path)
        if path.suffix == ".npy":
            ledger.read_array(path)
    except LedgerDamaged:
        return True
    return False
