"""How often a display may speak: `Pace` lets a first call through, then one per interval of the clock it is given.

What is shown is not decided here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Pace:
    """A gate that opens at most once in `every` seconds.

    >>> pace = Pace(every=60.0)
    >>> pace.ready(), pace.ready()
    (True, False)
    """

    def __init__(self, *, every: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.every = every
        self._clock = clock
        self._last: float | None = None

    def ready(self) -> bool:
        """Whether it is time; saying yes starts the next interval."""
        now = self._clock()
        if self._last is not None and now - self._last < self.every:
            return False
        self._last = now
        return True

    def restart(self) -> None:
        """Count the interval from now."""
        self._last = self._clock()
