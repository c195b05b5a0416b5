"""Time, as the loop knows it. Tests hand in a clock that they move; nothing else in dfbatch sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol


class Clock(Protocol):
    """What the loop asks of time."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        """Let seconds pass, or less where the event comes first; the event is cleared."""


class WallClock:
    """The clock on the wall."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        """Wait, or be woken."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(unless.wait(), seconds)
        unless.clear()


wall: Clock = WallClock()  # what runs go by; tests put their own in its place


def current() -> Clock:
    """The clock that a run under way goes by."""
    return wall
