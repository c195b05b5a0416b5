"""The words every display shares: outcomes in order, durations, what a run is doing, how to come back.

How they are laid out is in `summary.py` (static text and HTML), `panel.py`, `bar.py` and `log.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from dfbatch.visible import one_line

if TYPE_CHECKING:
    from dfbatch.progress import Snapshot

OUTCOMES = ("succeeded", "refused", "truncated", "invalid", "errored", "expired", "canceled", "skipped", "missing")
"""Design §1, in the order a person reads them: the answers first, then what needs a look."""

SIGNS = {
    "succeeded": "✓",
    "refused": "⊘",
    "truncated": "…",
    "invalid": "≠",
    "errored": "✕",
    "expired": "◔",
    "canceled": "◼",
    "skipped": "–",
    "missing": "?",
    "pending": "·",
}
"""One sign per outcome beside its word and colour, so that colour is never the only sign."""

COLOURS = {
    "succeeded": "#2e9e5b",
    "refused": "#8e5bd0",
    "truncated": "#b97f00",
    "invalid": "#d9692b",
    "errored": "#d43f3f",
    "expired": "#8a6a4f",
    "canceled": "#7a7f87",
    "skipped": "#87909b",
    "missing": "#c2407f",
}
"""Middle tones that stand out from white and from #111 alike (at least 3:1 against both, WCAG 1.4.11)."""

ENDED = frozenset({"done", "canceled"})
"""Run statuses after which nothing more happens."""


def outcomes(snapshot: Snapshot) -> list[tuple[str, int]]:
    """Outcomes that have rows, in reading order, `pending` last; an outcome unknown here is kept.

    >>> from dfbatch.progress import Snapshot
    >>> outcomes(Snapshot("7f3a", "", "waiting", "m", "", 3, 3, 0, {"pending": 1, "refused": 2}))
    [('refused', 2), ('pending', 1)]
    """
    known = [(name, snapshot.counts.get(name, 0)) for name in OUTCOMES]
    others = [(plain(name), count) for name, count in snapshot.counts.items() if name not in {*OUTCOMES, "pending"}]
    return [(name, count) for name, count in [*known, *others, ("pending", pending(snapshot))] if count]


def pending(snapshot: Snapshot) -> int:
    """Rows without an outcome yet; all of them while nothing is counted."""
    counted = sum(count for name, count in snapshot.counts.items() if name != "pending")
    return snapshot.counts.get("pending", snapshot.rows - counted)


def finished(snapshot: Snapshot) -> int:
    """Rows that have an outcome: the only number a bar may show (design §5.11)."""
    return snapshot.rows - pending(snapshot)


def share(count: int, rows: int) -> str:
    """A share with one decimal, so that shares stand under each other; rounded down, so that 100.0 % means all.

    >>> share(999_999, 1_000_000), share(1, 100_000), share(1, 8), share(3, 4)
    ('99.9 %', '<0.1 %', '12.5 %', '75.0 %')
    """
    tenths = count * 1000 // rows if rows else 0
    return "<0.1 %" if count and not tenths else f"{tenths / 10:.1f} %"


def interval(share: float, low: float | None, high: float | None) -> str:
    """A share with its interval, rounded outwards, so that it stays one; only all is 100 %, only none is 0 %.

    >>> interval(0.996, 0.981, 0.9999), interval(1, 0.9801, 1), interval(0.5, None, None)
    ('99.6 % (98 % to 100 %)', '100 % (98 % to 100 %)', '50 %')
    >>> interval(1, 0.99999, 1), interval(0.0001, 0.00005, 0.0002)
    ('100 % (99 % to 100 %)', '<0.1 % (0 % to 1 %)')
    """
    near = 0 < share < 0.01 or 0.99 < share < 1
    told = (">99.9 %" if share > 0.999 else "<0.1 %" if share < 0.001 else f"{share:.1%}") if near else f"{share:.0%}"
    told = told.replace("%", " %").replace("  ", " ")
    if low is None or high is None or low >= high:
        return told
    start = min(99, math.floor(round(low * 100, 6)))  # 0.57 * 100 is 56.99999999999999
    return f"{told} ({start} % to {max(start + 1, math.ceil(round(high * 100, 6)))} %)"


def duration(seconds: float) -> str:
    """A time span that is read at a glance and does not change every second once it is minutes.

    Half minutes count while signs of life are less than a minute apart: no two of them read alike.

    >>> duration(42.7), duration(100), duration(250), duration(11_100)
    ('42 s', '1.5 min', '4 min', '3 h 05 min')
    """
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 1200:
        return f"{whole // 30 / 2:g} min"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def ticking(seconds: float) -> str:
    """A time span that shows every second: a waiting panel must not look dead.

    >>> ticking(42.7), ticking(250), ticking(11_100)
    ('42 s', '4 min 10 s', '3 h 05 min 00 s')
    """
    whole = max(0, int(seconds))
    minutes = f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole} s" if whole < 60 else f"{minutes} {whole % 60:02} s"


def many(count: int, noun: str) -> str:
    """A count with its noun.

    >>> many(1, "batch"), many(1200, "row"), many(2, "batch")
    ('1 batch', '1,200 rows', '2 batches')
    """
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count:,} {noun}{ending}"


def doing(snapshot: Snapshot) -> str:
    """What the run is at, by its batches while it is under way.

    >>> from dfbatch.progress import BatchMark, Snapshot
    >>> doing(Snapshot("7f3a", "", "waiting", "m", "", 3, 3, 0, batches=(BatchMark("1", "waiting", 3),)))
    'waiting for 1 batch'
    """
    if snapshot.status not in {"sending", "waiting", "collecting", "pilot"}:
        return plain(snapshot.status)
    states = Counter(mark.state for mark in snapshot.batches)
    unsent = states["sending"] + states["planned"] * (snapshot.status != "pilot")  # the rest is held back till then
    parts = [
        f"sending {many(unsent, 'chunk')}" if unsent else "",
        f"waiting for {many(states['waiting'], 'batch')}" if states["waiting"] else "",
        f"collecting {many(states['collecting'], 'batch')}" if states["collecting"] else "",
        f"{many(states['in doubt'], 'chunk')} in doubt" if states["in doubt"] else "",
    ]
    told = ", ".join(filter(None, parts))
    return ", ".join(filter(None, ["pilot", told])) if snapshot.status == "pilot" else told or snapshot.status


def saving(snapshot: Snapshot) -> str:
    """What was not paid, and why.

    >>> from dfbatch.progress import Snapshot
    >>> saving(Snapshot("7f3a", "", "done", "m", "", 3, 3, 3, saved=(("batches", "$0.40"), ("reuse", "$0.41"))))
    '$0.40 saved by batches, $0.41 by reuse'
    """
    told = ", ".join(f"{plain(amount)} by {plain(how)}" for how, amount in snapshot.saved)
    return told.replace(" by ", " saved by ", 1)


def note(snapshot: Snapshot) -> str:
    """The line that matters now; while there is none, what is said first."""
    return plain(snapshot.message or snapshot.why)


def come_back(snapshot: Snapshot) -> str:
    """The one call that reopens the run in any process."""
    return f"dfbatch.open({snapshot.run!r})"


def detach(snapshot: Snapshot, *, key: str) -> str:
    """What the stop button (or Ctrl-C) does: it never cancels (design §5.10)."""
    unsent = ", nothing further is sent" if snapshot.unsent else ""
    tied = " while this process lives" if snapshot.tied else ""
    return f"{key} = detach: batches go on{tied}{unsent}, come back with {come_back(snapshot)}"


def heading(snapshot: Snapshot) -> str:
    """The run's id, with its name if it has one."""
    return f"run {plain(snapshot.run)}" + (f" “{plain(snapshot.name)}”" if snapshot.name else "")


def answerer(snapshot: Snapshot) -> str:
    """The model asked for and, when it is not Claude that answers, who does."""
    who = f", answered by {snapshot.answered_by}" if snapshot.answered_by else ""
    return plain(snapshot.model + who)


def plain(text: str) -> str:
    r"""One line of printable text: a name or a server's message cannot drive the terminal or reorder what is read.

    >>> plain("topics\x1b[2J\nof today")
    'topics\\x1b[2J\\nof today'
    """
    return one_line(text)
