"""The terminal bar: tqdm over rows that have an outcome, with what the run is waiting for in front.

tqdm's own rate and time left stay out: rows jump when a batch ends, and both would be invented.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

from dfbatch.progress import summary, words
from dfbatch.progress.log import say
from dfbatch.progress.pace import Pace

if TYPE_CHECKING:
    from dfbatch.progress import Snapshot

WIDE = 100
"""Terminals narrower than this show the safety line by its first words."""


class Bar:
    """A `Display` for terminals, on stderr; it leaves one summary line."""

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self._bar: tqdm[None] | None = None
        self._said = ""

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment, unless the last one was shown less than a second ago."""
        if not self._pace.ready():
            return
        if self._bar is None:
            self._bar = _start(snapshot)
        if snapshot.message != self._said:
            self._said = snapshot.message
            self._bar.write(words.plain(snapshot.message), file=sys.stderr)
        self._bar.n = words.finished(snapshot)
        self._bar.set_description_str(words.plain(description(snapshot)), refresh=False)
        self._bar.set_postfix_str(words.plain(postfix(snapshot, wide=_columns() >= WIDE)), refresh=False)
        self._bar.refresh()

    def close(self, snapshot: Snapshot) -> None:
        """Leave the summary line in place of the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        say(summary.line(snapshot))


def description(snapshot: Snapshot) -> str:
    """What the run is at, and a time that moves: a bar that stands still for an hour must not look dead.

    >>> from dfbatch.progress import BatchMark, Snapshot
    >>> description(Snapshot("7f3a", "", "waiting", "m", "", 3, 3, 0, {}, (BatchMark("1", "waiting", 3),), 250))
    'waiting for 1 batch, 4 min 10 s'
    """
    return f"{words.doing(snapshot)}, {words.ticking(snapshot.elapsed)}"


def postfix(snapshot: Snapshot, *, wide: bool) -> str:
    """Whether the terminal may be closed, and what was spent if there is room."""
    if wide:
        return " · ".join(filter(None, [snapshot.safety, words.plain(snapshot.spent)]))
    return snapshot.brief


class _Line(tqdm):  # type: ignore[type-arg]  # subscripting tqdm fails at run time
    """tqdm without its monitor thread: `show` is called often enough, and no thread outlives the run."""

    monitor_interval = 0


def _start(snapshot: Snapshot) -> tqdm[None]:
    key = words.detach(snapshot, key="Ctrl-C")
    why = f"{words.plain(snapshot.why)}\n" if snapshot.why else ""
    say(f"dfbatch {words.heading(snapshot)}: {words.answerer(snapshot)}\n{why}{key}")
    return _Line(
        total=snapshot.rows,
        unit="row",
        file=sys.stderr,
        dynamic_ncols=True,
        leave=False,
        disable=False,  # TQDM_DISABLE in the environment would break refresh(): progress=False is our switch
        bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} rows{postfix}",
    )


def _columns() -> int:
    return shutil.get_terminal_size().columns
