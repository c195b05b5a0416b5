"""What was written under which name: whether a column in the way is ours to replace, and which cell of it is not.

A run notes a fingerprint of every cell it lays. A cell is ours where it is missing, and where any run of the ledger
laid this very value under this name for a row of the same content, or of the same key.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.columns import Builder, prints
from dfbatch.errors import ColumnClash, LedgerDamaged, explain
from dfbatch.run.rows import BLOCK, contents, encoded_keys, key_digests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dfbatch.columns import Column
    from dfbatch.frames import Adapter
    from dfbatch.kinds import Kind
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord

    Array = np.ndarray[Any, np.dtype[Any]]

log = logging.getLogger("dfbatch")

_BEFORE: Final = np.dtype([("row", "<i8"), ("print", "<u8")])  # what a run laid for a row before what it laid last
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_NAMED: Final = 5  # rows in a warning
_SHOWN: Final = 40  # characters of a cell in an error

ANOTHER_NAME: Final = "name the answer with into=, or pass overwrite=True to replace them; a cell set to None is filled"
OVERWRITE: Final = "pass overwrite=True to replace them; a cell set to None is filled"


def replaced(
    adapter: Adapter,
    frame: Any,
    answers: Sequence[str],
    extras: Sequence[str],
    ledger: Ledger,
    *,
    overwrite: bool,
    hint: str = ANOTHER_NAME,
) -> list[str]:
    """Which of the frame's columns are ours and make room; every other clash is an error that lists them all.

    What stands beside a missing answer (`extras`: its status, its error) has nothing to guard, if some run wrote it.
    """
    names = adapter.names(frame)
    there = [name for name in (*answers, *extras) if name in names]
    if overwrite:
        return there
    rows = _Rows(adapter, frame, ledger)
    strange = {name: rows.strange(name) for name in there}
    present = [rows.missing(name) for name in answers if name in names]
    empty = np.logical_and.reduce([np.ones(adapter.height(frame), bool), *present])
    for name in extras:
        if name in strange and strange[name].any():
            strange[name] &= ~(empty & rows.written_somewhere(name))
    clashes = [name for name in there if strange[name].any()]
    if clashes:
        raise ColumnClash(
            f"columns in the way: {', '.join(map(repr, clashes))}",
            *(rows.why(name, np.flatnonzero(strange[name])) for name in clashes),
            hint=hint,
        )
    return there


def left_beside(adapter: Adapter, frame: Any, written: Sequence[str], makes_room: Sequence[str], ledger: Ledger) -> str:
    """What to tell where columns that a run wrote along with those replaced now would stay, beside other answers."""
    rows = _Rows(adapter, frame, ledger)
    others = [name for name in adapter.names(frame) if name not in written]
    runs = {record.id for name in makes_room for record, _ in ledger.writers(name)}
    stale = [
        name
        for name in others
        if any(record.id in runs for record, _ in ledger.writers(name)) and not rows.strange(name).any()
    ]
    if not stale:
        return ""
    return explain(
        f"{', '.join(map(repr, stale))} stay as an earlier run wrote them, beside the answers of this one",
        hint="drop them before, or ask for them again (include=, samples=, the fields of the schema)",
    )


def outdone(adapter: Adapter, frame: Any, columns: Sequence[Column], record: RunRecord, ledger: Ledger) -> str:
    """What to tell where rows had an answer in the frame and have none now: another call answered them."""
    rows, names = _Rows(adapter, frame, ledger), adapter.names(frame)
    lost = np.zeros(adapter.height(frame), bool)
    here = [column for column in columns if column.name in names]
    for column in here:
        lost |= ~rows.missing(column.name) & ~column.valid
    before = [other.id for column in here for other, _ in ledger.writers(column.name) if other.id != record.id]
    if not lost.any() or not before:
        return ""
    which = np.flatnonzero(lost)
    some = ", ".join(f"{row:,}" for row in which[:_NAMED].tolist()) + (", …" if len(which) > _NAMED else "")
    return explain(
        f"{len(which):,} rows had an answer in {', '.join(repr(column.name) for column in here)} and have none by this"
        f" call (rows {some})",
        "what stood there was answered to another call: by another model, say, after run.retry(model=…)",
        hint=f"dfbatch.open({before[0]!r}).join(df) lays its answers again",
    )


def note(ledger: Ledger, record: RunRecord, columns: Sequence[Column]) -> None:
    """Remember what was written under which name, so that the cell can be run again.

    What a run laid before is remembered too: frames that hold it may still be about.
    """
    for column in columns:
        now, path = prints(column), _file(ledger, record.id, column.name)
        if path.exists() and len(last := _kept(ledger, path, now)):
            gone = np.flatnonzero((last != now) & (last != 0))
            if len(gone):
                older = np.empty(len(gone), _BEFORE)
                older["row"], older["print"] = gone, last[gone]
                kept = np.unique(np.concatenate([_before(ledger, record.id, column.name), older]))
                ledger.write_array(_file(ledger, record.id, column.name, "before"), kept, durable=False)
        ledger.write_array(path, now, durable=False)
        ledger.wrote(record.id, column.name, column.kind)


def _file(ledger: Ledger, run_id: str, name: str, what: str = "wrote") -> Path:
    return ledger.run_file(run_id, f"{what}-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}.npy")


def _before(ledger: Ledger, run_id: str, name: str) -> Array:
    path = _file(ledger, run_id, name, "before")
    return _kept(ledger, path, np.empty(0, _BEFORE)) if path.exists() else np.empty(0, _BEFORE)


def _kept(ledger: Ledger, path: Path, like: Array) -> Array:
    """What was noted; nothing where the note is damaged: it says what may be replaced, and what is not known is not.

    `run.result()` and `run.join(df)` note it anew.
    """
    try:
        read = ledger.read_array(path)
    except LedgerDamaged as damage:
        log.warning("%s: what it laid is not known again until it is laid anew", str(damage).partition("\n")[0])
        return like[:0]
    return read if read.dtype == like.dtype else like[:0]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A frame's rows and cells as runs know them: by numbers that are equal where those are."""

    adapter: Adapter
    frame: Any
    ledger: Ledger
    _kept: dict[Any, Array] = field(default_factory=dict)

    def strange(self, name: str) -> Array:
        """The rows whose cell no run wrote there."""
        strange = ~self.missing(name)
        for record, kind in self.ledger.writers(name):
            if not strange.any():
                break
            left = np.flatnonzero(strange)
            cells = self._cells(name, kind)[left]
            at, laid = self._laid(record, name)
            for here, there in self._known(record):
                strange[left] &= (cells == 0) | ~_among(_pair(here[left], cells), _pair(there[at], laid))
        return strange

    def missing(self, name: str) -> Array:
        """The rows whose cell is missing."""
        if ("missing", name) not in self._kept:
            table = self.adapter.snapshot(self.frame, [name])
            missing = np.zeros(table.height, bool)
            for start in range(0, table.height, BLOCK):
                block = table.block(start, min(start + BLOCK, table.height))[name]
                missing[start : start + len(block)] = [cell is None for cell in block]
            self._kept["missing", name] = missing
        return self._kept["missing", name]

    def written_somewhere(self, name: str) -> Array:
        """The rows whose value some run wrote under this name, for whatever row."""
        found = np.zeros(self.adapter.height(self.frame), bool)
        for record, kind in self.ledger.writers(name):
            cells = self._cells(name, kind)
            found |= (cells != 0) & _among(cells, self._laid(record, name)[1])
        return found

    def why(self, name: str, rows: Array) -> str:
        """What is known of the first of these rows, in whose cell stands what no run wrote there."""
        row = int(rows[0])
        shown = repr(self.adapter.snapshot(self.frame, [name]).block(row, row + 1)[name][0])
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
        more = f"; so {_more(len(rows) - 1)}" if len(rows) > 1 else ""
        return f"{name!r}, row {row}: {shown} {self._case(name, row)}{more}"

    def _case(self, name: str, row: int) -> str:
        writers = self.ledger.writers(name)
        if not writers:
            return "was never written by dfbatch: no run wrote a column of this name"
        for record, _ in writers:
            if any((there == here[row]).any() for here, there in self._known(record)):
                return f"was edited by hand, or came from elsewhere: run {record.id} answered this row otherwise"
        for record, kind in writers:
            cell = self._cells(name, kind)[row]
            if not cell or cell not in self._laid(record, name)[1]:
                continue
            by = ", ".join(map(repr, record.spec.reads))
            if absent := [repr(read) for read in record.spec.reads if read not in self.adapter.names(self.frame)]:
                return f"may be run {record.id}'s, which knows its rows by {by}: {', '.join(absent)} is not there"
            return f"is an old answer beside a text that was edited: run {record.id} wrote it for another {by}"
        return "was never written by dfbatch, and no run knows this row"

    def _cells(self, name: str, kind: Kind) -> Array:
        """The fingerprints of a column as this kind; 0 where a cell is missing, or of another kind."""
        if (name, kind) not in self._kept:
            found = self.adapter.read_back(self.frame, name, kind)
            self._kept[name, kind] = prints(found if found is not None else self._fitting(name, kind))
        return self._kept[name, kind]

    def _fitting(self, name: str, kind: Kind) -> Column:
        table = self.adapter.snapshot(self.frame, [name])
        builder = Builder(name, kind, table.height)
        builder.put(range(table.height), table.block(0, table.height)[name])
        return builder.column()

    def _laid(self, record: RunRecord, name: str) -> tuple[Array, Array]:
        """All that a run ever laid under this name: its rows, and the fingerprints."""
        last = _kept(self.ledger, _file(self.ledger, record.id, name), np.empty(0, np.uint64))
        before = _before(self.ledger, record.id, name)
        at = np.flatnonzero(last)
        return np.concatenate([at, before["row"]]), np.concatenate([last[at], before["print"]])

    def _known(self, record: RunRecord) -> Iterator[tuple[Array, Array]]:
        """The frame's rows and the run's as numbers that are equal where their content is; again for their key."""
        names, spec = self.adapter.names(self.frame), record.spec
        if set(spec.reads) <= set(names):
            with suppress(LedgerDamaged):  # rows of a run whose file is damaged are not known again
                rows = self.ledger.read_array(self.ledger.run_file(record.id, "rows.npy"))
                yield self._contents(tuple(spec.reads)), _halves(rows["content"])
        if spec.key in names:
            with suppress(LedgerDamaged):
                held = list(self.ledger.read_lines(self.ledger.run_file(record.id, "keys.jsonl")))
                yield self._keys(str(spec.key)), _halves(key_digests(held))

    def _contents(self, reads: tuple[str, ...]) -> Array:
        if reads not in self._kept:
            self._kept[reads] = _halves(contents(self.adapter.snapshot(self.frame, reads), reads))
        return self._kept[reads]

    def _keys(self, key: str) -> Array:
        if ("key", key) not in self._kept:
            held = encoded_keys(self.adapter.snapshot(self.frame, [key]), key)
            self._kept["key", key] = _halves(key_digests(held))
        return self._kept["key", key]


def _halves(digests: Array) -> Array:
    """The first eight bytes of digests as numbers."""
    return np.ascontiguousarray(digests).view(np.uint64)[::2]


def _pair(rows: Array, cells: Array) -> Array:
    """A row and its cell as one number: of a million, two are alike by chance once in 40 million frames."""
    pair: Array = (rows ^ (cells >> np.uint64(32))) * _ODD + cells
    return pair


def _among(wanted: Array, there: Array) -> Array:
    """Which of these numbers are there too: `np.isin`, ten times as fast for a million of them."""
    found = np.zeros(len(wanted), bool)
    if len(there):
        known, order = np.sort(there), np.argsort(wanted)
        spot = np.searchsorted(known, wanted[order])
        found[order] = known[np.minimum(spot, len(known) - 1)] == wanted[order]
    return found


def _more(count: int) -> str:
    return "is 1 more row" if count == 1 else f"are {count:,} more rows"
