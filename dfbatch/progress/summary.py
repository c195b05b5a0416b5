"""What stays of a run on paper: `line` (one line), `text` (plain lines), `html` (static, readable in saved notebooks).

Nothing here is alive: no script, no style sheet, no link. The live panel is in `panel.py`.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from dfbatch import pictures
from dfbatch.progress import words
from dfbatch.visible import one_line, visible

if TYPE_CHECKING:
    from dfbatch.progress import Cause, Share, Snapshot

COLUMNS_SHOWN, LABELS_SHOWN = 3, 12
CHANCE = "chance alone, not how often the model errs"
IDS_SHOWN = 12
"""A run may have a thousand batches; the ledger has all their ids."""


def line(snapshot: Snapshot) -> str:
    """All that matters in one line.

    >>> from dfbatch.progress import Snapshot
    >>> line(Snapshot("7f3a", "", "done", "m", "", 3, 3, 0, {"succeeded": 3}, elapsed=250, spent="$0.41"))
    'dfbatch run 7f3a: done · 3/3 rows · 4 min · $0.41'
    """
    parts = [
        f"dfbatch {words.heading(snapshot)}: {words.doing(snapshot)}",
        f"{words.finished(snapshot):,}/{snapshot.rows:,} rows",
        *(f"{count:,} {name}" for name, count in words.outcomes(snapshot) if name not in {"succeeded", "pending"}),
        f"{snapshot.reused:,} reused" if snapshot.reused else "",
        words.duration(snapshot.elapsed),
        words.plain(snapshot.spent),
        words.saving(snapshot) if snapshot.status in words.ENDED else "",
        words.plain(snapshot.answered_by),
        "" if snapshot.status in words.ENDED else snapshot.safety,
        words.plain(snapshot.message),
    ]
    return one_line(" · ".join(filter(None, parts)))


def text(snapshot: Snapshot) -> str:
    """The static summary as plain lines.

    >>> from dfbatch.progress import Snapshot
    >>> print(text(Snapshot("7f3a", "", "done", "m", "", 4, 4, 0, {"succeeded": 3, "refused": 1}, elapsed=42)))
    dfbatch run 7f3a: done after 42 s
      ✓ succeeded  3   75.0 %
      ⊘ refused    1   25.0 %
      rows:    4 (4 requests)
      model:   m
      reopen:  dfbatch.open('7f3a')
    """
    head = f"dfbatch {words.heading(snapshot)}: {_state(snapshot)}"
    parts = words.outcomes(snapshot)
    wide = max((len(name) for name, _ in parts), default=0)
    digits = max((len(f"{count:,}") for _, count in parts), default=0)
    table = [
        f"  {words.SIGNS.get(name, '•')} {name:<{wide}}  {count:>{digits},}  {words.share(count, snapshot.rows):>7}"
        for name, count in parts
    ]
    facts = [f"  {label + ':':<8} {value}" for label, value in _facts(snapshot)]
    causes = [f"  {_count(cause)}: {_why(cause)} (rows {_rows(cause)})" for cause in snapshot.causes]
    return visible("\n".join([head, *table, *facts, *causes]))


def html(snapshot: Snapshot) -> str:
    """The static summary as one HTML fragment: every word escaped, legible without its styles and on any background.

    >>> from dfbatch.progress import Snapshot
    >>> "<script>" in html(Snapshot("7f3a", "<script>", "done", "m", "", 1, 1, 0, {"succeeded": 1}))
    False
    """
    rows = "".join(_row(name, count, snapshot.rows) for name, count in words.outcomes(snapshot))
    facts = "".join(f"<tr>{_head(label)}{_cell(_value(label, value))}</tr>" for label, value in _facts(snapshot))
    return visible(
        f'<div class="{pictures.PLAIN}" style="{_WHOLE}">'
        '<p style="margin:0 0 .4em"><strong>dfbatch '
        f"{escape(words.heading(snapshot))}</strong>: {escape(_state(snapshot))}</p>"
        f'<table style="{_TABLE}"><thead><tr>{_head("outcome")}{_head("rows", right=True)}'
        f"{_head('share', right=True)}{_head('')}</tr></thead><tbody>{rows}</tbody></table>"
        f"{_labels(snapshot)}{_failures(snapshot)}"
        f'<table style="{_TABLE};margin-top:.6em"><tbody>{facts}</tbody></table></div>'
    )


def _labels(snapshot: Snapshot) -> str:
    """The share of each label, with the interval in which it lies."""
    names = list(dict.fromkeys(share.column for share in snapshot.shares))
    columns = names[:COLUMNS_SHOWN]
    told = [_labels_of([share for share in snapshot.shares if share.column == column]) for column in columns]
    if rest := len(names) - len(columns):
        told.append(f"<p>{words.many(rest, 'more column')} with labels: <code>run.shares()</code></p>")
    return "".join(told)


def _labels_of(found: list[Share]) -> str:
    often = sorted(found, key=lambda share: -share.rows)
    lines = []
    for share in often[:LABELS_SHOWN]:
        told = words.interval(share.share, share.low, share.high)
        drawn = pictures.whisker(share.share, share.low, share.high, f"{share.label}: {told}")
        lines.append((share.label, f"{share.rows:,}", told, drawn))
    rest = len(often) - LABELS_SHOWN
    lines += [(f"{rest:,} more", f"{sum(share.rows for share in often[LABELS_SHOWN:]):,}", "", "")] if rest > 0 else []
    known = found[0].low is not None
    head = (found[0].column, "rows", "share (95 % interval)" if known else "share", "")
    about = f"the interval is about {found[0].about}" if known and found[0].about else found[0].about
    told = "; ".join(filter(None, ["share of answered rows", CHANCE if known else "", about]))
    return (
        f'<div style="margin-top:.6em">{pictures.table(head, lines, pictures=3)}'
        f'<p style="margin:0">{escape(told)}</p></div>'
    )


def _failures(snapshot: Snapshot) -> str:
    """Why rows have no answer, and which."""
    if not snapshot.causes:
        return ""
    lines = [(cause.outcome, f"{cause.count:,}", cause.error, _rows(cause)) for cause in snapshot.causes]
    table = pictures.table(("no answer", "rows", "why", "which"), lines)
    return f'<div style="margin-top:.6em">{table}</div>'


def _count(cause: Cause) -> str:
    return f"{cause.count:,} {cause.outcome}"


def _why(cause: Cause) -> str:
    return cause.error or "no reason was told"


def _rows(cause: Cause) -> str:
    """The first rows of a cause.

    >>> from dfbatch.progress import Cause
    >>> _rows(Cause("refused", "", 3, (1, 2)))
    '1, 2, …'
    """
    return ", ".join([*(f"{row:,}" for row in cause.rows), *(["…"] if cause.count > len(cause.rows) else [])])


_WHOLE = "max-width:46em;line-height:1.5;overflow-x:auto;overflow-wrap:anywhere"  # in narrow cells nothing is cut off
_TABLE = "border-collapse:collapse;border:0;margin:0;font-size:inherit;font-variant-numeric:tabular-nums"
_PAD = "padding:.1em 1em .1em 0;border:0;background:none"


def _state(snapshot: Snapshot) -> str:
    join = "after" if snapshot.status in {*words.ENDED, "paused"} else "for"
    if snapshot.status in words.ENDED or snapshot.elapsed:
        return f"{words.doing(snapshot)} {join} {words.duration(snapshot.elapsed)}"
    return words.doing(snapshot)


def _facts(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Label and value of each line under the table, left out where there is nothing to say."""
    reused = f", {words.many(snapshot.reused, 'row')} reused from the ledger" if snapshot.reused else ""
    facts = [
        ("rows", f"{snapshot.rows:,} ({words.many(snapshot.requests, 'request')}{reused})"),
        ("model", words.answerer(snapshot)),
        ("spent", ", ".join(filter(None, [words.plain(snapshot.spent), words.saving(snapshot)]))),
        ("forecast", words.plain(snapshot.foretold)),
        ("batches", _batches(snapshot)),
        ("note", words.note(snapshot)),
        ("state", "" if snapshot.status in words.ENDED else snapshot.safety),
        ("reopen", words.come_back(snapshot)),
    ]
    return [(label, value) for label, value in facts if value]


def _batches(snapshot: Snapshot) -> str:
    ids = [words.plain(mark.batch_id) for mark in snapshot.batches if mark.batch_id]
    more = f" and {len(ids) - IDS_SHOWN:,} more" if len(ids) > IDS_SHOWN else ""
    return ", ".join(ids[:IDS_SHOWN]) + more


def _row(name: str, count: int, rows: int) -> str:
    colour = words.COLOURS.get(name, "#7a7f87")
    share = count / rows if rows else 0.0
    bar = pictures.stack([(share, "" if name == "pending" else colour)], f"{name}: {words.share(count, rows)}")
    label = f"{words.SIGNS.get(name, '•')} {escape(name)}"
    return (
        f"<tr>{_cell(label)}{_cell(f'{count:,}', right=True)}"
        f"{_cell(escape(words.share(count, rows)), right=True)}{_cell(bar)}</tr>"
    )


def _value(label: str, value: str) -> str:
    return f'<code style="white-space:normal">{escape(value)}</code>' if label == "reopen" else escape(value)


def _head(label: str, *, right: bool = False) -> str:
    tag = "th" if label else "td"  # a head that says nothing would only stop a screen reader
    style = f"{_PAD};white-space:nowrap;text-align:{'right' if right else 'left'};vertical-align:top"
    return f'<{tag} style="{style}">{escape(label)}</{tag}>'


def _cell(markup: str, *, right: bool = False) -> str:
    return f'<td style="{_PAD};text-align:{"right" if right else "left"};white-space:normal">{markup}</td>'
