"""Which display fits the place the code runs in: panel in a Jupyter kernel, page in marimo, bar in a terminal, lines.

Nothing is imported to find out: a place that is not loaded is not where we are. A display that breaks never stops
a run that was paid for: the next plainer one takes over.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

from dfbatch.progress import words
from dfbatch.progress.log import Log, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.progress import Controls, Display, Snapshot

Progress = Literal["auto", "panel", "bar", "log", False]


def display(progress: Progress = "auto", *, controls: Controls | None = None) -> Display:
    """The display that was asked for, or with "auto" the one that fits; the panel has buttons for `controls`.

    >>> display(False)
    Silence()
    """
    if progress == "auto" and in_marimo():
        return Plainer(_page, Log)
    kind = _fitting() if progress == "auto" else progress
    if kind is False:
        return Silence()
    if kind == "panel":
        return Plainer(lambda: _panel(controls), *([_bar] if _terminal() else []), Log)
    return Plainer(_bar, Log) if kind == "bar" else Plainer(Log)


class Silence:
    """A `Display` that shows nothing."""

    def __repr__(self) -> str:
        return "Silence()"

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""

    def close(self, snapshot: Snapshot) -> None:
        """Leave nothing."""


class Plainer:
    """A `Display` that tries displays in turn: one that breaks is left for the next, the last is silence."""

    def __init__(self, *makers: Callable[[], Display]) -> None:
        self._makers = list(makers)
        self._display: Display | None = None

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment by the best display that works."""
        self._with(lambda shown: shown.show(snapshot))

    def close(self, snapshot: Snapshot) -> None:
        """Leave what the best display that works leaves."""
        self._with(lambda shown: shown.close(snapshot))

    def _with(self, act: Callable[[Display], None]) -> None:
        while self._makers or self._display:
            try:
                self._display = self._display or self._makers.pop(0)()
                act(self._display)
            except Exception as error:  # noqa: BLE001  # whatever breaks here, the run goes on
                self._display = None
                _tell(error, plainer=bool(self._makers))
            else:
                return


def in_kernel() -> bool:
    """Whether a Jupyter kernel runs this code; Colab's and others' shells derive from the same class."""
    shell = _shell()
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


def in_marimo() -> bool:
    """Whether a notebook of marimo runs this code."""
    return bool(getattr(sys.modules.get("marimo"), "running_in_notebook", lambda: False)())


def watched() -> bool:
    """Whether somebody may sit at the notebook: nbclient, nbconvert and papermill say that nobody answers a prompt."""
    try:
        request = _shell().kernel.get_parent()["content"]
    except (AttributeError, LookupError):  # another kernel than ipykernel, or a thread that no cell started
        return True
    return bool(request.get("allow_stdin", True))


def cell() -> int:
    """Which cell of a notebook runs now, counted as in `In [3]`; 0 where none does."""
    return int(getattr(_shell(), "execution_count", 0)) if in_kernel() else 0


def lively() -> bool:
    """Whether something that moves can be shown beside what runs: in a notebook that somebody looks at."""
    return in_kernel() and watched()


def _fitting() -> Progress:
    if in_kernel():
        return "panel"
    return "bar" if _terminal() else "log"


def _terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _shell() -> Any:
    return getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()


def _panel(controls: Controls | None) -> Display:
    if not in_kernel():
        raise RuntimeError("no notebook kernel runs this code")
    from dfbatch.progress.panel import Panel

    return Panel(alive=watched(), controls=controls)


def _page() -> Display:
    from dfbatch.progress.page import Page

    return Page()


def _bar() -> Display:
    from dfbatch.progress.bar import Bar

    return Bar()


def _tell(error: Exception, *, plainer: bool) -> None:
    try:
        now = "a plainer display follows" if plainer else "no progress is shown"
        say(f"dfbatch: {now} ({type(error).__name__}: {words.plain(str(error))})")
    except (OSError, ValueError):  # stderr itself is closed or gone
        return
