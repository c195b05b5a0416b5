"""polars: cells out of a frame, columns onto a frame. The same names as `pandas.py`, drawn in `frames.Adapter`.

Which plain value a cell becomes is in `cells.py`, shared with pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from dfbatch.columns import struct
from dfbatch.errors import ColumnClash
from dfbatch.frames.cells import Table, as_text, holds_json, moments, plain, rebuild, spans, tidy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from zoneinfo import ZoneInfo

    from dfbatch.columns import Column
    from dfbatch.frames import DtypeBackend
    from dfbatch.frames.cells import Reader
    from dfbatch.kinds import Kind

kind: Literal["polars"] = "polars"


def check(frame: Any) -> None:
    """Every eager polars frame is supported: its names are unique text."""


def names(frame: Any) -> list[str]:
    """The column names."""
    return list(frame.columns)


def height(frame: Any) -> int:
    """The number of rows."""
    return len(frame)


def is_series(obj: Any) -> bool:
    """Whether this is a polars Series."""
    return isinstance(obj, pl.Series)


def from_series(series: Any, default: str = "text") -> tuple[pl.DataFrame, str]:
    """A frame of this one column, and its name."""
    name = series.name or default
    return series.to_frame(name), name


def take(frame: Any, positions: Sequence[int]) -> Any:
    """The rows of a frame or Series at these positions, in this order."""
    return frame[list(positions)]


def snapshot(frame: Any, names: Sequence[str]) -> Table:
    """The cells of these columns as they are now; Python objects inside pl.Object cells are shared with the frame."""
    return Table(len(frame), {name: _reader(frame.get_column(name).clone()) for name in names})


def lay(
    frame: Any,
    columns: Sequence[Column],
    *,
    replace: Sequence[str] = (),
    attrs: Mapping[str, Any] | None = None,  # noqa: ARG001  polars frames have none
    dtype_backend: DtypeBackend = None,  # noqa: ARG001  polars is Arrow already
) -> Any:
    """A new frame of the same class with these columns in place or last."""
    place = {name: i for i, name in enumerate(frame.columns)}
    taken = [column.name for column in columns if column.name in place and column.name not in replace]
    if taken:
        raise ColumnClash(f"columns in the way: {', '.join(map(repr, taken))}", hint="choose other names with into=")
    fresh = {column.name: _series(column) for column in columns}
    out = frame.hstack([made for name, made in fresh.items() if name not in place])  # keeps subclasses, copies nothing
    for name in fresh.keys() & place.keys():
        out.replace_column(place[name], fresh[name])
    return out


def series(columns: Sequence[Column], like: Any, *, dtype_backend: DtypeBackend = None) -> pl.Series:  # noqa: ARG001
    """One column as a Series; several as one Series of structs."""
    return _series(columns[0] if len(columns) == 1 else struct(columns, "answer"))


def new(columns: Sequence[Column], *, dtype_backend: DtypeBackend = None) -> pl.DataFrame:  # noqa: ARG001
    """A frame of nothing but these columns."""
    return pl.DataFrame([_series(column) for column in columns])


def read_back(frame: Any, name: str, kind: Kind) -> Column | None:
    """The column as this kind, whatever dtype a file gave it; None when a cell is of another kind."""
    return rebuild(snapshot(frame, [name]), name, kind, from_text=holds_json(kind))


# -- reading


def _reader(series: pl.Series) -> Reader:
    dtype = series.dtype
    if dtype.is_float():
        return lambda start, stop: series.slice(start, stop - start).fill_nan(None).to_list()
    if isinstance(dtype, pl.Datetime):
        zone = _zone(dtype.time_zone)
        return lambda start, stop: moments(_ticks(series.slice(start, stop - start), "M", dtype.time_unit), zone)
    if isinstance(dtype, pl.Duration):
        return lambda start, stop: spans(_ticks(series.slice(start, stop - start), "m", dtype.time_unit))
    if dtype.is_nested() or dtype == pl.Object:
        return lambda start, stop: tidy(series.slice(start, stop - start).to_list())
    return lambda start, stop: series.slice(start, stop - start).to_list()


def _ticks(series: pl.Series, letter: str, unit: str) -> Any:
    whole = series.to_physical().fill_null(np.iinfo(np.int64).min)  # numpy's NaT
    return whole.to_numpy().view(f"{letter}8[{unit}]")


def _zone(name: str | None) -> ZoneInfo | None:
    from zoneinfo import ZoneInfo

    return None if name is None else ZoneInfo(name)


@plain.register
def _(value: pl.Series) -> Any:
    return plain(value.to_list())


# -- laying


def _series(column: Column) -> pl.Series:
    cells, kind = column.values, column.kind
    if cells.dtype == object:
        return _built(as_text(column), kind).alias(column.name)
    if kind.name == "category":
        return _labels(cells, kind).alias(column.name)
    series = pl.Series(column.name, cells)
    return (series if column.valid.all() else _where(column.valid, series)).cast(_dtype(kind))


def _built(cells: list[Any], kind: Kind) -> pl.Series:
    """Python objects as a Series; lists and structs out of their flat parts, 10 times as fast as polars' own way."""
    if not cells:
        return pl.Series(cells, dtype=_dtype(kind))
    if kind.inner is not None:
        return _lists(cells, kind, kind.inner)
    if kind.fields:
        parts = [_built([cell and cell[name] for cell in cells], inner).alias(name) for name, inner in kind.fields]
        return _where(_present(cells), pl.DataFrame(parts).to_struct())
    if kind.name == "category":
        code_of = {label: code for code, label in enumerate(kind.categories)} | {None: -1}
        return _labels(np.array([code_of[cell] for cell in cells]), kind)
    return pl.Series(cells, dtype=_dtype(kind))


def _lists(cells: list[Any], kind: Kind, inner: Kind) -> pl.Series:
    sizes = np.array([len(cell) if cell else 0 for cell in cells])
    items = _built([item for cell in cells if cell for item in cell], inner)
    rows = np.repeat(np.arange(len(cells)), sizes)
    full = pl.DataFrame({"row": rows, "items": items}).group_by("row", maintain_order=True).agg("items")["items"]
    lists = pl.concat([full, pl.Series("items", [[]], dtype=_dtype(kind))])
    place = np.where(sizes > 0, np.cumsum(sizes > 0) - 1, len(full))  # empty lists take the last
    return _where(_present(cells), lists.gather(place))


def _labels(codes: Any, kind: Kind) -> pl.Series:
    if not kind.categories:
        return pl.Series([None] * len(codes), dtype=_dtype(kind))
    return _where(codes >= 0, pl.Series(kind.categories, dtype=_dtype(kind)).gather(np.maximum(codes, 0)))


def _where(valid: Any, series: pl.Series) -> pl.Series:
    return pl.select(pl.when(pl.Series(valid)).then(series).alias(series.name)).to_series()


def _present(cells: list[Any]) -> Any:
    return np.fromiter((cell is not None for cell in cells), dtype=np.bool_, count=len(cells))


def _dtype(kind: Kind) -> Any:
    if kind.inner is not None:
        return pl.List(_dtype(kind.inner))
    if kind.name == "struct":
        return pl.Struct({name: _dtype(inner) for name, inner in kind.fields})
    if kind.name == "category":
        return pl.Enum(kind.categories)
    flat = {
        "int": pl.Int64(),
        "float": pl.Float64(),
        "bool": pl.Boolean(),
        "date": pl.Date(),
        "datetime": pl.Datetime("us", "UTC"),
    }
    return flat.get(kind.name, pl.String())
