"""The first answers of a run as a small table of texts, for whoever watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.columns import cell
from dfbatch.progress import Peek
from dfbatch.progress.words import plain
from dfbatch.results import SUCCEEDED
from dfbatch.run import layout

if TYPE_CHECKING:
    from dfbatch.run.answers import Answers

ROWS: Final = 5
COLUMNS: Final = 5
WIDTH: Final = 60  # signs of a cell


def peek(answers: Answers) -> Peek:
    """The first rows that have an answer which is laid, each with its position."""
    sheet = answers.sheet
    whole = np.array([chunk.id in sheet.laid for chunk in sheet.chunks] + [False])  # the last is that of no chunk
    take = answers.standing
    there = (take >= 0) & whole[sheet.source[take]] if len(sheet.source) else np.zeros(len(take), bool)
    rows = np.flatnonzero(there & (answers.outcomes() == SUCCEEDED))[:ROWS]
    if not len(rows):
        return Peek()
    laid = layout.laid_out(answers.sheet, answers.record.spec, answers.take[rows], extras=False)[:COLUMNS]
    table = [(f"{row:,}", *(shown(cell(column, at)) for column in laid)) for at, row in enumerate(rows.tolist())]
    return Peek(("row", *(plain(column.name) for column in laid)), tuple(table))


def shown(value: Any) -> str:
    """A cell on one line.

    >>> shown(["a", "b"]), shown(None), shown("x" * 99)[-3:]
    ("['a', 'b']", '', 'xx…')
    """
    text = plain("" if value is None else " ".join(str(value).split()))
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
