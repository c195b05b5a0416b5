"""Which columns come of a schema, what they are called, and how a run's answers become them.

Whether a column in the way is ours to replace is in `written.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.columns import Column, struct
from dfbatch.errors import OptionError
from dfbatch.kinds import Kind
from dfbatch.results import CODE
from dfbatch.run.sheet import EXTRAS
from dfbatch.run.votes import AGREEMENT, elect, every

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.ledger.records import Spec
    from dfbatch.options import Options
    from dfbatch.run.sheet import Sheet
    from dfbatch.schemas import Schema

ANSWER = "answer"
COST: Final = "cost"  # of include, in USD
NOTHING: Final = -1  # the request of a row that asked nothing
STRANGER: Final = -2  # of a row that is not of this run


def answer_columns(schema: Schema, options: Options) -> list[tuple[str, Kind]]:
    """The columns of the answer: one named `into`, or one a field, prefixed by `into` where it is given."""
    if schema.shape == "object" and not options.unpack:
        return [(options.into or ANSWER, Kind("struct", fields=schema.fields))]
    if schema.shape != "object":
        return [(options.into or ANSWER, schema.fields[0][1])]
    prefix = f"{options.into}_" if options.into else ""
    return [(prefix + name, kind) for name, kind in schema.fields]


def extras_prefix(options: Options) -> str:
    """What the columns of `include` begin with."""
    return f"{options.into}_" if options.into else "claude_"


def all_names(answers: Sequence[tuple[str, Kind]], options: Options) -> list[str]:
    """Every column that the call will write, each name once."""
    prefix = extras_prefix(options)
    names = [*(name for name, _ in answers), *(prefix + item for item in added(options.samples, options.include))]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OptionError(f"two columns would be called {twice[0]!r}", hint="choose another into= or include=")
    return names


def added(samples: int, include: Sequence[str]) -> list[str]:
    """What stands beside the answer, in order."""
    return [*([AGREEMENT] if samples > 1 else []), *include]


def laid_out(
    sheet: Sheet, spec: Spec, take: np.ndarray[Any, Any], *, extras: bool = True, cost: Column | None = None
) -> list[Column]:
    """The columns of a run for these rows (row → request of its first sample), named and ordered as the user asked.

    -1 is a row that asked nothing, -2 one that is not of this run. `cost` is the column of that name, where included.
    """
    beside: list[Column] = []
    strangers = take < NOTHING
    if spec.samples > 1:
        election = elect(sheet, spec.samples, take)
        take, share = election.take, election.share
        beside = [Column(spec.prefix + AGREEMENT, Kind("float"), share, share > 0)]
        made = election.columns(sheet)
    else:
        made = sheet.columns(take)
    columns = _answered(sheet, spec, take, made) + beside
    if extras:
        for name in spec.include:
            column = cost if name == COST and cost is not None else sheet.added(name, take)
            if name == "status":
                column.values[strangers], column.valid[strangers] = CODE["missing"] - 1, True
            columns.append(Column(spec.prefix + name, EXTRAS[name], column.values, column.valid))
    return columns


def _answered(sheet: Sheet, spec: Spec, take: np.ndarray[Any, Any], made: Sequence[Column]) -> list[Column]:
    if not spec.unpack and spec.shape == "object":
        answered = np.isin(sheet.outcomes(take), [1])
        return [struct(made, spec.columns[0][0], valid=answered)]
    return [
        Column(name, kind, column.values, column.valid) for (name, kind), column in zip(spec.columns, made, strict=True)
    ]


def sample_by_sample(
    sheet: Sheet, spec: Spec, take: np.ndarray[Any, Any], keys: Sequence[Column], errors: Column
) -> list[Column]:
    """One line per row and sample; `keys` and `errors` are those of rows."""
    row, sample = (part.ravel() for part in np.indices((len(take), spec.samples)))
    wide = every(sheet, spec.samples, take)
    told = sheet.added("error", wide)
    by_row = [Column(one.name, one.kind, one.values[row], one.valid[row]) for one in (*keys, errors)]
    unasked = wide < 0  # the row says why
    told.values[unasked], told.valid[unasked] = by_row[-1].values[unasked], by_row[-1].valid[unasked]
    numbers = [Column(name, Kind("int"), at, np.ones(len(at), bool)) for name, at in (("row", row), ("sample", sample))]
    return [
        *numbers,
        *by_row[:-1],
        *_answered(sheet, spec, wide, sheet.columns(wide)),
        sheet.added("status", wide),
        told,
    ]
