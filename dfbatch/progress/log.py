"""Plain lines on stderr, for scripts, CI and pipes: one when something changes, else a sign of life.

They do not go through `logging`: a user who configured none must see something, one who did would see it twice.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from dfbatch.progress import summary, words
from dfbatch.progress.pace import Pace
from dfbatch.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.progress import Snapshot

QUIET = 30.0
"""Seconds without a change after which a line says that the run is alive."""
QUIETEST = 300.0
"""Signs of life grow rarer with the run (a twentieth of its age): 24 hours are 300 lines, not 2,880."""


class Log:
    """A `Display` of plain lines; the last one is always written."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._changes = Pace(clock=clock)
        self._life = Pace(every=QUIET, clock=clock)
        self._last: tuple[object, ...] = ()

    def show(self, snapshot: Snapshot) -> None:
        """Write a line if something changed (at most one a second) or nothing was said for long."""
        self._life.every = min(QUIETEST, max(QUIET, snapshot.elapsed / 20))
        if snapshot.why and not self._last:
            say(words.plain(f"dfbatch {words.heading(snapshot)}: {snapshot.why}"))
        now = _key(snapshot)
        if (now != self._last and self._changes.ready()) or self._life.ready():
            self._last = now
            self._life.restart()
            say(summary.line(snapshot))

    def close(self, snapshot: Snapshot) -> None:
        """Write the summary line."""
        say(summary.line(snapshot))


def say(text: str) -> None:
    """One line on stderr, if the process has one (pythonw has none)."""
    if sys.stderr is not None:
        sys.stderr.write(visible(text) + "\n")
        sys.stderr.flush()


def _shown(record: logging.LogRecord) -> bool:
    """What the package logs, of servers' texts too, drives no terminal either."""
    record.msg, record.args = visible(record.getMessage()), None
    return True


logging.getLogger("dfbatch").addFilter(_shown)


def _key(snapshot: Snapshot) -> tuple[object, ...]:
    """What makes a new line: not the count of each of a thousand chunks, but that a batch ended or all is sent."""
    ended = Counter(mark.state for mark in snapshot.batches if mark.state in {"done", "failed", "in doubt"})
    return snapshot.status, snapshot.message, frozenset(ended.items()), snapshot.unsent == 0
