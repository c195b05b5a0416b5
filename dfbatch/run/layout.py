"""Which columns come of a schema, what they are called, and whether a column in the way is ours to replace."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from dfbatch.columns import Column, prints, struct
from dfbatch.errors import ColumnClash, OptionError
from dfbatch.kinds import Kind
from dfbatch.ledger.files import read_array, write_array
from dfbatch.plan import locate
from dfbatch.run.rows import contents
from dfbatch.run.sheet import EXTRAS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.frames import Adapter
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord, Spec
    from dfbatch.options import Options
    from dfbatch.run.sheet import Sheet
    from dfbatch.schemas import Schema

ANSWER = "answer"


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
    names = [*(name for name, _ in answers), *(extras_prefix(options) + item for item in options.include)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OptionError(f"two columns would be called {twice[0]!r}", hint="choose another into= or include=")
    return names


def replaced(
    adapter: Adapter, frame: Any, names: Sequence[str], ledger: Ledger, *, overwrite: bool, free: Sequence[str] = ()
) -> list[str]:
    """Which of the frame's columns are ours and make room; every other clash is an error that lists them all."""
    there = [name for name in names if name in adapter.names(frame)]
    if overwrite:
        return there
    foreign = [name for name in there if name not in free and not _ours(adapter, frame, name, ledger)]
    if foreign:
        shown = ", ".join(map(repr, foreign))
        raise ColumnClash(
            f"columns in the way: {shown}",
            "dfbatch did not write them for these rows, or they were changed since",
            hint="name the answer with into=, or pass overwrite=True to replace them",
        )
    return there


def _ours(adapter: Adapter, frame: Any, name: str, ledger: Ledger) -> bool:
    """Whether each cell is what the newest run that wrote this name for its row wrote there."""
    height = adapter.height(frame)
    expected = np.zeros(height, np.uint64)
    known = np.zeros(height, bool)
    kinds: list[Kind] = []
    for record, kind in ledger.writers(name):
        spec = record.spec
        if known.all() or not set(spec.reads) <= set(adapter.names(frame)):
            continue
        rows = read_array(ledger.run_file(record.id, "rows.npy"))
        spot = locate(contents(adapter.snapshot(frame, spec.reads), spec.reads), rows["content"])
        fresh = (spot >= 0) & ~known
        if fresh.any():
            kinds.append(kind)
            expected[fresh] = read_array(_prints_file(ledger, record.id, name))[spot[fresh]]
            known |= fresh
    if not kinds:
        return False
    found = adapter.read_back(frame, name, kinds[0])
    return found is not None and bool((prints(found) == expected).all())


def note_written(ledger: Ledger, record: RunRecord, columns: Sequence[Column]) -> None:
    """Remember what was written under which name, so that the cell can be run again."""
    for column in columns:
        write_array(_prints_file(ledger, record.id, column.name), prints(column), durable=False)
        ledger.wrote(record.id, column.name, column.kind)


def _prints_file(ledger: Ledger, run_id: str, name: str) -> Any:
    return ledger.run_file(run_id, f"wrote-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}.npy")


def laid_out(sheet: Sheet, spec: Spec, take: np.ndarray[Any, Any], *, extras: bool = True) -> list[Column]:
    """The columns of a run for these rows (row → request), named and ordered as the user asked."""
    made = sheet.columns(take)
    if not spec.unpack and spec.shape == "object":
        answered = np.isin(sheet.outcomes(take), [1])
        columns = [struct(made, spec.columns[0][0], valid=answered)]
    else:
        columns = [
            Column(name, kind, column.values, column.valid)
            for (name, kind), column in zip(spec.columns, made, strict=True)
        ]
    if extras:
        for name in spec.include:
            column = sheet.added(name, take)
            columns.append(Column(spec.prefix + name, EXTRAS[name], column.values, column.valid))
    return columns
