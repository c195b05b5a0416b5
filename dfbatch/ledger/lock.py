"""A lock that dies with its process: SQLite's own, which no forked child keeps alive. What it guards is elsewhere."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dfbatch.ledger.files import translated

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(slots=True)
class Lock:
    """At most one holder among all processes and threads; freed by `release` or by the end of the process."""

    path: Path
    _held: sqlite3.Connection | None = None
    _holder: int = 0  # the process that took it: a forked child has a copy of this object, not of the lock

    def acquire(self) -> bool:
        """Take the lock if it is free; never waits."""
        if self._is_ours:
            return True
        with translated(self.path):
            self.path.touch(mode=0o600)
        link = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            link.execute("PRAGMA journal_mode=DELETE")
            link.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            link.close()
            return False
        except sqlite3.DatabaseError:  # garbage, which nobody holds: a lock is looked at before what is in its file
            link.close()
            with translated(self.path):
                os.truncate(self.path, 0)
            return self.acquire()
        self._held, self._holder = link, os.getpid()
        return True

    @property
    def _is_ours(self) -> bool:
        return self._held is not None and self._holder == os.getpid()

    def release(self) -> None:
        """Free the lock; nothing happens where it is not held."""
        if self._held is not None and self._is_ours:
            self._held.close()
            self._held = None

    def is_free(self) -> bool:
        """Whether nobody holds the lock at this moment."""
        if self._is_ours:
            return False
        if not self.path.exists():
            return True
        probe = Lock(self.path)
        free = probe.acquire()
        probe.release()
        return free
