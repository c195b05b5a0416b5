"""What the panel draws, as one JSON value: finished words and numbers, so that the browser decides nothing.

The browser's part is in `browser.py`, the widget in `panel.py`, the words themselves are in `words.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dfbatch.progress import words

if TYPE_CHECKING:
    from dfbatch.progress import BatchMark, Controls, Snapshot

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


def state(snapshot: Snapshot, *, controls: Controls | None = None) -> dict[str, Any]:
    """What the panel draws.

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
        "money": _money(snapshot),
        "facts": _facts(snapshot),
        "ends": snapshot.ends,
        "safe": snapshot.safe,
        "safety": snapshot.safety,
        "message": words.note(snapshot),
        "detach": words.detach(snapshot, key="Stop button"),
        "peek": {"names": list(snapshot.peek.names), "rows": [list(row) for row in snapshot.peek.rows]},
        "buttons": _buttons(snapshot, controls),
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


def _money(snapshot: Snapshot) -> list[str]:
    """Dollars spent, reserved, forecast and saved, as far as each is known."""
    sums = [
        ("spent", snapshot.spent),
        ("reserved", snapshot.reserved),
        ("forecast", snapshot.forecast),
    ]
    told = [f"{label} {words.plain(amount)}" for label, amount in sums if amount]
    return [*told, words.saving(snapshot)] if snapshot.saved else told


def _facts(snapshot: Snapshot) -> list[str]:
    facts = [
        words.many(snapshot.requests, "request"),
        f"{words.many(snapshot.reused, 'row')} reused from the ledger" if snapshot.reused else "",
        f"{words.many(snapshot.retries, 'request')} asked again" if snapshot.retries else "",
    ]
    return [fact for fact in facts if fact]


def _buttons(snapshot: Snapshot, controls: Controls | None) -> list[dict[str, str]]:
    """What can be clicked now: what it says back, its label, and what is asked first where it cannot be undone."""
    if controls is None or snapshot.status in words.ENDED:
        return []
    ask = f"Cancel {words.many(snapshot.rows, 'row')}? What is answered is kept and paid; nothing else is sent."
    hold = {"say": "hold", "label": "Pause new chunks", "ask": ""}
    buttons = [
        {"say": "cancel", "label": "Cancel", "ask": ask},
        {"say": "detach", "label": "Detach", "ask": ""} if controls.blocks else {},
        {"say": "send", "label": "Send the rest", "ask": ""} if controls.held else hold if snapshot.unsent else {},
    ]
    return [button for button in buttons if button]
