"""A process that may die at its n-th step, within this one: nothing it does afterwards reaches disk or wire.

A step is a transaction begun or committed, a file that takes or loses its name, a call to the server begun or ended, a
block of a body or of results. What is dead cannot clean up either. Rebuilding is from disk alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dfbatch import run as run_layer
from dfbatch.backends.anthropic import Anthropic
from dfbatch.ledger import Ledger
from dfbatch.ledger.lock import Lock
from dfbatch.run import clock, spools
from dfbatch.run.driver import live

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from dfbatch.emulator import Server

CALLS = ("submit", "poll", "find", "cancel", "probe", "ask")


class Died(BaseException):
    """The process is gone."""


class StormClock:
    """Time passes by what is paused, here and at the server; the two may disagree."""

    def __init__(self) -> None:
        self.moved = 0.0
        self.behind = 0.0
        self.server: Server | None = None

    def now(self) -> float:
        return time.time() + self.moved - self.behind

    def move(self, seconds: float) -> None:
        self.moved += seconds
        if self.server is not None:
            self.server.advance(seconds)

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        self.move(seconds)
        await asyncio.sleep(0)
        unless.clear()


class Mortal:
    """`with Mortal() as mortal`: everything dfbatch does is counted, and dies at step `die_at`."""

    def __init__(self) -> None:
        self.steps = 0
        self.die_at: int | None = None
        self.dead = False
        self.clock = StormClock()
        self._locks: list[Lock] = []
        self._undo: list[tuple[Any, str, Any]] = []

    def step(self) -> None:
        """One more step."""
        if self.dead:
            raise Died
        self.steps += 1
        if self.steps == self.die_at:
            self.dead = True
            raise Died

    def born(self, die_at: int | None) -> None:
        """A new process, which will die at this step of its own."""
        self.steps, self.die_at, self.dead = 0, die_at, False

    def buried(self) -> None:
        """What dies with a process: its runs, its connections to the ledger, its locks."""
        for run in [*live.values()]:
            with contextlib.suppress(BaseException):
                run._driver.wait_quietly()
        live.clear()
        run_layer.close_ledgers()
        for lock in self._locks:
            if lock._held is not None:
                lock._held.close()
                lock._held = None
        self._locks.clear()
        self.born(None)

    def __enter__(self) -> Self:
        self._wrap(Ledger, "transaction", self._transaction)
        self._wrap(Lock, "acquire", self._acquire)
        self._wrap(spools, "lines", self._lines)
        self._wrap(Path, "replace", self._file)
        self._wrap(Path, "unlink", self._quiet)
        self._wrap(shutil, "rmtree", self._quiet)
        for name in CALLS:
            self._wrap(Anthropic, name, self._call)
        self._wrap(Anthropic, "results", self._results)
        self._set(clock, "wall", self.clock)
        return self

    def __exit__(self, *_: object) -> None:
        for place, name, was in reversed(self._undo):
            setattr(place, name, was)

    def _wrap(self, place: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
        self._set(place, name, wrapper(getattr(place, name)))

    def _set(self, place: Any, name: str, value: Any) -> None:
        self._undo.append((place, name, getattr(place, name)))
        setattr(place, name, value)

    def _transaction(self, real: Any) -> Any:
        @contextlib.contextmanager
        def transaction(ledger: Ledger) -> Iterator[None]:
            self.step()
            with real(ledger):
                yield
                self.step()  # rolled back
            self.step()

        return transaction

    def _acquire(self, real: Any) -> Any:
        def acquire(lock: Lock) -> bool:
            self.step()
            self._locks.append(lock)
            return bool(real(lock))

        return acquire

    def _lines(self, real: Any) -> Any:
        def lines(path: Path) -> Iterator[bytes]:
            for line in real(path):
                self.step()
                yield line

        return lines

    def _file(self, real: Any) -> Any:
        def act(path: Path, *given: Any) -> Any:
            if not _ours(path):
                return real(path, *given)
            self.step()
            done = real(path, *given)
            self.step()
            return done

        return act

    def _quiet(self, real: Any) -> Any:
        def act(path: Path, *given: Any, **more: Any) -> Any:
            return None if self.dead and _ours(path) else real(path, *given, **more)

        return act

    def _call(self, real: Any) -> Any:
        async def call(backend: Anthropic, *given: Any, **more: Any) -> Any:
            self.step()
            told = await real(backend, *given, **more)
            self.step()
            return told

        return call

    def _results(self, real: Any) -> Any:
        async def results(backend: Anthropic, batch_id: str) -> AsyncIterator[bytes]:
            self.step()
            async for block in real(backend, batch_id):
                self.step()
                yield block

        return results


def _ours(path: Path) -> bool:
    """Whether this is the ledger's: the emulator lives in this process too, and does not die with it."""
    return str(path).startswith(os.environ["DFBATCH_HOME"])
