"""The display for marimo: the static summary, drawn again and again below the cell.

This file imports marimo: import it only inside one of its notebooks (`choose.py` does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import marimo

from dfbatch.progress import summary
from dfbatch.progress.pace import Pace

if TYPE_CHECKING:
    from dfbatch.progress import Snapshot


class Page:
    """A `Display` for marimo; called in the cell's own thread, as marimo wants it."""

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment, unless the last one was shown less than a second ago."""
        if self._pace.ready():
            self.close(snapshot)

    def close(self, snapshot: Snapshot) -> None:
        """Leave the summary."""
        marimo.output.replace(marimo.Html(summary.html(snapshot)))
