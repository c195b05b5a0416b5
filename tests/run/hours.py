"""A clock for several who pause at once: time goes on to the next of their ends, but not while something is sent."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Protocol

from .clocks import MovingClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GRACE = 5.0  # seconds on the wall for which time stands still while something is sent or collected
TICK = 0.001
IDLE = 4  # turns of the loop without work, before time goes on: whoever is done tells so a moment later
WORK = {"send", "Collector._one"}  # tasks beside the loop


class Moved(Protocol):
    """A server with a clock of its own."""

    def advance(self, seconds: float) -> object: ...


class Hours(MovingClock):
    """Moves with a server; `behind` is how far it is from the server's clock, `at` what happens on the way."""

    def __init__(self, server: Moved, *, behind: float = 0.0) -> None:
        super().__init__(behind=behind)
        self._moves = server
        self._began = self._steady()
        self._ends: list[float] = []
        self._at: list[tuple[float, Callable[[], object]]] = []
        self._goes = threading.Event()
        self._goes.set()

    def _steady(self) -> float:
        """What no setting of the clock changes."""
        return time.time() + self.moved

    @property
    def passed(self) -> float:
        """Seconds since the beginning."""
        return self._steady() - self._began

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        """Do this when so much time has passed."""
        self._at.append((self._began + seconds, act))
        self._at.sort(key=lambda pair: pair[0])

    def leap(self, seconds: float) -> None:
        """So much passes at once: the machine slept."""
        self._move(seconds)

    def step(self, seconds: float) -> None:
        """The clock is set, here and not at the server."""
        self._behind -= seconds

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Time stands still for everybody meanwhile."""
        self._goes.clear()
        try:
            yield
        finally:
            self._goes.set()

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        end = self._steady() + seconds
        self._ends.append(end)
        idle, patience = 0, time.monotonic() + GRACE
        try:
            while not unless.is_set() and self._steady() < end:
                if not self._goes.is_set() or (self._busy() and time.monotonic() < patience):
                    idle = 0
                    await asyncio.sleep(TICK)
                elif (idle := idle + 1) < IDLE:
                    await asyncio.sleep(0)
                else:
                    self._move(min([*self._ends, *(when for when, _ in self._at[:1])]) - self._steady())
                    idle, patience = 0, time.monotonic() + GRACE
        finally:
            self._ends.remove(end)
            unless.clear()

    def _move(self, seconds: float) -> None:
        if seconds > 0:
            self.moved += seconds
            self._moves.advance(seconds)
        while self._at and self._at[0][0] <= self._steady():
            self._at.pop(0)[1]()

    def _busy(self) -> bool:
        """Whether something is being sent or collected, and nothing else is waited for."""
        if len(self._ends) > 1:
            return False
        return not WORK.isdisjoint(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
