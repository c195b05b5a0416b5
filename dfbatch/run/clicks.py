"""What a person does to a run from its display. A click comes on any thread, twice, or late; none may break a cell."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from dfbatch.errors import DfbatchError
from dfbatch.run.ending import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.run.driver import Driver
    from dfbatch.run.handle import Run

log = logging.getLogger("dfbatch")


class Clicks:
    """The `Controls` of one run; `blocks` where a cell waits for it."""

    def __init__(self, run: Run, driver: Driver, *, blocks: bool) -> None:
        self._run, self._driver = run, driver
        self.blocks = blocks
        self._left = threading.Event()

    @property
    def held(self) -> bool:
        """Whether nothing further is sent, by somebody's wish."""
        return not self._driver.sending

    @property
    def detached(self) -> bool:
        """Whether the cell is to let go."""
        return self._left.is_set()

    def cancel(self) -> None:
        """Ask the server to stop."""
        self._try(self._run.cancel)

    def detach(self) -> None:
        """Let the cell end; the run goes on, and goes on sending."""
        self._left.set()

    def hold(self) -> None:
        """Send no further chunk."""
        self._driver.hold()

    def send(self) -> None:
        """Send further chunks after all."""
        self._try(lambda: self._driver.drive(sending=True))

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except DfbatchError as error:
            log.warning("run %s: %s", self._run.id, first_line(error))
