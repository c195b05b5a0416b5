"""What survives a kill, in SQLite: batches as they stand, usage added up, and a few named values.

No row per request: those are in files (folder.py). Not here: what the states mean (life.py).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from dfbatch.emulator.clock import FOREVER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, workspace TEXT NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0, state BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS batches_of ON batches (workspace, deleted, seq);
CREATE TABLE IF NOT EXISTS usage (
    workspace TEXT NOT NULL, mode TEXT NOT NULL, rate TEXT NOT NULL, geo TEXT NOT NULL,
    requests INTEGER NOT NULL, input INTEGER NOT NULL, write_5m INTEGER NOT NULL, write_1h INTEGER NOT NULL,
    read INTEGER NOT NULL, output INTEGER NOT NULL, PRIMARY KEY (workspace, mode, rate, geo));
CREATE TABLE IF NOT EXISTS named (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class InUse(RuntimeError):
    """The data folder cannot be had: another emulator has it open, or its database is damaged."""


class Batch(msgspec.Struct, kw_only=True):
    """One batch as it stands. Times in microseconds."""

    id: str
    workspace: str
    created_at: int
    expires_at: int
    total: int
    version: str
    law: str
    lanes: int
    speed: float
    seed: int
    betas: list[str] = []
    profile: str | None = None
    seq: int = 0
    closed_at: int | None = None  # the engine is through with it: no further line will come
    cancel_at: int | None = None
    ended_at: int | None = None
    stuck: bool = False  # fault: never leaves the state it is in
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0
    deleted: bool = False


class Sums(msgspec.Struct, frozen=True):
    """Billed requests of one workspace, mode (batch, standard), rate (model or model's long rate) and geography."""

    workspace: str
    mode: str
    rate: str
    geo: str
    requests: int
    input: int
    write_5m: int
    write_1h: int
    read: int
    output: int


class Store:
    """The one SQLite connection, shared by threads behind a lock."""

    def __init__(self, path: Path) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1)
        try:
            # exclusive locking dies with the process, so a killed emulator never blocks the next one
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            # what the system was given survives a kill; waiting for the disk would only guard against a power cut, and
            # was seen to take 90 s beside a process that had just written gigabytes
            self._db.execute("PRAGMA synchronous=OFF")
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.executescript(_SCHEMA)
            with self._writing():
                self._db.execute("INSERT OR IGNORE INTO named VALUES ('made_by', 'dfbatch emulator 1')")
        except sqlite3.DatabaseError as error:
            self._db.close()
            locked = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            what = "is in use by another emulator" if locked else "holds a database that cannot be opened"
            raise InUse(f"{path.parent} {what} ({error})") from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def value(self, name: str) -> str | None:
        """A named value, if it was kept."""
        with self._lock:
            row = self._db.execute("SELECT value FROM named WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, name: str, value: str) -> None:
        """Remember a named value."""
        with self._writing():
            self._db.execute("INSERT OR REPLACE INTO named VALUES (?, ?)", (name, value))

    def add(self, batch: Batch) -> None:
        """A new batch; gives it its place in the list."""
        with self._writing():
            cursor = self._db.execute(
                "INSERT INTO batches (id, workspace, state) VALUES (?, ?, ?)",
                (batch.id, batch.workspace, msgspec.json.encode(batch)),
            )
            batch.seq = int(cursor.lastrowid or 0)

    def save(self, batch: Batch, *, billed: list[Sums] | None = None) -> None:
        """The new state, together with what it made billable."""
        with self._writing():
            self._db.execute(
                "UPDATE batches SET ended = ?, deleted = ?, state = ? WHERE id = ?",
                (batch.ended_at is not None, batch.deleted, msgspec.json.encode(batch), batch.id),
            )
            self._bill(billed or [])

    def bill(self, sums: Sums) -> None:
        """Add to what was used."""
        with self._writing():
            self._bill([sums])

    def find(self, batch_id: str) -> Batch | None:
        """The batch of this id, deleted ones included."""
        with self._lock:
            row = self._db.execute("SELECT seq, state FROM batches WHERE id = ?", (batch_id,)).fetchone()
        return None if row is None else _batch(*row)

    def live(self) -> list[Batch]:
        """Batches that have not ended, oldest first."""
        with self._lock:
            rows = self._db.execute("SELECT seq, state FROM batches WHERE ended = 0 AND deleted = 0 ORDER BY seq")
            return [_batch(*row) for row in rows]

    def kept(self) -> set[str]:
        """The ids of all batches that still have files."""
        with self._lock:
            return {str(row[0]) for row in self._db.execute("SELECT id FROM batches WHERE deleted = 0")}

    def page(self, workspace: str, *, above: int = 0, below: int = FOREVER, limit: int, upward: bool) -> list[Batch]:
        """At most `limit` batches next to an anchor: the oldest above it (`upward`) or the newest below it."""
        order = "ASC" if upward else "DESC"
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, state FROM batches WHERE workspace = ? AND deleted = 0 AND seq > ? AND seq < ? "  # noqa: S608
                f"ORDER BY seq {order} LIMIT ?",
                (workspace, above, below, limit),
            )
            return [_batch(*row) for row in rows]

    def created(self) -> dict[str, tuple[int, int]]:
        """Batches and requests accepted so far, by workspace, deleted ones included."""
        with self._lock:
            rows = self._db.execute(
                "SELECT workspace, count(*), sum(json_extract(CAST(state AS TEXT), '$.total')) "
                "FROM batches GROUP BY workspace"
            )
            return {str(workspace): (int(count), int(total)) for workspace, count, total in rows}

    def sums(self) -> list[Sums]:
        """All that was billed."""
        with self._lock:
            return [Sums(*row) for row in self._db.execute("SELECT * FROM usage ORDER BY workspace, mode, rate, geo")]

    def reset(self) -> None:
        """Forget all batches and usage."""
        with self._writing():
            for table in ("batches", "usage"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608

    def _bill(self, billed: list[Sums]) -> None:
        self._db.executemany(
            "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "requests = requests + excluded.requests, input = input + excluded.input, "
            "write_5m = write_5m + excluded.write_5m, write_1h = write_1h + excluded.write_1h, "
            "read = read + excluded.read, output = output + excluded.output",
            [msgspec.structs.astuple(sums) for sums in billed],
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _batch(seq: int, state: bytes) -> Batch:
    batch = msgspec.json.decode(state, type=Batch)
    batch.seq = seq
    return batch
