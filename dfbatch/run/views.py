"""A run as it is looked at: its snapshot, a display while a cell waits for it, a panel while none does."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dfbatch.errors import DfbatchError
from dfbatch.progress import Peek
from dfbatch.progress.choose import cell, display, lively
from dfbatch.run import thread
from dfbatch.run.clicks import Clicks
from dfbatch.run.ends import durations
from dfbatch.run.peek import ROWS, peek
from dfbatch.run.report import snapshot
from dfbatch.run.waiting import SHOWN, close, paced, show, watch

if TYPE_CHECKING:
    from dfbatch.progress import Display, Snapshot
    from dfbatch.run.answers import Answers
    from dfbatch.run.driver import Driver
    from dfbatch.run.handle import Run
    from dfbatch.run.loop import Work

log = logging.getLogger("dfbatch")


class View:
    """What can be seen of one run."""

    def __init__(self, run: Run, work: Work, driver: Driver, answers: Answers) -> None:
        self._run, self._work, self._driver, self._answers = run, work, driver, answers
        self._peek = Peek()
        self._last: Snapshot | None = None
        self._left_in = 0  # the cell that a display left its summary in

    @cached_property
    def _took(self) -> list[float]:
        return durations(self._work.ledger, self._work.record)

    def snapshot(self) -> Snapshot:
        """All there is to see at this moment."""
        if len(self._peek.rows) < ROWS:
            self._peek = peek(self._answers)
        took = self._took if self._driver.running else ()
        seen = snapshot(self._run, self._work, self._answers.standing, peek=self._peek, took=took)
        if self._driver.running:
            return seen
        return replace(seen, causes=tuple(self._answers.causes()), shares=tuple(self._answers.shares()))

    def look(self) -> Snapshot | None:
        """What is to be seen now; where looking fails, what was seen last: a run goes on, whatever its display does."""
        try:
            self._last = self.snapshot()
        except Exception as error:  # noqa: BLE001 - as above
            log.warning("run %s: could not be looked at: %s: %s", self._run.id, type(error).__name__, error)
        return self._last

    def wait(self, progress: Any, *, timeout: float | None, until: str, quiet: float) -> None:
        """Wait with a display: the one that the user asked for, or that fits."""
        clicks = Clicks(self._run, self._driver, blocks=True)
        shown = display(progress, controls=clicks) if self._driver.running and progress is not False else None
        self._left_in = cell() if shown and progress in ("auto", "panel") else 0
        watch(self._run, self._driver, shown, look=self.look, clicks=clicks, timeout=timeout, until=until, quiet=quiet)

    def displayed(self) -> bool:
        """Whether the last line of a cell need not print the run: its summary is there, or the live panel now is."""
        return 0 < self._left_in == cell() if self._run.done else self._live()

    def _live(self) -> bool:
        """Show the live panel, where one can live, and follow the run to its end; whether it is shown."""
        if not lively():
            return False
        with suppress(DfbatchError):  # without a key, say, it is shown as it stands
            self._run.look_after()
        if not self._driver.running:
            return False
        shown = display("panel", controls=Clicks(self._run, self._driver, blocks=False))
        show(shown, self.look())
        thread.start(self._follow(shown))
        return True

    async def _follow(self, shown: Display) -> None:
        pause = SHOWN
        while self._driver.running:
            await self._driver.moment(pause)
            pause = await asyncio.to_thread(paced, lambda: show(shown, self.look()))
        await asyncio.to_thread(lambda: close(shown, self.look()))
