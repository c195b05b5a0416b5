"""What happened, durably: SQLite for runs, chunks and batches, plain files beside it for bodies and results.

Every method that changes something is one transaction. What to do next is not decided here (`run/`), nor how a
result reads (`results.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.errors import NoSuchRun
from dfbatch.kinds import Kind
from dfbatch.ledger import database
from dfbatch.ledger.files import closed, private_folder
from dfbatch.ledger.folder import ROW as ROW
from dfbatch.ledger.folder import Folder
from dfbatch.ledger.migrations import migrate, write_ahead
from dfbatch.ledger.records import BatchRecord, ChunkRecord, RunRecord, Spec
from dfbatch.ledger.states import SUBMITTED, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

log = logging.getLogger("dfbatch")
_kind, _spec = msgspec.json.Decoder(Kind).decode, msgspec.json.Decoder(Spec).decode


def home() -> Path:
    """Where the ledger lives: `DFBATCH_HOME`, else the platform's folder for a user's data."""
    named = os.environ.get("DFBATCH_HOME")
    if named:
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("dfbatch", appauthor=False))


class Ledger(Folder):
    """One folder's memory of runs; any number of processes may have it open.

    >>> import tempfile
    >>> Ledger(Path(tempfile.mkdtemp())).runs()
    []
    """

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.time) -> None:
        self.folder = private_folder(folder)
        self._now = now
        self._guard = threading.RLock()
        self._closed = False
        self._unnoted = {}
        with self._translated():
            self._link = database.connect(folder)
            try:
                self._link.row_factory = sqlite3.Row
                write_ahead(self._link)
                self._link.execute("PRAGMA synchronous=FULL")
                database.check(self._link, folder)
                migrate(self._link, str(folder))
            except BaseException:
                self._link.close()
                raise

    def close(self) -> None:
        """Close the database; files need no closing."""
        with self._guard:
            self._closed = True
            self._link.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else writes meanwhile."""
        with self._guard, self._translated():
            self._link.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._note_sums()
                self._link.execute("COMMIT")
                self._unnoted.clear()
            except BaseException:
                if self._link.in_transaction:  # a full disk has rolled back already
                    self._link.execute("ROLLBACK")
                raise

    def _translated(self) -> contextlib.AbstractContextManager[None]:
        if self._closed:
            raise closed(self.folder)
        return database.errors_told(self.folder)

    def look_at_all(self) -> None:
        """Raise LedgerDamaged where a page of the database is not as it was written."""
        with self._guard, self._translated():
            database.check(self._link, self.folder, always=True)

    def back_up(self) -> None:
        """Copy the database beside itself, for `dfbatch.repair()`."""
        with self._guard:
            database.back_up(self._link, self.folder, now=time.time())

    def _all(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._guard, self._translated():
            return self._link.execute(query, values).fetchall()

    def _insert(self, table: str, record: dict[str, Any], *, replace: bool = False) -> None:
        names, marks = ", ".join(record), ", ".join("?" * len(record))
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        self._link.execute(f"{verb} INTO {table} ({names}) VALUES ({marks})", tuple(record.values()))

    # ------------------------------------------------------------------ runs

    def begin(
        self,
        run: RunRecord,
        chunks: Sequence[ChunkRecord],
        borrowed: Iterable[str],
        *,
        unless_changed: int,
        shared: str | None = None,
    ) -> bool:
        """Write a run, its chunks and the chunks of others it draws on: its claims.

        False, and nothing written, where chunks with this shared part (the run's) came since `unless_changed` was
        read.
        """
        with self.transaction():
            if self.claims_version(shared or run.shared) != unless_changed:
                return False
            if not self._all("SELECT 1 FROM runs WHERE id = ?", run.id):
                record = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
                self._insert("runs", record | {"spec": msgspec.json.encode(run.spec)})
            for chunk in chunks:
                self._add(chunk, [run.id])
            for chunk_id in borrowed:
                self._insert("uses", {"run": run.id, "chunk": chunk_id}, replace=True)
            return True

    def run(self, run_id: str) -> RunRecord:
        """A run by its id, by the beginning of it, or the newest of that name."""
        begins = "SELECT * FROM runs WHERE substr(id, 1, length(?1)) = ?1 AND length(?1) >= 4"
        named = "SELECT * FROM runs WHERE name = ? ORDER BY created DESC, rowid DESC LIMIT 1"
        found = self._all("SELECT * FROM runs WHERE id = ?", run_id)
        found = found or self._all(begins, run_id) or self._all(named, run_id)
        if len(found) != 1:
            recent = ", ".join(record.id for record in self.runs()[:5]) or "none"
            raise NoSuchRun(
                f"no run {run_id!r} in the ledger", f"newest runs: {recent}", hint="dfbatch.runs() lists them all"
            )
        return _run(found[0])

    def runs(self) -> list[RunRecord]:
        """All runs, newest first."""
        rows = self._all("SELECT * FROM runs ORDER BY created DESC, rowid DESC")
        return [record for record in map(_readable, rows) if record is not None]

    def standing(self, run_id: str) -> tuple[str, str]:
        """The status of a run, and the one line that matters now."""
        found = self._all("SELECT status, message FROM runs WHERE id = ?", run_id)
        return (found[0]["status"], found[0]["message"]) if found else ("forgotten", "")

    def say(self, run_id: str, status: str, message: str = "") -> None:
        """Note where a run stands."""
        with self.transaction():
            self._link.execute("UPDATE runs SET status = ?, message = ? WHERE id = ?", (status, message, run_id))

    def wants_cancel(self, run_id: str) -> bool:
        """Whether the run is to be canceled: a wish that outlives the process in which it was made."""
        found = self._all("SELECT canceled FROM runs WHERE id = ?", run_id)
        return bool(found and found[0]["canceled"])

    def want_cancel(self, run_id: str, *, wanted: bool) -> None:
        """Note the wish to cancel, or its end."""
        with self.transaction():
            self._link.execute("UPDATE runs SET canceled = ? WHERE id = ?", (wanted, run_id))

    def last_change(self, run_id: str) -> float:
        """When the run or one of its chunks last changed, seconds since 1970."""
        rows = self._all(
            "SELECT max(r.created, coalesce(max(c.changed), 0)) AS at FROM runs r LEFT JOIN chunks c ON c.run = r.id"
            " WHERE r.id = ?",
            run_id,
        )
        return float(rows[0]["at"])

    def forget(self, run_id: str) -> list[str]:
        """Remove a run, and the chunks that no run draws on any more; returns those chunks' ids, for their files."""
        with self.transaction():
            self._link.execute("DELETE FROM written WHERE run = ?", (run_id,))
            self._link.execute("DELETE FROM uses WHERE run = ?", (run_id,))
            self._link.execute("DELETE FROM runs WHERE id = ?", (run_id,))
            gone = [row["id"] for row in self._all("SELECT id FROM chunks WHERE id NOT IN (SELECT chunk FROM uses)")]
            self._forget_sums(f"runs/{run_id}/")
            for chunk in gone:
                self._forget_sums(f"chunks/{chunk}.")
                self._link.execute("DELETE FROM batches WHERE chunk = ?", (chunk,))
                self._link.execute("DELETE FROM chunks WHERE id = ?", (chunk,))
            return gone

    # ---------------------------------------------------------------- chunks

    def chunks(self, run_id: str, *states: str) -> list[ChunkRecord]:
        """The chunks a run draws on, or those in these states: borrowed ones first, then its own, oldest first."""
        rows = self._all(
            "SELECT c.* FROM chunks c JOIN uses u ON u.chunk = c.id WHERE u.run = ?1"
            " AND (?2 = '[]' OR c.state IN (SELECT value FROM json_each(?2))) ORDER BY c.run = ?1, c.seq",
            run_id,
            msgspec.json.encode(states).decode(),
        )
        return [_chunk(row) for row in rows]

    def chunk(self, chunk_id: str) -> ChunkRecord:
        """One chunk."""
        return _chunk(self._all("SELECT * FROM chunks WHERE id = ?", chunk_id)[0])

    def claims(self, shared: str) -> list[ChunkRecord]:
        """All chunks whose requests have this shared part, oldest first."""
        return [_chunk(row) for row in self._all("SELECT * FROM chunks WHERE shared = ? ORDER BY seq", shared)]

    def claims_version(self, shared: str) -> int:
        """A number that changes whenever a chunk with this shared part is added."""
        rows = self._all("SELECT coalesce(max(seq), 0) AS newest FROM chunks WHERE shared = ?", shared)
        return int(rows[0]["newest"])

    def next_ordinal(self, run_id: str) -> int:
        """The ordinal of the next chunk of a run."""
        rows = self._all("SELECT coalesce(max(ordinal), -1) + 1 AS next FROM chunks WHERE run = ?", run_id)
        return int(rows[0]["next"])

    def happen(
        self,
        chunk_id: str,
        event: str,
        *,
        error: str = "",
        batch: BatchRecord | None = None,
        halves: Sequence[ChunkRecord] = (),
        **noted: float | str | None,
    ) -> str:
        """Carry a chunk over by the table of states, in one transaction with its batch or its halves.

        Returns what is to be done; empty, and nothing changed, where the event means nothing in the chunk's state.
        """
        with self.transaction():
            found = self._all("SELECT state FROM chunks WHERE id = ?", chunk_id)
            step = TABLE.get((found[0]["state"], event)) if found else None
            if step is None:
                return ""
            self._note(chunk_id, state=step.state, error=error, changed=self._now(), **noted)
            if event == "disproved":
                self._link.execute(
                    "INSERT OR IGNORE INTO strangers SELECT id FROM batches WHERE chunk = ?", (chunk_id,)
                )
            self._link.execute("DELETE FROM batches WHERE chunk = ? AND NOT proved", (chunk_id,))
            if batch is not None:
                self._insert("batches", dataclasses.asdict(batch), replace=True)
            users = (
                [row["run"] for row in self._all("SELECT run FROM uses WHERE chunk = ?", chunk_id)] if halves else []
            )
            for half in halves if step.act == "ask again" else ():
                self._add(half, users)
            return step.act

    def note(self, chunk_id: str, **noted: float | str | None) -> None:
        """Note about a chunk what changes nothing in its state."""
        with self.transaction():
            self._note(chunk_id, **noted)

    def _note(self, chunk_id: str, **noted: float | str | None) -> None:
        marks = ", ".join(f"{name} = ?" for name in noted)
        self._link.execute(f"UPDATE chunks SET {marks} WHERE id = ?", (*noted.values(), chunk_id))  # noqa: S608 - ours

    def _add(self, chunk: ChunkRecord, users: Iterable[str]) -> None:
        record = dataclasses.asdict(chunk) | {"changed": self._now()}
        del record["seq"]
        self._insert("chunks", record)
        for run_id in users:
            self._insert("uses", {"run": run_id, "chunk": chunk.id}, replace=True)

    def younger(self, chunk: ChunkRecord) -> list[ChunkRecord]:
        """Chunks with the same shared part that came later, oldest first."""
        return [
            _chunk(row)
            for row in self._all(
                "SELECT * FROM chunks WHERE shared = ? AND seq > ? ORDER BY seq", chunk.shared, chunk.seq
            )
        ]

    def known(self, batch_ids: Sequence[str]) -> set[str]:
        """Which of these batches are surely some chunk's, or surely a stranger's."""
        asked = msgspec.json.encode(list(batch_ids)).decode()
        rows = self._all(
            "SELECT id FROM batches WHERE proved AND id IN (SELECT value FROM json_each(?1))"
            " UNION SELECT id FROM strangers WHERE id IN (SELECT value FROM json_each(?1))",
            asked,
        )
        return {row["id"] for row in rows}

    def with_nonces(self, nonces: Iterable[str]) -> list[ChunkRecord]:
        """The chunks, of whatever run, whose ids begin with one of these."""
        asked = msgspec.json.encode(list(nonces)).decode()
        return [
            _chunk(row)
            for row in self._all("SELECT * FROM chunks WHERE nonce IN (SELECT value FROM json_each(?))", asked)
        ]

    def is_stranger(self, batch_id: str) -> None:
        """Note that a batch is nobody's here."""
        with self.transaction():
            self._link.execute("INSERT OR IGNORE INTO strangers VALUES (?)", (batch_id,))

    def batch(self, chunk_id: str) -> BatchRecord | None:
        """The batch that the server made of a chunk."""
        found = self._all("SELECT * FROM batches WHERE chunk = ?", chunk_id)
        return _batch(found[0]) if found else None

    def open_batches(self, run_id: str) -> list[tuple[ChunkRecord, BatchRecord]]:
        """The chunks a run draws on that the server has and has not ended, as far as is known, and their batches."""
        rows = self._all(
            "SELECT b.* FROM batches b JOIN chunks c ON c.id = b.chunk JOIN uses u ON u.chunk = c.id"
            " WHERE u.run = ? AND c.state = 'submitted'",
            run_id,
        )
        batches = {batch.chunk: batch for batch in map(_batch, rows)}
        return [(chunk, batches[chunk.id]) for chunk in self.chunks(run_id, SUBMITTED) if chunk.id in batches]

    def keep(self, batch: BatchRecord) -> None:
        """Keep what is known of a batch, as it stands."""
        with self.transaction():
            self._insert("batches", dataclasses.asdict(batch), replace=True)

    def update_batch(self, chunk_id: str, *, status: str, ended_at: str) -> None:
        """Note what polling told."""
        with self.transaction():
            self._link.execute(
                "UPDATE batches SET status = ?, ended_at = ? WHERE chunk = ?", (status, ended_at, chunk_id)
            )

    # --------------------------------------------------------------- columns

    def wrote(self, run_id: str, name: str, kind: Kind) -> None:
        """Note that a run's answers were laid onto a frame under this name."""
        with self.transaction():
            record = {"run": run_id, "name": name, "kind": msgspec.json.encode(kind), "at": self._now()}
            self._insert("written", record, replace=True)

    def writers(self, name: str) -> list[tuple[RunRecord, Kind]]:
        """The runs that wrote a column of this name, newest first."""
        found = self._all(
            "SELECT r.*, w.kind AS column_kind FROM written w JOIN runs r ON r.id = w.run WHERE w.name = ?"
            " ORDER BY w.at DESC, r.rowid DESC",
            name,
        )
        return [(_run(row), _kind(row["column_kind"])) for row in found]


def _run(row: sqlite3.Row) -> RunRecord:
    values = {name: row[name] for name in RunRecord.__slots__}
    spec = _spec(values["spec"])
    return RunRecord(**values | {"spec": spec, "spends": bool(values["spends"])})


def _readable(row: sqlite3.Row) -> RunRecord | None:
    """A run's record; None for one that this version cannot read, which must not hide the others."""
    try:
        return _run(row)
    except msgspec.MsgspecError as error:
        log.warning("the record of run %s cannot be read: %s", row["id"], error)
        return None


def _chunk(row: sqlite3.Row) -> ChunkRecord:
    return ChunkRecord(**dict(zip(row.keys(), row, strict=True)))  # by place: looking names up in a row is slow


def _batch(row: sqlite3.Row) -> BatchRecord:
    return BatchRecord(**dict(row) | {"proved": bool(row["proved"])})
