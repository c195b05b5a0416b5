"""The emulator's time: a base clock plus what `/_emulator/clock` has added, and how the API writes a moment.

Not here: how long requests take (schedule.py). Nothing in the emulator sleeps by this clock; it is only read.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
FOREVER = 1 << 62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """Microseconds since 1970, which tests and `/_emulator/clock` can move forward."""

    def __init__(self, base: Callable[[], float]) -> None:
        self._base = base
        self._offset = 0
        self._lock = threading.Lock()

    @property
    def offset(self) -> int:
        """Microseconds added so far."""
        return self._offset

    def now(self) -> int:
        """This moment in microseconds."""
        return round(self._base() * SECOND) + self._offset

    def advance(self, seconds: float) -> int:
        """Move forward, never back; the new offset in microseconds."""
        with self._lock:
            self._offset += round(seconds * SECOND)
            return self._offset


def rfc3339(moment: int | None) -> str | None:
    """`2024-09-24T18:37:24.100435Z`, as the API writes it; null stays null."""
    if moment is None:
        return None
    return _at(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def day(moment: int) -> str:
    """The day of a moment, as `2024-09-24`."""
    return _at(moment).date().isoformat()


def http_date(moment: int) -> str:
    """The `Date` header."""
    return format_datetime(_at(moment), usegmt=True)


def _at(moment: int) -> datetime:
    return _EPOCH + timedelta(microseconds=moment)
