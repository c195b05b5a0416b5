"""pandas: cells out of a frame, columns onto a frame. The same names as `polars.py`, drawn in `frames.Adapter`.

Which plain value a cell becomes is in `cells.py`, shared with polars.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from dfbatch.columns import struct
from dfbatch.errors import ColumnClash, NotAFrame, OptionError
from dfbatch.frames.cells import Table, as_text, holds_json, moments, plain, rebuild, spans, tidy, without_nan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dfbatch.columns import Column
    from dfbatch.frames import DtypeBackend
    from dfbatch.frames.cells import Reader
    from dfbatch.kinds import Kind

kind: Literal["pandas"] = "pandas"

_COPIES_ON_WRITE = int(pd.__version__.split(".")[0]) >= 3


def check(frame: Any) -> None:
    """Raise NotAFrame for MultiIndex columns and for names that are equal as text."""
    if is_series(frame):
        return
    if isinstance(frame.columns, pd.MultiIndex):
        raise NotAFrame(
            "the frame has MultiIndex columns",
            f"levels: {frame.columns.nlevels}",
            hint="flatten them first: df.columns = ['_'.join(map(str, name)) for name in df.columns]",
        )
    twice = [name for name, count in Counter(names(frame)).items() if count > 1]
    if twice:
        raise NotAFrame(
            f"column names are not unique: {', '.join(map(repr, twice))}",
            hint="rename them, or keep the first of each: df.loc[:, ~df.columns.astype(str).duplicated()]",
        )


def names(frame: Any) -> list[str]:
    """The column names as text: a column named 2024 is "2024" here and keeps its own name in the frame."""
    return [str(name) for name in frame.columns]


def height(frame: Any) -> int:
    """The number of rows."""
    return len(frame)


def is_series(obj: Any) -> bool:
    """Whether this is a pandas Series."""
    return isinstance(obj, pd.Series)


def from_series(series: Any, default: str = "text") -> tuple[pd.DataFrame, str]:
    """A frame of this one column, and its name."""
    name = default if series.name is None else str(series.name)
    return series.to_frame(name), name


def take(frame: Any, positions: Sequence[int]) -> Any:
    """The rows of a frame or Series at these positions, in this order, with their labels."""
    return frame.iloc[list(positions)]


def snapshot(frame: Any, names: Sequence[str]) -> Table:
    """The cells of these columns as they are now; lists and dicts inside cells are shared with the frame."""
    place = {str(name): i for i, name in enumerate(frame.columns)}
    # a deep copy (8 bytes a cell, texts are shared): Copy-on-Write forgets a Series that only its buffer outlives
    return Table(len(frame), {name: _reader(frame.iloc[:, place[name]].copy()) for name in names})


def lay(
    frame: Any,
    columns: Sequence[Column],
    *,
    replace: Sequence[str] = (),
    attrs: Mapping[str, Any] | None = None,
    dtype_backend: DtypeBackend = None,
) -> Any:
    """A new frame of the same class, index and attrs, with these columns in place or last."""
    place = {str(name): i for i, name in enumerate(frame.columns)}
    taken = [column.name for column in columns if column.name in place and column.name not in replace]
    if taken:
        raise ColumnClash(f"columns in the way: {', '.join(map(repr, taken))}", hint="choose other names with into=")
    fresh = {column.name: _series(column, frame.index, dtype_backend) for column in columns}
    out = _with_new(frame, [series for name, series in fresh.items() if name not in place])
    for name in fresh.keys() & place.keys():
        out.isetitem(place[name], fresh[name])
    if attrs:
        before = out.attrs.get("dfbatch")
        out.attrs["dfbatch"] = {**(before if isinstance(before, dict) else {}), **attrs}
    return out


def series(columns: Sequence[Column], like: Any, *, dtype_backend: DtypeBackend = None) -> Any:
    """One column as a Series with the index of `like`; several as one Series of dicts (Arrow structs)."""
    column = columns[0] if len(columns) == 1 else struct(columns, "answer")
    return _series(column, like.index, dtype_backend)


def new(columns: Sequence[Column], *, dtype_backend: DtypeBackend = None) -> Any:
    """A frame of nothing but these columns."""
    index = pd.RangeIndex(len(columns[0]) if columns else 0)
    return _with_new(pd.DataFrame(index=index), [_series(column, index, dtype_backend) for column in columns])


def read_back(frame: Any, name: str, kind: Kind) -> Column | None:
    """The column as this kind, whatever dtype a file gave it; None when a cell is of another kind."""
    column = frame.iloc[:, names(frame).index(name)]
    from_text = holds_json(kind) and isinstance(column.dtype, pd.ArrowDtype)
    return rebuild(snapshot(column.to_frame(name), [name]), name, kind, from_text=from_text)


# -- reading


def _reader(series: Any) -> Reader:
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _numpy_reader(series.to_numpy())
    if isinstance(dtype, pd.DatetimeTZDtype):
        stamps = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
        return lambda start, stop: moments(stamps[start:stop], dtype.tz)
    if isinstance(dtype, pd.CategoricalDtype):
        return _category_reader(series.array)
    if isinstance(dtype, pd.ArrowDtype) and not _is_flat(dtype):
        chunks = series.array.__arrow_array__()
        return lambda start, stop: tidy(chunks.slice(start, stop - start).to_pylist())
    array = series.array
    if isinstance(dtype, pd.StringDtype | pd.ArrowDtype | pd.BooleanDtype) or dtype.kind in "iuf":
        return lambda start, stop: tidy(array[start:stop].to_numpy(dtype=object, na_value=None).tolist())
    return lambda start, stop: [plain(value) for value in array[start:stop]]


def _is_flat(dtype: Any) -> bool:
    """Whether Arrow's own conversion to objects is right and fast: text, numbers, booleans."""
    return dtype.type in (str, int, float, bool) and dtype.kind in "OUiufb"


def _numpy_reader(array: Any) -> Reader:
    match array.dtype.kind:
        case "i" | "u" | "b":
            return lambda start, stop: array[start:stop].tolist()
        case "f":
            return lambda start, stop: without_nan(array[start:stop].astype(np.float64).tolist())
        case "M":
            return lambda start, stop: moments(array[start:stop], None)
        case "m":
            return lambda start, stop: spans(array[start:stop])
        case _:
            return lambda start, stop: tidy(array[start:stop].tolist())


def _category_reader(array: Any) -> Reader:
    labels = [
        *_reader(pd.Series(array.categories, dtype=array.categories.dtype))(0, len(array.categories)),
        None,
    ]  # code -1 takes the last
    codes = array.codes
    return lambda start, stop: [labels[code] for code in codes[start:stop].tolist()]


@plain.register(pd.Timestamp)
def _(value: pd.Timestamp) -> Any:
    return value.to_pydatetime(warn=False)


@plain.register(pd.Timedelta)
def _(value: pd.Timedelta) -> Any:
    return spans(np.array([value.to_timedelta64()]))[0]


@plain.register(type(pd.NaT))
@plain.register(type(pd.NA))
def _(_: Any) -> None:
    return None


@plain.register(pd.Period)
@plain.register(pd.Interval)
def _(value: Any) -> str:
    return str(value)


@plain.register(pd.Series)
@plain.register(pd.Index)
def _(value: Any) -> list[Any]:
    return [plain(item) for item in value]


# -- laying


def _with_new(frame: Any, fresh: list[Any]) -> Any:
    """The frame and these Series side by side; by `concat`, since many inserts warn of fragmentation."""
    if not fresh:
        return frame.copy(deep=not _COPIES_ON_WRITE)
    out = pd.concat([frame, *fresh], axis=1)
    out.columns.names = frame.columns.names
    return out.__finalize__(frame)


def _series(column: Column, index: Any, dtype_backend: DtypeBackend) -> Any:
    array = _arrow(column) if dtype_backend == "pyarrow" and column.kind.name != "category" else _array(column)
    dtype = object if isinstance(array, np.ndarray) and array.dtype == object else None
    return pd.Series(array, index=index, name=column.name, dtype=dtype)


_MASKED: dict[str, Any] = {
    "int": pd.arrays.IntegerArray,
    "bool": pd.arrays.BooleanArray,
    "float": pd.arrays.FloatingArray,
}


def _array(column: Column) -> Any:
    cells, missing = column.values, ~column.valid  # noqa: PD011  a Column, not a Series
    if column.kind.name in _MASKED:
        return _MASKED[column.kind.name](cells, missing, copy=True)
    match column.kind.name:
        case "str":
            return _text(cells)
        case "category":
            return pd.Categorical.from_codes(cells, dtype=pd.CategoricalDtype(list(column.kind.categories)))
        case "date":
            # not `datetime.date` objects: `.dt`, resampling and parquet work on these, and all dates fit
            return _stamps(cells.astype("datetime64[D]"), missing)
        case "datetime":
            return pd.DatetimeIndex(_stamps(cells.view("datetime64[us]"), missing)).tz_localize("UTC").array
        case _:
            return cells.copy()


def _text(cells: Any) -> Any:
    """The dtype this pandas gives text: "str" since 3, before that object (None stays None)."""
    dtype: Any = pd.Series(["a"]).dtype
    return cells.copy() if isinstance(dtype, np.dtype) else pd.array(cells, dtype=dtype)


def _stamps(cells: Any, missing: Any) -> Any:
    stamps = cells.astype("datetime64[us]")
    stamps[missing] = np.datetime64("NaT")
    return stamps


def _arrow(column: Column) -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise OptionError(
            "dtype_backend='pyarrow' needs pyarrow, which is not installed", hint="pip install pyarrow"
        ) from None
    cells, target = column.values, _arrow_type(column.kind, pa)  # noqa: PD011  a Column, not a Series
    if cells.dtype == object:
        return pd.arrays.ArrowExtensionArray(pa.array(as_text(column), type=target))
    if column.kind.name in ("date", "datetime"):
        cells = cells.view("datetime64[us]") if column.kind.name == "datetime" else cells.astype("datetime64[D]")
    return pd.arrays.ArrowExtensionArray(pa.array(cells, mask=~column.valid, type=target))


def _arrow_type(kind: Kind, pa: Any) -> Any:
    if kind.inner is not None:
        return pa.list_(_arrow_type(kind.inner, pa))
    if kind.name == "struct":
        return pa.struct([(name, _arrow_type(inner, pa)) for name, inner in kind.fields])
    flat = {
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "date": pa.date32(),
        "datetime": pa.timestamp("us", "UTC"),
    }
    return flat.get(kind.name, pa.string())
