"""Cells as plain Python values: what pandas and polars must agree on, and `Table`, which hands them out in blocks.

How a dtype is read fast is in `pandas.py` and `polars.py`; how a plain value renders in a prompt, in `prompts.py`.
"""

from __future__ import annotations

import datetime as dt
import json
import warnings
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from functools import singledispatch
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from dfbatch.columns import Builder, scrub
from dfbatch.errors import outside

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.columns import Column
    from dfbatch.kinds import Kind

    Reader = Callable[[int, int], list[Any]]  # start, stop → cells

_SIMPLE = {str, int, bool, NoneType}


class Table:
    """Columns of a frame as they were when the snapshot was taken, read in blocks of rows."""

    __slots__ = ("_readers", "_warned", "height")

    def __init__(self, height: int, readers: Mapping[str, Reader]) -> None:
        self.height = height
        self._readers = readers
        self._warned = False

    @property
    def names(self) -> list[str]:
        """The columns, in the order asked for."""
        return list(self._readers)

    def block(self, start: int, stop: int) -> dict[str, list[Any]]:
        """The rows from `start` up to `stop` as columns of plain Python values, nulls of any kind as None."""
        return {name: self._sound(name, start, read(start, stop)) for name, read in self._readers.items()}

    def _sound(self, name: str, start: int, found: list[Any]) -> list[Any]:
        if _is_sound(found):
            return found
        fixed = [_scrubbed(value) for value in found]
        for row, (before, after) in enumerate(zip(found, fixed, strict=True), start):
            if not self._warned and before != after:
                self._warned = True
                text = f"lone surrogates became U+FFFD: column {name!r}, first in row {row}"
                warnings.warn(text, UserWarning, stacklevel=outside())
        return fixed


def rebuild(table: Table, name: str, kind: Kind, *, from_text: bool) -> Column | None:
    """The table's only column read as this kind, None when a cell is of another; `from_text` where JSON is text."""
    found = table.block(0, table.height)[name]
    built = Builder(name, kind, table.height)
    try:
        built.put(range(table.height), [_from_text(cell, kind) for cell in found] if from_text else found)
    except ValueError:
        return None  # text that is not JSON
    return None if built.misfits else built.column()


def holds_json(kind: Kind) -> bool:
    """Whether there is a JSON value of any shape in this kind, which a typed library can only hold as text."""
    return kind.name == "json" or any(map(holds_json, _parts(kind)))


def as_text(column: Column) -> list[Any]:
    """The objects of a str, list, struct or json column, JSON values as their text."""
    found: list[Any] = column.values.tolist()
    return [_to_text(cell, column.kind) for cell in found] if holds_json(column.kind) else found


def tidy(found: list[Any]) -> list[Any]:
    """Python objects of any sort as plain values; one pass when they are text and whole numbers."""
    types = set(map(type, found))
    if types <= _SIMPLE:
        return found
    if types <= _SIMPLE | {float}:
        return without_nan(found)
    return [plain(value) for value in found]


def without_nan(found: list[Any]) -> list[Any]:
    """The same cells with NaN, the one value unequal to itself, as None."""
    return [None if value != value else value for value in found]  # noqa: PLR0124  that is how NaN is told


def moments(values: np.ndarray[Any, Any], zone: dt.tzinfo | None) -> list[Any]:
    """Datetimes out of datetime64 in UTC, in `zone` when there is one; years beyond 9999 stay text."""
    found = values.astype("datetime64[us]").tolist()  # rounds down, as polars does
    if int in set(map(type, found)):
        found = [str(np.datetime64(value, "us")) if isinstance(value, int) else value for value in found]
    return found if zone is None else [_in_zone(value, zone) for value in found]


def spans(values: np.ndarray[Any, Any]) -> list[Any]:
    """Timedeltas out of timedelta64."""
    found: list[Any] = values.astype("timedelta64[us]").tolist()
    return found


@singledispatch
def plain(value: Any) -> Any:
    """One value as plain Python; `pandas.py` and `polars.py` add the types of their own."""
    return value


@plain.register
def _(value: Enum) -> Any:
    return plain(value.value)


@plain.register
def _(value: str) -> str:
    return value if type(value) is str else str.__str__(value)


@plain.register
def _(value: float) -> float | None:
    return None if value != value else float(value)  # noqa: PLR0124  that is how NaN is told


@plain.register
def _(value: Decimal) -> Decimal | None:
    return None if value.is_nan() else value


@plain.register
def _(value: np.generic) -> Any:
    if value.dtype.kind in "mM":
        return moments(value.reshape(1), None)[0] if value.dtype.kind == "M" else spans(value.reshape(1))[0]
    return plain(value.item()) if not isinstance(value, np.longdouble) else plain(float(value))


@plain.register
def _(value: np.ndarray) -> Any:
    return plain(value.astype(object).tolist() if value.dtype.kind not in "mM" else list(value))


@plain.register(list)
@plain.register(tuple)
def _(value: Any) -> list[Any]:
    return tidy(list(value))


@plain.register(set)
@plain.register(frozenset)
def _(value: Any) -> list[Any]:
    return sorted((plain(item) for item in value), key=repr)  # sets have no order, digests need one


@plain.register
def _(value: Mapping) -> dict[str, Any]:  # type: ignore[type-arg]  # singledispatch reads the annotation at run time
    return dict(zip(map(str, value), tidy(list(value.values())), strict=True))


@plain.register(bytearray)
@plain.register(memoryview)
def _(value: Any) -> bytes:
    return bytes(value)


def _parts(kind: Kind) -> list[Kind]:
    return [kind.inner] if kind.inner else [inner for _, inner in kind.fields]


def _to_text(cell: Any, kind: Kind) -> Any:
    return _through(cell, kind, lambda value: json.dumps(value, ensure_ascii=False, default=str))


def _from_text(cell: Any, kind: Kind) -> Any:
    return _through(cell, kind, json.loads)


def _through(cell: Any, kind: Kind, turn: Callable[[Any], Any]) -> Any:
    """The cell with `turn` applied to every JSON value in it."""
    if cell is None:
        return None
    if kind.name == "json":
        return turn(cell)
    if kind.inner is not None and isinstance(cell, list):
        return [_through(item, kind.inner, turn) for item in cell]
    if kind.fields and isinstance(cell, dict):
        return {name: _through(cell.get(name), inner, turn) for name, inner in kind.fields}
    return cell


def _in_zone(value: Any, zone: dt.tzinfo) -> Any:
    return value.replace(tzinfo=dt.UTC).astimezone(zone) if isinstance(value, dt.datetime) else value


def _is_sound(found: list[Any]) -> bool:
    types = set(map(type, found))
    if not types & {str, list, dict}:
        return True
    if not types <= {str, NoneType}:
        return "\\ud" not in repr(found)  # so repr writes a surrogate; at worst a text that says it costs a closer look
    joined = "".join(filter(None, found))
    return joined.isascii() or _encodes(joined)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _scrubbed(value: Any) -> Any:
    if type(value) is str:
        return scrub(value)
    if type(value) is list:
        return [_scrubbed(item) for item in value]
    if type(value) is dict:
        return {scrub(name): _scrubbed(item) for name, item in value.items()}
    return value
