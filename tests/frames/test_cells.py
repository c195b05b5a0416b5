"""Cells become the same plain Python values, whichever library held them."""

from __future__ import annotations

import datetime as dt
import warnings
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.frames import adapter
from dfbatch.frames.cells import Table, plain, tidy

if TYPE_CHECKING:
    from tests.frames.conftest import Make

STAMPS = np.array(["2024-01-02T03:04:05.123456789", "NaT", "1969-12-31T23:59:59.999999999"], dtype="datetime64[ns]")
SPANS = np.array([1500, -1, "NaT"], dtype="timedelta64[ns]")
STRUCTS: list[Any] = [{"a": 1, "b": ["x"]}, None, {"a": None, "b": []}]

POLARS = pl.DataFrame(
    {
        "text": ["a", None, "ü😀"],
        "i8": pl.Series([1, None, 2], dtype=pl.Int8),
        "u64": pl.Series([2**64 - 1, 0, None], dtype=pl.UInt64),
        "f": [0.1, None, float("nan")],
        "f32": pl.Series([0.1, None, 1], dtype=pl.Float32),
        "b": [True, None, False],
        "ns": pl.Series(STAMPS),
        "tz": pl.Series(STAMPS).dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin"),
        "span": pl.Series(SPANS),
        "dec": [Decimal("1.10"), None, Decimal("2.00")],
        "date": [dt.date(2024, 1, 2), None, dt.date(1900, 1, 1)],
        "time": [dt.time(1, 2, 3), None, dt.time(0)],
        "bytes": [b"a", None, b"\xff"],
        "list": [[1.0, float("nan")], None, []],
        "nested": [[["p"], [None]], None, []],
        "struct": STRUCTS,
        "cat": pl.Series(["x", None, "y"], dtype=pl.Categorical),
        "null": [None, None, None],
    }
)
NUMPY = pd.DataFrame(
    {
        "text": ["a", None, "ü😀"],
        "i8": pd.array([1, None, 2], dtype="Int8"),
        "u64": pd.array([2**64 - 1, 0, None], dtype="UInt64"),
        "f": [0.1, None, float("nan")],
        "f32": np.array([0.1, np.nan, 1], dtype="float32"),
        "b": pd.array([True, None, False], dtype="boolean"),
        "ns": STAMPS,
        "tz": pd.DatetimeIndex(STAMPS).tz_localize("UTC").tz_convert("Europe/Berlin"),
        "span": SPANS,
        "dec": [Decimal("1.10"), None, Decimal("2.00")],
        "date": [dt.date(2024, 1, 2), pd.NaT, dt.date(1900, 1, 1)],
        "time": [dt.time(1, 2, 3), None, dt.time(0)],
        "bytes": [b"a", None, b"\xff"],
        "list": [np.array([1.0, np.nan]), None, ()],
        "nested": pd.Series([np.array([["p"], [None]], dtype=object), pd.NA, []], dtype=object),
        "struct": [{"a": np.int64(1), "b": np.array(["x"], dtype=object)}, None, {"a": float("nan"), "b": []}],
        "cat": pd.Categorical(["x", None, "y"]),
        "null": [None, float("nan"), pd.NaT],
    }
)
ARROW = pd.DataFrame(
    {name: pd.arrays.ArrowExtensionArray(pa.array(POLARS[name].to_arrow())) for name in POLARS.columns}
)


def block(frame: Any, start: int = 0, stop: int = 3) -> dict[str, list[Any]]:
    room = adapter(frame)
    found: dict[str, list[Any]] = room.snapshot(frame, room.names(frame)).block(start, stop)
    return found


def exact(value: Any) -> Any:
    """The value with its types, since 1 == 1.0 == True."""
    if isinstance(value, list):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {name: exact(item) for name, item in value.items()}
    return (type(value), value, str(value))


@pytest.mark.parametrize("frame_of_all", [NUMPY, ARROW], ids=["numpy", "arrow"])
@pytest.mark.parametrize("name", POLARS.columns)
def test_pandas_and_polars_give_equal_cells_for_every_dtype(frame_of_all: Any, name: str) -> None:
    assert exact(block(frame_of_all)[name]) == exact(block(POLARS)[name])


def test_cells_are_plain_python() -> None:
    found = block(POLARS)

    assert found["f"] == [0.1, None, None]
    assert found["ns"][2] == dt.datetime(1969, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001  naive in, naive out
    assert found["tz"][0] == dt.datetime(2024, 1, 2, 4, 4, 5, 123456, tzinfo=ZoneInfo("Europe/Berlin"))
    assert found["span"] == [dt.timedelta(microseconds=1), dt.timedelta(microseconds=-1), None]
    assert found["list"] == [[1.0, None], None, []]
    assert found["struct"] == STRUCTS


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_any_text_is_the_same_in_both(values: list[Any]) -> None:
    stop = len(values)

    assert block(pd.DataFrame({"x": pd.Series(values, dtype=object)}), 0, stop) == {"x": values}
    assert block(pl.DataFrame({"x": pl.Series(values, dtype=pl.String)}), 0, stop) == {"x": values}


class Colour(str, Enum):  # noqa: UP042  the older spelling is what users have
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pd.NA, None),
        (pd.NaT, None),
        (np.float32("nan"), None),
        (Decimal("nan"), None),
        (np.datetime64("NaT"), None),
        (np.int64(3), 3),
        (np.str_("q"), "q"),
        (np.bool_(1), True),
        (np.longdouble(1.5), 1.5),
        (np.datetime64("2024-01-01T00:00:00.5"), dt.datetime(2024, 1, 1, 0, 0, 0, 500000)),  # noqa: DTZ001  naive
        (np.array([1, 2]), [1, 2]),
        (np.array(5), 5),
        (np.array(["2024-01-01"], dtype="datetime64[ns]"), [dt.datetime(2024, 1, 1)]),  # noqa: DTZ001  naive
        (pd.Timestamp("2024-01-01", tz="UTC"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (pd.Timedelta("1s"), dt.timedelta(seconds=1)),
        (pd.Period("2024-01", "M"), "2024-01"),
        (pd.Interval(0, 1), "(0, 1]"),
        (pd.Series([1.0, None]), [1.0, None]),
        (pl.Series([1.0, None]), [1.0, None]),
        pytest.param({"b", "a"}, ["a", "b"], id="a set"),  # its repr has no order
        (bytearray(b"x"), b"x"),
        (Colour.RED, "red"),
        ({1: {"k": (np.int8(1), pd.NA)}}, {"1": {"k": [1, None]}}),
        (2**70, 2**70),
    ],
    ids=repr,
)
def test_one_value_of_any_sort_becomes_plain(value: Any, expected: Any) -> None:
    assert exact(plain(value)) == exact(expected)
    assert exact(tidy([value])) == exact([expected])


def test_objects_unknown_to_us_stay_what_they_are() -> None:
    thing = object()

    assert plain(thing) is thing


def test_dates_beyond_python_stay_text() -> None:
    far = np.array(["12024-01-01", "2024-01-01", "NaT"], dtype="datetime64[s]")

    assert block(pd.DataFrame({"x": far}))["x"] == ["12024-01-01T00:00:00.000000", dt.datetime(2024, 1, 1), None]  # noqa: DTZ001  naive


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pd.period_range("2024-01", periods=3, freq="M"), ["2024-01", "2024-02", "2024-03"]),
        (pd.interval_range(0, 3), ["(0, 1]", "(1, 2]", "(2, 3]"]),
        (pd.arrays.SparseArray([1, 0, 0]), [1, 0, 0]),
        (pd.Categorical([1, None, 2]), [1, None, 2]),
        (pd.array([1, None, 2.5], dtype="Float64"), [1.0, None, 2.5]),
        (pd.array(["a", None, "b"], dtype="string"), ["a", None, "b"]),
        (np.array([1, "a", 2.5], dtype=object), [1, "a", 2.5]),
        (np.array([1j, 2, 3]), [1j, 2, 3]),
    ],
    ids=lambda part: str(getattr(part, "dtype", "")),
)
def test_dtypes_of_pandas_alone_are_plain_too(array: Any, expected: list[Any]) -> None:
    assert block(pd.DataFrame({"x": array}))["x"] == expected


def test_dtypes_of_polars_alone_are_plain_too() -> None:
    frame = pl.DataFrame(
        {
            "object": pl.Series([{1}, "a", None], dtype=pl.Object),
            "enum": pl.Series(["b", None, "a"], dtype=pl.Enum(["a", "b"])),
            "array": pl.Series([[1.0, 2.0], None, [float("nan"), None]], dtype=pl.Array(pl.Float64, 2)),
        }
    )

    assert block(frame) == {
        "object": [[1], "a", None],
        "enum": ["b", None, "a"],
        "array": [[1.0, 2.0], None, [None, None]],
    }


def surrogates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "good": ["x", "y", "\\ud800 in words"],
            "text": pd.Series(["x", "a\ud800b", None], dtype=object),
            "nested": pd.Series([["\udfff"], "\ud83d\ude00", {"\ud800": [1]}], dtype=object),
        }
    )


def test_lone_surrogates_become_a_mark_with_one_warning_that_points_at_the_caller() -> None:
    frame = surrogates()
    table = adapter(frame).snapshot(frame, ["good", "text", "nested"])
    with pytest.warns(UserWarning, match="lone surrogates") as caught:
        first, rest = table.block(0, 1), table.block(1, 3)

    assert first["nested"] == [["\ufffd"]]
    assert rest == {"good": ["y", "\\ud800 in words"], "text": ["a\ufffdb", None], "nested": ["😀", {"\ufffd": [1]}]}
    assert [str(warning.message) for warning in caught] == [
        "lone surrogates became U+FFFD: column 'nested', first in row 0"
    ]
    assert caught[0].filename == __file__


def test_rows_in_the_warning_are_positions_in_the_frame() -> None:
    frame = surrogates()
    table = adapter(frame).snapshot(frame, ["text"])
    with pytest.warns(UserWarning, match="column 'text', first in row 1$"):
        table.block(1, 3)


def test_sound_text_warns_of_nothing(frame: Make) -> None:
    start = frame({"x": ["\\ud800", "😀", None], "l": [["\\ud800"], None, []]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert block(start) == {"x": ["\\ud800", "😀", None], "l": [["\\ud800"], None, []]}


def test_a_table_is_made_of_readers() -> None:
    table = Table(3, {"n": lambda start, stop: list(range(start, stop))})

    assert (table.names, table.height, table.block(1, 3)) == (["n"], 3, {"n": [1, 2]})
