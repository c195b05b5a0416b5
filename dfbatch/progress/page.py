"""The display for marimo: the static summary, drawn again and again below the cell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dfbatch.progress import summary
from dfbatch.progress.pace import Pace

if TYPE_CHECKING:
    from dfbatch.progress import Snapshot


class Page:
    """A `Display` for notebooks of marimo, which is loaded where they run; used in the cell's own thread."""

    def __init__(self, pace: Pace | None = None) -> None:
        self._marimo: Any = sys.modules["marimo"]
        self._pace = pace or Pace()

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment, unless the last one was shown less than a second ago."""
        if self._pace.ready():
            self.close(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Leave the summary."""
        self._marimo.output.replace(self._marimo.Html(summary.html(snapshot)))
