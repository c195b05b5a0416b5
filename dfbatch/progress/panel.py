"""The notebook panel: one anywidget while the run lives, replaced by the static summary when the waiting is over.

The words are in `words.py`, what stays is in `summary.py`. Buttons, expected end and peek table are not built yet.
This file imports ipywidgets and anywidget: import it only inside a notebook kernel (`choose.py` does).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython.display import display

from dfbatch.progress import summary, words
from dfbatch.progress.pace import Pace

if TYPE_CHECKING:
    from dfbatch.progress import BatchMark, Snapshot

MARKS_SHOWN = 40
"""More batches than that are counted by state instead of drawn one by one."""

STATE_SIGNS = {
    "planned": "○",
    "sending": "↑",
    "in doubt": "?",
    "waiting": "◷",
    "canceling": "⊘",
    "collecting": "↓",
    "done": "✓",
    "failed": "✕",
}


class Panel:
    """A `Display` for notebook kernels; `show` and `close` are called by one thread at a time, first in the cell.

    With `alive=False` the static summary itself is redrawn: for executors like nbclient, which draw no widget but
    write the state of each one they saw into the notebook, so that its HTML export loads scripts from a CDN.
    """

    def __init__(self, pace: Pace | None = None, *, alive: bool = True) -> None:
        self._pace = pace or Pace()
        self._alive = alive
        self._widget: _PanelWidget | None = None
        self._handle: Any = None

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment, unless the last one was shown less than a second ago."""
        if not self._pace.ready():
            return
        if self._handle is None:
            self._widget = _PanelWidget(state=state(snapshot)) if self._alive else None
            self._handle = _put(self._bundle(snapshot))
        elif self._widget is not None:
            self._widget.state = state(snapshot)
        else:
            self._handle.update(_static(snapshot), raw=True)

    def close(self, snapshot: Snapshot) -> None:
        """Put the static summary where the panel was, so that the saved notebook needs no widget."""
        if self._handle is None:
            _put(_static(snapshot))
        else:
            self._handle.update(_static(snapshot), raw=True)
        if self._widget is not None:
            self._widget.state = {}  # nbclient saves the last state of every widget it ever saw
            self._widget.layout.close()
            self._widget.close()
            self._widget = None

    def _bundle(self, snapshot: Snapshot) -> dict[str, Any]:
        """The widget, and beside it what a viewer without widgets shows if this kernel never comes to `close`."""
        if self._widget is None:
            return _static(snapshot)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._widget.model_id}
        return {"application/vnd.jupyter.widget-view+json": view, **_static(snapshot)}


def _static(snapshot: Snapshot) -> dict[str, Any]:
    return {"text/html": summary.html(snapshot), "text/plain": summary.text(snapshot)}


def _put(bundle: dict[str, Any]) -> Any:
    return display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]  # IPython left it untyped


def state(snapshot: Snapshot) -> dict[str, Any]:
    """What the panel draws, as one JSON value: finished words and numbers, so that the browser decides nothing.

    >>> from dfbatch.progress import Snapshot
    >>> state(Snapshot("7f3a", "", "waiting", "m", "", 4, 4, 0, {"succeeded": 3}))["spoken"]
    '3 of 4 rows have an outcome: 3 succeeded; waiting'
    """
    done = words.finished(snapshot)
    return {
        "heading": f"dfbatch {words.heading(snapshot)}",
        "model": words.answerer(snapshot),
        "doing": words.doing(snapshot),
        "elapsed": words.ticking(snapshot.elapsed),
        "rows": snapshot.rows,
        "done": done,
        "count": f"{done:,} of {words.many(snapshot.rows, 'row')} done",
        "spoken": _spoken(snapshot, done),
        "parts": [_part(name, count, snapshot.rows) for name, count in words.outcomes(snapshot)],
        "marks": [_mark(mark) for mark in drawn(snapshot.batches)],
        "more": _more(snapshot.batches),
        "facts": _facts(snapshot),
        "safe": snapshot.safe,
        "safety": snapshot.safety,
        "message": words.note(snapshot),
        "detach": words.detach(snapshot, key="Stop button"),
    }


def drawn(batches: tuple[BatchMark, ...]) -> tuple[BatchMark, ...]:
    """The batches that get a mark of their own: all, or of very many what needs a look and what moves."""
    if len(batches) <= MARKS_SHOWN:
        return batches
    moving = [mark for mark in batches if mark.state not in {"planned", "done"}]
    return tuple(sorted(moving, key=lambda mark: mark.state not in {"failed", "in doubt"})[:MARKS_SHOWN])


def _more(batches: tuple[BatchMark, ...]) -> str:
    rest = Counter[str](mark.state for mark in batches)
    rest.subtract(mark.state for mark in drawn(batches))
    counted = [f"{rest[name]:,} {name}" for name in STATE_SIGNS if rest[name]]
    return f"and {', '.join(counted)}" if counted else ""


def _spoken(snapshot: Snapshot, done: int) -> str:
    parts = ", ".join(f"{count:,} {name}" for name, count in words.outcomes(snapshot) if name != "pending")
    said = f"{done:,} of {words.many(snapshot.rows, 'row')} have an outcome" + (f": {parts}" if parts else "")
    return f"{said}; {words.doing(snapshot)}"


def _part(name: str, count: int, rows: int) -> dict[str, Any]:
    return {
        "name": name,
        "sign": words.SIGNS.get(name, "•"),
        "count": f"{count:,}",
        "width": 100 * count / rows if rows else 0,
        "colour": words.COLOURS.get(name, "") if name != "pending" else "transparent",
    }


def _mark(mark: BatchMark) -> dict[str, str]:
    age = "" if mark.age is None or mark.state == "done" else words.duration(mark.age)
    return {
        "state": mark.state,
        "sign": STATE_SIGNS[mark.state],
        "text": " ".join(filter(None, [f"{words.plain(mark.label)}:", mark.state, age])),
        "title": ", ".join(filter(None, [words.many(mark.requests, "request"), words.plain(mark.batch_id or "")])),
    }


def _facts(snapshot: Snapshot) -> list[str]:
    facts = [
        f"spent {words.plain(snapshot.spent)}" if snapshot.spent else "",
        words.many(snapshot.requests, "request"),
        f"{words.many(snapshot.reused, 'row')} reused from the ledger" if snapshot.reused else "",
    ]
    return [fact for fact in facts if fact]


# Everything a user or a server wrote goes in by textContent. Elements are made once and then only changed, so that
# nothing jumps, a selection survives the next second, and a screen reader is not sent back to the start.
_ESM = """
function node(tag, name, parent) {
  const made = document.createElement(tag);
  if (name) made.className = "dfb-" + name;
  if (parent) parent.append(made);
  return made;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

function fill(parent, items, make, put) {
  while (parent.children.length > items.length) parent.lastChild.remove();
  while (parent.children.length < items.length) make(parent);
  items.forEach((item, at) => put(parent.children[at], item));
}

function build(el) {
  const root = node("section", "panel", el);
  root.setAttribute("aria-label", "dfbatch progress");
  const top = node("div", "top", root);
  const at = { root, heading: node("strong", "heading", top), model: node("span", "soft", top) };
  const now = node("div", "now", root);
  at.doing = node("span", "", now);
  at.elapsed = node("span", "soft", now);
  at.count = node("span", "count", now);
  at.bar = node("div", "bar", root);
  at.bar.setAttribute("role", "progressbar");
  at.bar.setAttribute("aria-label", "rows that have an outcome");
  at.bar.setAttribute("aria-valuemin", "0");
  at.legend = node("ul", "legend", root);
  at.legend.setAttribute("aria-label", "rows by outcome");
  at.batches = node("div", "batches", root);
  node("span", "soft", at.batches).textContent = "batches";
  at.marks = node("ul", "marks", at.batches);
  at.marks.setAttribute("aria-label", "batches");
  at.more = node("div", "soft", root);
  at.facts = node("div", "soft", root);
  at.message = node("div", "message", root);
  at.message.setAttribute("role", "status");
  at.safety = node("div", "safety", root);
  at.detach = node("div", "soft", root);
  return at;
}

function labelled(parent) {
  const item = node("li", "", parent);
  node("span", "sign", item).setAttribute("aria-hidden", "true");
  node("span", "", item);
}

function draw(at, state) {
  for (const key of ["heading", "model", "doing", "elapsed", "count", "more", "message", "detach"]) {
    say(at[key], state[key]);
  }
  say(at.safety, (state.safe ? "\\u2713 " : "\\u26a0 ") + state.safety);
  at.safety.dataset.safe = state.safe;
  say(at.facts, state.facts.join(" \\u00b7 "));
  at.bar.setAttribute("aria-valuemax", state.rows);
  at.bar.setAttribute("aria-valuenow", state.done);
  at.bar.setAttribute("aria-valuetext", state.spoken);
  fill(at.bar, state.parts, (bar) => node("div", "part", bar), (part, item) => {
    part.style.width = item.width + "%";
    part.style.background = item.colour;
    part.dataset.name = item.name;
  });
  fill(at.legend, state.parts, labelled, (item, part) => {
    say(item.children[0], part.sign);
    item.children[0].style.background = part.colour;
    item.children[0].dataset.name = part.name;
    say(item.children[1], part.count + " " + part.name);
  });
  fill(at.marks, state.marks, labelled, (item, mark) => {
    say(item.children[0], mark.sign);
    say(item.children[1], mark.text);
    item.title = mark.title;
    item.dataset.state = mark.state;
  });
  at.batches.hidden = !state.marks.length;
}

export default {
  render({ model, el }) {
    const at = build(el);
    const update = () => {
      const state = model.get("state");
      if (state && state.heading) draw(at, state);
    };
    model.on("change:state", update);
    update();
    return () => model.off("change:state", update);
  },
};
"""

_CSS = """
.dfb-panel {
  --dfb-text: var(--jp-ui-font-color1, var(--vscode-foreground, inherit));
  --dfb-soft: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, inherit));
  --dfb-edge: var(--jp-border-color1, var(--vscode-panel-border, #7a7f87));
  --dfb-warn: var(--jp-warn-color0, var(--vscode-editorWarning-foreground, #c98a00));
  box-sizing: border-box; max-width: 46em; padding: .6em .8em; border: 1px solid var(--dfb-edge); border-radius: 4px;
  color: var(--dfb-text); font-family: var(--jp-ui-font-family, var(--vscode-font-family, sans-serif));
  font-size: var(--jp-ui-font-size1, 13px); line-height: 1.5; font-variant-numeric: tabular-nums;
  overflow-wrap: anywhere;
}
.dfb-panel [hidden] { display: none; }
.dfb-top, .dfb-now { display: flex; flex-wrap: wrap; gap: 0 1em; align-items: baseline; }
.dfb-count { margin-left: auto; }
.dfb-soft { color: var(--dfb-soft); }
.dfb-bar {
  display: flex; box-sizing: border-box; height: 1em; margin: .3em 0; overflow: hidden;
  border: 1px solid var(--dfb-edge); border-radius: 3px;
}
.dfb-part { flex: none; min-width: 2px; background: #7a7f87; transition: width .3s; }
.dfb-part + .dfb-part { box-shadow: inset 1px 0 var(--jp-layout-color0, var(--vscode-editor-background, #fff)); }
.dfb-part[data-name=pending] { flex: 1 1 0; min-width: 0; box-shadow: none; }
.dfb-panel ul { display: flex; flex-wrap: wrap; gap: .1em 1em; list-style: none; margin: .2em 0; padding: 0; }
.dfb-panel li { display: flex; gap: .35em; align-items: baseline; margin: 0; padding: 0; }
.dfb-legend .dfb-sign {
  width: 1.3em; border-radius: 3px; background: #7a7f87; color: #fff; text-align: center; font-weight: bold;
  line-height: 1.3;
}
.dfb-legend .dfb-sign[data-name=pending] { color: inherit; box-shadow: inset 0 0 0 1px var(--dfb-edge); }
.dfb-batches { display: flex; gap: 1em; align-items: baseline; }
.dfb-batches > .dfb-soft { flex: none; }
.dfb-marks .dfb-sign { width: 1.1em; text-align: center; }
.dfb-marks li[data-state="in doubt"], .dfb-marks li[data-state=failed] { font-weight: bold; }
.dfb-message { border-left: 3px solid var(--dfb-warn); padding-left: .5em; }
.dfb-safety[data-safe=false] { font-weight: bold; }
@media (prefers-reduced-motion: reduce) { .dfb-part { transition: none; } }
"""


class _PanelWidget(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget ships no types that mypy may follow
    """One synced JSON value and its drawing."""

    _esm = _ESM
    _css = _CSS
    state = traitlets.Dict().tag(sync=True)
