"""What is pandas' own: index, attrs, subclasses, dtypes, columns that are not text."""

from __future__ import annotations

import builtins
import warnings
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfbatch.columns import Builder, Column
from dfbatch.errors import OptionError
from dfbatch.frames import pandas as room
from dfbatch.kinds import TEXT, Kind

TOPIC = Kind("category", categories=("tech", "sport"))
PANDAS_3 = int(pd.__version__.split(".")[0]) >= 3


def build(name: str, kind: Kind, values: list[Any]) -> Column:
    builder = Builder(name, kind, len(values))
    builder.put(range(len(values)), values)
    return builder.column()


class MyFrame(pd.DataFrame):
    _metadata = ("source",)
    source: str

    @property
    def _constructor(self) -> Any:
        return MyFrame


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(3),
        pd.Index(["a", "a", "b"], name="id"),
        pd.Index([np.nan, np.nan, 1.0]),
        pd.MultiIndex.from_tuples([("x", 1), ("x", 1), ("y", 2)], names=["k", "n"]),
        pd.DatetimeIndex(["2024-01-02", "2024-01-01", "2024-01-01"], tz="Europe/Berlin"),
    ],
    ids=["range", "twice", "nan", "multi", "dates"],
)
def test_any_index_is_kept_and_rows_are_laid_by_position(index: Any) -> None:
    frame = pd.DataFrame({"text": ["p", "q", "r"], "topic": ["x", "y", "z"]}, index=index)
    out = room.lay(
        frame, [build("topic", TEXT, ["1", None, "3"]), build("n", Kind("int"), [7, 8, 9])], replace=["topic"]
    )

    pd.testing.assert_index_equal(out.index, index)
    assert out["n"].tolist() == [7, 8, 9]
    assert out["topic"].tolist()[::2] == ["1", "3"]
    pd.testing.assert_frame_equal(out[["text"]], frame[["text"]])
    series = room.series([build("n", Kind("int"), [7, 8, 9])], frame["text"])
    pd.testing.assert_index_equal(series.index, index)


def test_dtypes_are_those_of_the_design() -> None:
    kinds = [TEXT, Kind("int"), Kind("float"), Kind("bool"), TOPIC, Kind("date"), Kind("datetime")]
    nested = [Kind("list", inner=TEXT), Kind("struct", fields=(("a", TEXT),)), Kind("json")]
    out = room.new([Builder(str(i), kind, 2).column() for i, kind in enumerate(kinds + nested)])

    assert [str(dtype) for dtype in out.dtypes] == [
        "str" if PANDAS_3 else "object",
        "Int64",
        "Float64",
        "boolean",
        "category",
        "datetime64[us]",
        "datetime64[us, UTC]",
        "object",
        "object",
        "object",
    ]


def test_categories_are_unordered_and_in_declared_order() -> None:
    out = room.new([build("topic", TOPIC, ["sport", None])])

    assert out["topic"].cat.categories.tolist() == ["tech", "sport"]
    assert not out["topic"].cat.ordered


def test_the_arrow_backend_gives_arrow_dtypes_that_read_by_name() -> None:
    kinds = [TEXT, Kind("int"), TOPIC, Kind("date"), Kind("datetime"), Kind("list", inner=TOPIC)]
    struct = Kind("struct", fields=(("a", Kind("float")), ("b", Kind("json"))))
    columns = [Builder(str(i), kind, 1).column() for i, kind in enumerate([*kinds, struct])]
    out = room.new(columns, dtype_backend="pyarrow")

    assert [str(dtype) for dtype in out.dtypes] == [
        "string[pyarrow]",
        "int64[pyarrow]",
        "category",
        "date32[day][pyarrow]",
        "timestamp[us, tz=UTC][pyarrow]",
        "list<item: string>[pyarrow]",
        "struct<a: double, b: string>[pyarrow]",
    ]


def test_the_arrow_backend_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def without_pyarrow(name: str, *args: Any) -> Any:
        if name == "pyarrow":
            raise ImportError(name)
        return there(name, *args)

    column = build("n", Kind("int"), [1])
    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(OptionError) as raised:
        room.new([column], dtype_backend="pyarrow")

    assert str(raised.value) == (
        "dtype_backend='pyarrow' needs pyarrow, which is not installed\nHint: pip install pyarrow"
    )


def test_attrs_are_copied_and_the_run_is_added_to_those_of_earlier_runs() -> None:
    frame = pd.DataFrame({"text": ["p"]})
    frame.attrs = {"source": {"url": "x"}, "dfbatch": {"topic": "run_1"}}
    out = room.lay(frame, [build("n", Kind("int"), [1])], attrs={"n": "run_2"})

    assert out.attrs == {"source": {"url": "x"}, "dfbatch": {"topic": "run_1", "n": "run_2"}}
    assert frame.attrs == {"source": {"url": "x"}, "dfbatch": {"topic": "run_1"}}
    out.attrs["source"]["url"] = "changed"
    assert frame.attrs["source"] == {"url": "x"}


def test_subclasses_and_their_metadata_are_kept() -> None:
    frame = MyFrame({"text": ["p"]})
    frame.source = "here"
    out = room.lay(frame, [build("n", Kind("int"), [1])])

    assert type(out) is MyFrame
    assert out.source == "here"


def test_columns_that_are_not_text_keep_their_own_names() -> None:
    frame = pd.DataFrame({0: ["p"], 2024: [1], ("a", 1): [2]})
    frame.columns.name = "what"
    out = room.lay(frame, [build("2024", Kind("int"), [7]), build("n", Kind("int"), [8])], replace=["2024"])

    assert room.names(frame) == ["0", "2024", "('a', 1)"]
    assert room.snapshot(frame, ["2024"]).block(0, 1) == {"2024": [1]}
    assert list(out.columns) == [0, 2024, ("a", 1), "n"]
    assert out.columns.name == "what"
    assert out[2024].tolist() == [7]


def test_frames_without_columns_or_rows_take_columns() -> None:
    bare = room.lay(pd.DataFrame(index=[5, 5]), [build("n", Kind("int"), [1, 2])])
    empty = room.lay(pd.DataFrame({"text": []}), [build("n", Kind("int"), [])])

    assert (bare.index.tolist(), bare["n"].tolist()) == ([5, 5], [1, 2])
    assert (len(empty), list(empty.columns), str(empty["n"].dtype)) == (0, ["text", "n"], "Int64")


def test_many_columns_are_laid_without_a_word_of_fragmentation() -> None:
    frame = pd.DataFrame({f"c{i}": ["x"] for i in range(150)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = room.lay(frame, [build(f"n{i}", Kind("int"), [i]) for i in range(150)])

    assert out.shape == (1, 300)


def test_json_texts_are_not_mistaken_for_text() -> None:
    out = room.lay(pd.DataFrame({"x": [1, 2], "j": [0, 0]}), [build("j", Kind("json"), ["a", "b"])], replace=["j"])

    assert out["j"].dtype == object


def test_all_dates_that_an_answer_can_hold_fit() -> None:
    out = room.new([build("d", Kind("date"), [date(1, 1, 1), date(9999, 12, 31), None])])

    assert out["d"].dt.year.tolist()[:2] == [1, 9999]
    assert out["d"].isna().tolist() == [False, False, True]


def test_cells_changed_in_place_do_not_reach_a_snapshot() -> None:
    frame: Any = pd.DataFrame(
        {
            "n": [1, 2],
            "masked": pd.array([1, 2], dtype="Int64"),
            "when": pd.to_datetime(["2024-01-01", "2024-01-02"], utc=True),
            "cat": pd.Categorical(["a", "b"]),
            "object": pd.Series(["a", "b"], dtype=object),
        }
    )
    table = room.snapshot(frame, list(frame.columns))
    before = table.block(0, 2)
    for column in frame.columns:
        frame.loc[0, column] = frame.loc[1, column]

    assert table.block(0, 2) == before
