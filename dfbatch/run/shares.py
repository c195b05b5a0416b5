"""How often each label was given, with the interval in which its share lies; and why rows have no answer, by cause."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from dfbatch.columns import Builder, Column
from dfbatch.errors import UnknownColumn
from dfbatch.kinds import TEXT, Kind
from dfbatch.progress import Cause, Share
from dfbatch.progress.words import many, plain
from dfbatch.proportions import UNKNOWN, intervals
from dfbatch.results import CODE, OUTCOMES, PENDING, SUCCEEDED
from dfbatch.run import votes
from dfbatch.run.now import PILOT_NOW
from dfbatch.run.wording import worded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.sheet import Sheet

    Array = np.ndarray[Any, np.dtype[Any]]

LABELS: Final = ("category", "bool")  # kinds whose values are counted
BIASED: Final = ("refused", "truncated", "invalid")  # whether a row has an answer depends on what it would be
LATE: Final = ("canceled", "expired")  # it depends on when it was sent
LOST: Final = ("errored", "missing")  # chance, where they are few
FEW: Final = 0.05  # of the rows: so many may be lost, or asked ahead, without a say
AHEAD: Final = ("preflight", "warm")  # kinds of chunks that are chosen, not drawn
CAUSES: Final = 8
ROWS: Final = 6  # rows named with a cause
WIDTH: Final = 160  # signs of a cause


def shares(sheet: Sheet, record: RunRecord, rows: Array, standing: Array) -> list[Share]:
    """Of every column that holds labels: each label, the rows that have it, their share of those with an answer.

    `rows` is the rows file, `standing` a request with the outcome of each row. A row is one unit, whatever its samples;
    rows of equal content or one request stand or fall together (`proportions.py` has the method and its sources). The
    interval has a confidence of 95 % and is about chance alone:

    - Where rows wait for an answer and what was sent was drawn at random (a pilot, or any run with a budget), it is
      about all rows of this frame. Where it was not drawn, there is none.
    - Else it is about more rows like these: of the frame itself there is nothing to infer.
    - Rows that were refused, truncated or invalid may have any label, and both ends allow for that. So may rows that
      were canceled or expired where the order was not random, and failed ones where they are more than 5 %.
    """
    elected = votes.elect(sheet, record.spec.samples, rows["request"].astype(np.int64))
    made = [column for column in elected.columns(sheet, kinds=LABELS) if column.valid.any()]
    if not made:
        return []
    lacking = _lacking(sheet, record, standing)
    units = _units(rows)
    return [share for column in made for share in _of(_named(column, sheet, record), lacking, units)]


class Lacking(NamedTuple):
    """Rows without an answer by what that means for a share."""

    open: Array  # they may have any label
    waiting: Array  # left out by chance, to be asked yet
    about: str  # what the interval is about, or why there is none
    none: bool


def _lacking(sheet: Sheet, record: RunRecord, standing: Array) -> Lacking:
    outcomes = sheet.outcomes(standing)
    count = int(np.count_nonzero(outcomes != CODE["skipped"]))
    tried = np.zeros(len(outcomes), bool)
    tried[standing >= 0] = sheet.source[standing[standing >= 0]] >= 0
    pending, late = outcomes == PENDING, np.isin(outcomes, _codes(LATE))
    biased = np.isin(outcomes, _codes(BIASED)) | (pending & tried)  # asked again: cut or misfit before
    lost = np.isin(outcomes, _codes(LOST))
    nobody = np.zeros(len(outcomes), bool)
    drawn = _drawn(sheet, record)
    if (pending & ~tried).any() and not drawn:
        return Lacking(
            nobody, nobody, "no interval: rows wait for an answer, and those answered are no random part", True
        )
    may_be_any = biased if drawn else biased | late
    if lost.sum() > FEW * count:
        may_be_any, lost = may_be_any | lost, nobody
    waiting = (pending & ~tried) | late if drawn else nobody
    about = "all rows of this frame" if waiting.any() else "more rows like these"
    if may_be_any.any():
        about += f", whatever {many(int(may_be_any.sum()), 'row')} without an answer would say"
    return Lacking(may_be_any, waiting | lost if waiting.any() else nobody, about, False)


def _codes(outcomes: Iterable[str]) -> list[int]:
    return [CODE[outcome] for outcome in outcomes]


def _drawn(sheet: Sheet, record: RunRecord) -> bool:
    """Whether the answers are a random part of what is asked, but for a few: the order is random with a budget."""
    sources = sheet.source[sheet.found["outcome"] == SUCCEEDED]
    chosen = [
        chunk.run == record.id
        and (chunk.kind in ("pilot", PILOT_NOW) or (record.spec.budget is not None and chunk.kind not in AHEAD))
        for chunk in sheet.chunks
    ]
    random = np.array([*chosen, False])[sources]
    return bool(len(random) and np.count_nonzero(~random) <= FEW * len(random))


def _units(rows: Array) -> Array:
    """A number for each row: equal where rows ask one request, or are equal and ask it each on their own."""
    content = rows["content"].astype("S8").view(np.uint64) if len(rows) else np.empty(0, np.uint64)
    asks = np.flatnonzero(rows["request"] >= 0)[::-1]
    first = np.zeros(rows["request"].max(initial=-1) + 1, np.uint64)
    first[rows["request"][asks]] = content[asks]
    units: Array = first[np.maximum(rows["request"], 0)] if len(first) else content
    return units


def _named(column: Column, sheet: Sheet, record: RunRecord) -> Column:
    """By the name that the user sees."""
    order = [name for name, _ in sheet.schema.fields]
    names = [name for name, _ in record.spec.columns]
    name = names[order.index(column.name)] if len(names) == len(order) else column.name
    return Column(name, column.kind, column.values, column.valid)


def _of(column: Column, lacking: Lacking, units: Array) -> Iterable[Share]:
    labels = column.kind.categories or ("False", "True")
    values = np.where(column.valid, column.values, UNKNOWN).astype(np.int64)
    counts = np.bincount(values[column.valid], minlength=len(labels)).tolist()
    seen = column.valid | lacking.open
    _, unseen = np.unique(units[lacking.waiting & ~seen], return_counts=True)
    ends: list[tuple[float | None, float | None]] = [(None, None)] * len(labels)
    if not lacking.none:
        ends = [*intervals(values[seen], units[seen], len(labels), unseen)]
    for label, count, (low, high) in zip(labels, counts, ends, strict=True):
        share = count / max(1, int(column.valid.sum()))
        yield Share(plain(column.name), plain(label), count, share, low, high, lacking.about)


def as_columns(found: list[Share], column: str | None) -> list[Column]:
    """The shares as a table; `column` names one of the columns."""
    names = list(dict.fromkeys(share.column for share in found))
    if column is not None and column not in names:
        raise UnknownColumn(
            f"no column {column!r} with labels", hint=f"columns with labels: {', '.join(names) or 'none'}"
        )
    rows = [share for share in found if column in (None, share.column)]
    fields: list[tuple[str, Kind, list[Any]]] = [
        ("column", TEXT, [share.column for share in rows]),
        ("label", TEXT, [share.label for share in rows]),
        ("rows", Kind("int"), [share.rows for share in rows]),
        ("share", Kind("float"), [share.share for share in rows]),
        ("low", Kind("float"), [share.low for share in rows]),
        ("high", Kind("float"), [share.high for share in rows]),
        ("about", TEXT, [share.about for share in rows]),
    ]
    return [_column(name, kind, values) for name, kind, values in fields]


def _column(name: str, kind: Kind, values: list[Any]) -> Column:
    builder = Builder(name, kind, len(values))
    builder.put(range(len(values)), values)
    return builder.column()


def causes(sheet: Sheet, take: Array, errors: Column) -> list[Cause]:
    """Why rows have no answer, the most frequent cause first, with its first rows; what is rare comes as one."""
    outcomes = sheet.outcomes(take)
    failed = np.flatnonzero(~np.isin(outcomes, (SUCCEEDED, PENDING, CODE["skipped"])))
    told = [str(error or "") for error in errors.values[failed].tolist()]
    same = worded(told)
    why = [(outcome, same[error]) for outcome, error in zip(outcomes[failed].tolist(), told, strict=True)]
    first: dict[Any, list[int]] = {}
    for row, cause in zip(failed.tolist(), why, strict=True):
        rows = first.setdefault(cause, [])
        if len(rows) < ROWS:
            rows.append(row)
    counts = Counter(why).most_common()
    often = [
        Cause(OUTCOMES[outcome], plain(error)[:WIDTH], count, tuple(first[outcome, error]))
        for (outcome, error), count in counts[:CAUSES]
    ]
    return often + _others(counts[CAUSES:])


def _others(counts: list[tuple[Any, int]]) -> list[Cause]:
    """What is not told one by one, so that the causes sum up to all rows without an answer."""
    rest = sum(count for _, count in counts)
    return (
        [Cause("other", f"{many(len(counts), 'more cause')}: run.failures() has all rows", rest, ())] if counts else []
    )
