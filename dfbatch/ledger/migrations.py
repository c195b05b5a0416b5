"""The ledger's tables, as numbered steps: each is applied once, in one transaction with its record."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from dfbatch.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

_TURNS = 100  # at a new file, which several processes may open at one instant: two were enough for six of them


def _first(link: sqlite3.Connection) -> None:
    link.execute("""
        CREATE TABLE runs (
          id TEXT PRIMARY KEY, created REAL NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, message TEXT NOT NULL,
          frame TEXT NOT NULL, rows INTEGER NOT NULL, requests INTEGER NOT NULL, skipped INTEGER NOT NULL,
          model TEXT NOT NULL, max_tokens INTEGER NOT NULL, shared TEXT NOT NULL, who TEXT NOT NULL,
          backend TEXT NOT NULL, answered_by TEXT NOT NULL, spends INTEGER NOT NULL, spec BLOB NOT NULL)
    """)
    link.execute("""
        CREATE TABLE chunks (
          seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, run TEXT NOT NULL REFERENCES runs(id),
          ordinal INTEGER NOT NULL, state TEXT NOT NULL, shared TEXT NOT NULL, nonce TEXT NOT NULL UNIQUE,
          requests INTEGER NOT NULL, bytes INTEGER NOT NULL,
          max_tokens INTEGER NOT NULL, error TEXT NOT NULL DEFAULT '', changed REAL NOT NULL)
    """)
    link.execute("CREATE INDEX chunks_by_shared ON chunks(shared)")
    link.execute("""
        CREATE TABLE batches (
          chunk TEXT PRIMARY KEY REFERENCES chunks(id), id TEXT NOT NULL, base_url TEXT NOT NULL,
          organization TEXT NOT NULL, workspace TEXT NOT NULL, request_id TEXT NOT NULL, status TEXT NOT NULL,
          created_at TEXT NOT NULL, expires_at TEXT NOT NULL, ended_at TEXT NOT NULL, accepted REAL NOT NULL)
    """)
    link.execute("""
        CREATE TABLE uses (
          run TEXT NOT NULL REFERENCES runs(id), chunk TEXT NOT NULL REFERENCES chunks(id),
          PRIMARY KEY (run, chunk)) WITHOUT ROWID
    """)
    link.execute("""
        CREATE TABLE written (
          run TEXT NOT NULL REFERENCES runs(id), name TEXT NOT NULL, kind BLOB NOT NULL, at REAL NOT NULL,
          PRIMARY KEY (run, name)) WITHOUT ROWID
    """)


def _second(link: sqlite3.Connection) -> None:
    """Chunks in doubt, tries by cause, a wish to cancel that outlives its process."""
    for column in (
        "allowed INTEGER NOT NULL DEFAULT 0",
        "kind TEXT NOT NULL DEFAULT ''",
        "model TEXT NOT NULL DEFAULT ''",
        "head TEXT NOT NULL DEFAULT ''",
        "intended REAL NOT NULL DEFAULT 0",
        "orphaned REAL NOT NULL DEFAULT 0",
        "answered TEXT NOT NULL DEFAULT ''",
        "organization TEXT NOT NULL DEFAULT ''",
        "workspace TEXT NOT NULL DEFAULT ''",
    ):
        link.execute(f"ALTER TABLE chunks ADD COLUMN {column}")
    link.execute("UPDATE chunks SET allowed = max_tokens, intended = changed")
    link.execute("ALTER TABLE batches ADD COLUMN proved INTEGER NOT NULL DEFAULT 1")
    link.execute("ALTER TABLE runs ADD COLUMN canceled INTEGER NOT NULL DEFAULT 0")
    link.execute("CREATE TABLE strangers (id TEXT PRIMARY KEY) WITHOUT ROWID")


def _third(link: sqlite3.Connection) -> None:
    """What left a chunk in doubt; requests that may be billed and never told."""
    for column in ("doubt TEXT NOT NULL DEFAULT ''", "unheard INTEGER NOT NULL DEFAULT 0", "unheard_usd REAL"):
        link.execute(f"ALTER TABLE chunks ADD COLUMN {column}")


def _fourth(link: sqlite3.Connection) -> None:
    """What files are known again by. A file that is written anew has several: a kill may leave either version."""
    link.execute("""
        CREATE TABLE files (
          name TEXT NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL,
          PRIMARY KEY (name, size, crc)) WITHOUT ROWID
    """)


STEPS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (_first, _second, _third, _fourth)


def write_ahead(link: sqlite3.Connection) -> None:
    """Use the write-ahead log. SQLite refuses at once while another writes, whatever the time-out: then wait for it."""
    for _ in range(_TURNS):
        try:
            link.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            link.execute("BEGIN EXCLUSIVE")  # this one waits
            link.execute("ROLLBACK")
        else:
            return
    link.execute("PRAGMA journal_mode=WAL")


def migrate(link: sqlite3.Connection, place: str) -> None:
    """Bring a ledger up to this version; one written by a newer dfbatch is left alone and said so."""
    link.execute("BEGIN IMMEDIATE")
    try:
        (version,) = link.execute("PRAGMA user_version").fetchone()
        if version > len(STEPS):
            raise LedgerError(
                f"the ledger at {place} was written by a newer dfbatch (its version {version}, ours {len(STEPS)})",
                "nothing was changed in it",
                hint="pip install -U dfbatch, or set DFBATCH_HOME to another folder",
            )
        for step in STEPS[version:]:
            step(link)
        if version < len(STEPS):
            link.execute(f"PRAGMA user_version = {len(STEPS)}")
        link.execute("COMMIT")
    except BaseException:
        if link.in_transaction:
            link.execute("ROLLBACK")
        raise
