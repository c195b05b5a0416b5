"""How often each label was given, with the interval in which its share lies; and why rows have no answer, by cause."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.bounds import wilson
from dfbatch.columns import Builder, Column
from dfbatch.errors import UnknownColumn
from dfbatch.kinds import TEXT, Kind
from dfbatch.progress import Cause, Share
from dfbatch.progress.words import many, plain
from dfbatch.results import CODE, OUTCOMES, PENDING, SUCCEEDED
from dfbatch.run import votes
from dfbatch.run.wording import worded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.sheet import Sheet

    Array = np.ndarray[Any, np.dtype[Any]]

LABELS: Final = ("category", "bool")  # kinds whose values are counted
CAUSES: Final = 8
ROWS: Final = 6  # rows named with a cause
WIDTH: Final = 160  # signs of a cause


def shares(sheet: Sheet, record: RunRecord, take: Array) -> list[Share]:
    """Of every column that holds labels: each label, the rows that have it, their share of those with an answer.

    The interval is Wilson's, with a confidence of 95 %: where all rows of interest are in the frame there is nothing
    to infer, and it says how far a frame like this one may differ by chance.
    """
    made = votes.elect(sheet, record.spec.samples, take).columns(sheet, kinds=LABELS)
    return [share for column in made if column.valid.any() for share in _of(_named(column, sheet, record))]


def _named(column: Column, sheet: Sheet, record: RunRecord) -> Column:
    """By the name that the user sees."""
    order = [name for name, _ in sheet.schema.fields]
    names = [name for name, _ in record.spec.columns]
    name = names[order.index(column.name)] if len(names) == len(order) else column.name
    return Column(name, column.kind, column.values, column.valid)


def _of(column: Column) -> Iterable[Share]:
    values = column.values[column.valid]
    labels = column.kind.categories or ("False", "True")
    counts = np.bincount(values.astype(np.int64), minlength=len(labels)).tolist()
    for label, count in zip(labels, counts, strict=True):
        low, high = wilson(count, len(values))
        yield Share(plain(column.name), plain(label), count, count / max(1, len(values)), low, high)


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
