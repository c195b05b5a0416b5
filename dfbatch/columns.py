"""Typed columns in row order: answers scattered into place by `Builder`, read back as plain values by `cells`.

Which dtype a column becomes in pandas or polars is said in `frames/`; what a result line means, in `results.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from hashlib import blake2b
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from dfbatch.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Array = np.ndarray[Any, np.dtype[Any]]

_REMEMBERED = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_0 = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_INT64 = range(-(2**63), 2**63)

_DTYPES: dict[str, type] = {
    "int": np.int64,
    "float": np.float64,
    "bool": np.bool_,
    "category": np.int32,
    "date": np.int32,
    "datetime": np.int64,
}


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A typed column in row order; where `valid` is False the cell is missing and `values` holds a blank.

    `values`: int64, float64, bool; categories as int32 codes (-1 missing); dates as int32 days and datetimes as int64
    microseconds since 1970 UTC; str, list, struct and json as Python objects.
    """

    name: str
    kind: Kind
    values: Array
    valid: Array

    def __len__(self) -> int:
        return len(self.valid)


class Builder:
    """Scatters answers into place, block by block, in any order; what was never put is missing.

    >>> topics = Builder("topic", Kind("category", categories=("sport", "tech")), 3)
    >>> topics.put([2, 0], ["tech", "sport"])
    >>> cells(topics.column(), range(3))
    ['sport', None, 'tech']
    """

    __slots__ = ("_valid", "_values", "kind", "misfits", "name")

    def __init__(self, name: str, kind: Kind, size: int) -> None:
        self.name = name
        self.kind = kind
        self.misfits: list[int] = []  # positions whose value this kind cannot hold (2**70 as int64): left missing
        self._values = _blanks(kind, size)
        self._valid = np.zeros(size, dtype=np.bool_)

    def put(self, positions: Array | Sequence[int], values: Sequence[Any]) -> None:
        """Lay one block of values at their positions; None is missing."""
        where = np.asarray(positions, dtype=np.intp)
        block = _whole(self.kind, values)
        if block is None:
            block, unfit = _one_by_one(self.kind, values)
            self.misfits += where[unfit].tolist()
        self._values[where], self._valid[where] = block

    def column(self, take: Array | None = None) -> Column:
        """The column as it is now; `take` fans requests out onto rows (row → request, -1 missing)."""
        if take is None:
            return Column(self.name, self.kind, self._values.copy(), self._valid.copy())
        values, valid = _blanks(self.kind, len(take)), take >= 0
        valid[valid] = self._valid[take[valid]]
        values[valid] = self._values[take[valid]]
        return Column(self.name, self.kind, values, valid)


def cells(column: Column, positions: Iterable[int]) -> list[Any]:
    """The cells at these positions as plain Python values, None where missing."""
    take = np.fromiter(positions, dtype=np.intp)
    return _plain(column, column.values[take], column.valid[take])


def cell(column: Column, i: int) -> Any:
    """One cell as a plain Python value, None where missing."""
    return cells(column, (i,))[0]


def struct(columns: Sequence[Column], name: str, *, valid: Array | None = None) -> Column:
    """One struct column out of several; a row is missing where `valid` says so, else where all its fields are."""
    if valid is None:
        valid = np.logical_or.reduce([column.valid for column in columns])
    names = [column.name for column in columns]
    rows = zip(*(_plain(column, column.values, column.valid) for column in columns), strict=True)
    values = _objects([dict(zip(names, row, strict=True)) for row in rows])
    values[~valid] = None
    kind = Kind("struct", fields=tuple((column.name, column.kind) for column in columns))
    return Column(name, kind, values, valid.copy())


def prints(column: Column) -> Array:
    """A stable fingerprint (uint64) of every cell, 0 where missing: equal cells in pandas, polars and after a reread.

    Floats are equal to 40 bits: `pandas.read_csv` is off by one in the last place at times.
    """
    found = _fingerprints(column)
    found[found == 0] = 1
    found[~column.valid] = 0
    return found


def scrub(text: str) -> str:
    """The same text with lone surrogates as U+FFFD, since no UTF-8 can hold them."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# -- a whole block at once: plain values of the expected types only, None when they are not


def _whole(kind: Kind, values: Sequence[Any]) -> tuple[Array, Array] | None:
    expected, pack = _PACKS.get(kind.name, ((), _pack_text))
    found = set(map(type, values))
    if not expected or not found - {NoneType} <= set(expected):
        return None
    valid = _present(values) if NoneType in found else np.ones(len(values), np.bool_)
    try:
        return pack(kind, values, valid)
    except (OverflowError, UnicodeEncodeError, KeyError):
        return None


def _pack_text(_: Kind, values: Sequence[Any], valid: Array) -> tuple[Array, Array]:
    joined = "".join(filter(None, values))
    if not joined.isascii():
        joined.encode()  # raises on lone surrogates
    return _objects(values), valid


def _pack_number(kind: Kind, values: Sequence[Any], valid: Array) -> tuple[Array, Array]:
    filled = values if valid.all() else [0 if value is None else value for value in values]
    return np.array(filled, dtype=_DTYPES[kind.name]), valid


def _pack_float(_: Kind, values: Sequence[Any], __: Array) -> tuple[Array, Array]:
    block = np.array(values, dtype=np.float64)  # None becomes NaN
    valid = ~np.isnan(block)
    block[~valid] = 0
    return block, valid


def _pack_category(kind: Kind, values: Sequence[Any], valid: Array) -> tuple[Array, Array]:
    code_of = {label: code for code, label in enumerate(kind.categories)} | {None: -1}
    return np.array([*map(code_of.__getitem__, values)], dtype=np.int32), valid


_PACKS: dict[str, tuple[tuple[type, ...], Callable[[Kind, Sequence[Any], Array], tuple[Array, Array]]]] = {
    "str": ((str,), _pack_text),
    "int": ((int,), _pack_number),
    "bool": ((bool,), _pack_number),
    "float": ((int, float), _pack_float),
    "category": ((str,), _pack_category),
}


# -- one value at a time: dates, nested values, and whatever was not plain


def _one_by_one(kind: Kind, values: Sequence[Any]) -> tuple[tuple[Array, Array], list[int]]:
    block, valid, unfit = _blanks(kind, len(values)), np.zeros(len(values), dtype=np.bool_), []
    for i, value in enumerate(values):
        try:
            fitted = _fit(value, kind)
        except (TypeError, ValueError, OverflowError):
            unfit.append(i)
            continue
        if fitted is not None:
            block[i], valid[i] = _stored(fitted, kind), True
    return (block, valid), unfit


def _fit(value: Any, kind: Kind) -> Any:
    """The plain value of this kind, or TypeError, ValueError, OverflowError: 3.0 is an int, True is not."""
    if isinstance(value, Enum):
        value = value.value
    return None if value is None else _FITS[kind.name](value, kind)


def _fit_text(value: Any, _: Kind) -> str:
    if not isinstance(value, str):
        raise TypeError
    return scrub(str.__str__(value))


def _fit_int(value: Any, _: Kind) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise TypeError
    if int(value) not in _INT64:
        raise OverflowError
    return int(value)


def _fit_float(value: Any, _: Kind) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return None if value != value else float(value)  # noqa: PLR0124  NaN is the one value unequal to itself


def _fit_bool(value: Any, _: Kind) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _fit_category(value: Any, kind: Kind) -> str:
    if (label := _fit_text(value, kind)) not in kind.categories:
        raise ValueError
    return label


def _fit_date(value: Any, _: Kind) -> date:
    if type(value) is date:
        return value
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise TypeError
    if moment != moment.replace(hour=0, minute=0, second=0, microsecond=0):
        raise ValueError
    return moment.date()


def _fit_datetime(value: Any, _: Kind) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, date):
        raise TypeError
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _fit_list(value: Any, kind: Kind) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise TypeError
    inner = kind.inner or Kind("json")
    return [_fit(item, inner) for item in value]


def _fit_struct(value: Any, kind: Kind) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return {name: _fit(value.get(name), inner) for name, inner in kind.fields}


def _fit_json(value: Any, kind: Kind) -> Any:
    if isinstance(value, str):
        return _fit_text(value, kind)
    if isinstance(value, float):
        return _fit_float(value, kind)
    if isinstance(value, list | tuple):
        return [_fit(item, kind) for item in value]
    if isinstance(value, Mapping):
        return {scrub(str(name)): _fit(item, kind) for name, item in value.items()}
    return value


_FITS: dict[str, Callable[[Any, Kind], Any]] = {
    "str": _fit_text,
    "int": _fit_int,
    "float": _fit_float,
    "bool": _fit_bool,
    "category": _fit_category,
    "date": _fit_date,
    "datetime": _fit_datetime,
    "list": _fit_list,
    "struct": _fit_struct,
    "json": _fit_json,
}


# -- between what is stored and what is plain


def _stored(value: Any, kind: Kind) -> Any:
    if kind.name == "category":
        return kind.categories.index(value)
    if kind.name == "date":
        return value.toordinal() - _DAY_0
    if kind.name == "datetime":
        return (value - _EPOCH) // _MICROSECOND
    return value


def _plain(column: Column, values: Array, valid: Array) -> list[Any]:
    if column.kind.name == "category":
        plain = [column.kind.categories[code] if code >= 0 else None for code in values.tolist()]
    elif column.kind.name == "date":
        plain = values.astype("datetime64[D]").tolist()
    elif column.kind.name == "datetime":
        plain = [moment.replace(tzinfo=UTC) for moment in values.view("datetime64[us]").tolist()]
    else:
        plain = values.tolist()
    return plain if valid.all() else [value if ok else None for value, ok in zip(plain, valid.tolist(), strict=True)]


def _blanks(kind: Kind, size: int) -> Array:
    blank = -1 if kind.name == "category" else 0 if kind.name in _DTYPES else None
    return np.full(size, blank, dtype=_DTYPES.get(kind.name, np.object_))


def _objects(values: Sequence[Any]) -> Array:
    """An array of the objects themselves: `np.array` would look inside lists."""
    return np.fromiter(values, dtype=np.object_, count=len(values))


def _present(values: Sequence[Any]) -> Array:
    return np.fromiter((value is not None for value in values), dtype=np.bool_, count=len(values))


# -- fingerprints


def _fingerprints(column: Column) -> Array:
    name, values = column.kind.name, column.values
    if name == "float":
        return _float_prints(values)
    if name == "category":
        labels = np.array([*map(_text_print, column.kind.categories), 0], dtype=np.uint64)
        return labels[values]  # -1, missing, takes the last
    if name in _DTYPES:
        return _mix(values.astype(np.int64).view(np.uint64))
    one = _Known(_text_print) if name == "str" else _nested_print
    found = (0 if value is None else one(value) for value in values)
    return np.fromiter(found, dtype=np.uint64, count=len(values))


def _float_prints(values: Array) -> Array:
    mantissa, exponent = np.frexp(values)
    with np.errstate(invalid="ignore"):
        whole = np.rint(np.where(np.isfinite(mantissa), mantissa, np.sign(mantissa) * 2) * 2.0**40).astype(np.int64)
    carried = np.abs(whole) == 2**40
    whole = np.where(carried, whole // 2, whole)
    exponent = np.where(np.isfinite(values), exponent + carried, 0)
    return _mix(_mix(whole.view(np.uint64)) ^ exponent.astype(np.int64).view(np.uint64))


def _mix(bits: Array) -> Array:
    """Splitmix64's finisher (Steele, Lea, Flood 2014): every input bit reaches every output bit."""
    mixed: Array = bits + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


class _Known(dict[str, int]):
    """A function of texts that remembers: labels come again and again. Bounded, for columns where none does."""

    def __init__(self, function: Callable[[str], int]) -> None:
        self._function = function

    def __call__(self, text: str) -> int:
        return self[text]

    def __missing__(self, text: str) -> int:
        found = self._function(text)
        if len(self) < _REMEMBERED:
            self[text] = found
        return found


def _text_print(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _nested_print(value: Any) -> int:
    return _text_print(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str))
