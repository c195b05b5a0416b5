"""The notebook panel: one anywidget while the run lives, replaced by the static summary when the waiting is over.

What it draws is in `drawing.py`, the browser's part in `browser.py`, what stays in `summary.py`.
This file imports ipywidgets and anywidget: import it only inside a notebook kernel (`choose.py` does).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import anywidget
import traitlets
from IPython.display import display

from dfbatch.progress import summary
from dfbatch.progress.browser import CSS, ESM
from dfbatch.progress.drawing import state
from dfbatch.progress.pace import Pace

if TYPE_CHECKING:
    from dfbatch.progress import Controls, Snapshot

WORDS: Final = ("cancel", "detach", "hold", "send")  # what a click may say: the names of what `Controls` can do


class Panel:
    """A `Display` for notebook kernels; `show` and `close` are called by one thread at a time, first in the cell.

    A click arrives on whatever thread the kernel reads it. It is heeded while the panel is shown: what was queued
    behind a blocked cell and comes after it is for a run that nobody looks at any more. Buttons are enabled by the
    panel's hello, which comes only where clicks can come too.

    With `alive=False` the static summary itself is redrawn: for executors like nbclient, which draw no widget but
    write the state of each one they saw into the notebook, so that its HTML export loads scripts from a CDN.
    """

    def __init__(self, pace: Pace | None = None, *, alive: bool = True, controls: Controls | None = None) -> None:
        self._pace = pace or Pace()
        self._alive = alive
        self._controls = controls
        self._guard = threading.RLock()  # the widget is drawn by one thread, and hears clicks on another
        self._widget: _PanelWidget | None = None
        self._handle: Any = None
        self._drawn: dict[str, Any] = {}
        self._heard = False

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment, unless the last one was shown less than a second ago."""
        if not self._pace.ready():
            return
        with self._guard:
            self._drawn = state(snapshot, controls=self._controls)
            if self._handle is None:
                self._widget = self._made() if self._alive else None
                self._handle = _put(self._bundle(snapshot))
            elif self._widget is not None:
                self._draw()
            else:
                self._handle.update(_static(snapshot), raw=True)

    def close(self, snapshot: Snapshot) -> None:
        """Put the static summary where the panel was, so that the saved notebook needs no widget."""
        with self._guard:
            widget, self._widget = self._widget, None
            if widget is not None:
                widget.send({"ended": summary.line(snapshot)})
            if self._handle is None:
                _put(_static(snapshot))
            else:
                self._handle.update(_static(snapshot), raw=True)
            if widget is not None:
                widget.state = {}  # nbclient saves the last state of every widget it ever saw
                widget.layout.close()
                widget.close()

    def _made(self) -> _PanelWidget:
        widget = _PanelWidget(state=self._state)
        widget.on_msg(self._hear)
        _answer_where_it_was_asked(widget.comm)
        return widget

    @property
    def _state(self) -> dict[str, Any]:
        return {**self._drawn, "live": self._heard and self._controls is not None}

    def _draw(self) -> None:
        if self._widget is not None:
            self._widget.state = self._state

    def _hear(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """The panel was rendered, or somebody clicked."""
        said = content.get("say") if isinstance(content, dict) else None
        with self._guard:
            attached = self._widget is not None
            if said == "hello" and attached:
                self._heard = True
                self._draw()
        if said in WORDS and attached and self._controls is not None:
            getattr(self._controls, said)()

    def _bundle(self, snapshot: Snapshot) -> dict[str, Any]:
        """The widget, and beside it what a viewer without widgets shows if this kernel never comes to `close`."""
        if self._widget is None:
            return _static(snapshot)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        return {"application/vnd.jupyter.widget-view+json": view, **_static(snapshot)}


def _answer_where_it_was_asked(comm: Any) -> None:
    """Let clicks come through while a cell blocks.

    JupyterLab 4 sends them on a thread of their own (a subshell). ipykernel 7.4 hands them to the thread that last
    wrote to the widget instead, which is the one that blocks: tried with 7.4.0 (November 2026), not needed before.
    """
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda _data, default: default  # noqa: SLF001 - there is no public way


def _static(snapshot: Snapshot) -> dict[str, Any]:
    return {"text/html": summary.html(snapshot), "text/plain": summary.text(snapshot)}


def _put(bundle: dict[str, Any]) -> Any:
    return display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython left it untyped


class _PanelWidget(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget ships no types that mypy may follow
    """One synced JSON value and its drawing."""

    _esm = ESM
    _css = CSS
    state = traitlets.Dict().tag(sync=True)
