"""What is polars' own: full schemas, subclasses, nested Enums."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.columns import Builder, Column
from dfbatch.frames import polars as room
from dfbatch.kinds import TEXT, Kind

TOPIC = Kind("category", categories=("tech", "sport"))
ENUM = pl.Enum(["tech", "sport"])
ITEM = Kind("struct", fields=(("topics", Kind("list", inner=TOPIC)), ("any", Kind("json"))))
NESTED = Kind("list", inner=Kind("struct", fields=(("t", TOPIC), ("n", Kind("list", inner=Kind("int"))))))


def build(name: str, kind: Kind, values: list[Any]) -> Column:
    builder = Builder(name, kind, len(values))
    builder.put(range(len(values)), values)
    return builder.column()


class MyFrame(pl.DataFrame):
    pass


@pytest.mark.parametrize("rows", [0, 2])
def test_the_schema_is_full_when_every_row_failed(rows: int) -> None:
    kinds = {
        "s": TEXT,
        "i": Kind("int"),
        "f": Kind("float"),
        "b": Kind("bool"),
        "c": TOPIC,
        "d": Kind("date"),
        "t": Kind("datetime"),
        "l": Kind("list", inner=TOPIC),
        "st": ITEM,
        "j": Kind("json"),
    }
    out = room.new([Builder(name, kind, rows).column() for name, kind in kinds.items()])

    assert dict(out.schema) == {
        "s": pl.String,
        "i": pl.Int64,
        "f": pl.Float64,
        "b": pl.Boolean,
        "c": ENUM,
        "d": pl.Date,
        "t": pl.Datetime("us", "UTC"),
        "l": pl.List(ENUM),
        "st": pl.Struct({"topics": pl.List(ENUM), "any": pl.String}),
        "j": pl.String,
    }
    assert out.height == rows
    assert sum(sum(counts) for counts in out.null_count().rows()) == rows * len(kinds)


@given(
    st.lists(
        st.none()
        | st.lists(
            st.none()
            | st.fixed_dictionaries(
                {
                    "t": st.none() | st.sampled_from(["tech", "sport"]),
                    "n": st.none() | st.lists(st.none() | st.integers(-5, 5), max_size=3),
                }
            ),
            max_size=3,
        ),
        max_size=5,
    )
)
def test_nested_values_of_any_shape_come_out_as_they_went_in(values: list[Any]) -> None:
    out = room.new([build("x", NESTED, values)])

    assert out["x"].to_list() == values
    assert out.schema["x"] == pl.List(pl.Struct({"t": ENUM, "n": pl.List(pl.Int64)}))


def test_a_missing_struct_is_null_and_not_a_struct_of_nulls() -> None:
    out = room.new([build("x", ITEM, [None, {"topics": None, "any": None}])])

    assert out["x"].is_null().to_list() == [True, False]


def test_json_is_kept_as_its_text() -> None:
    values = [{"a": [1, "é"]}, None, "text", 1.5]
    out = room.new([build("x", Kind("json"), values), build("y", ITEM, [{"any": value} for value in values])])

    assert out["x"].to_list() == ['{"a": [1, "é"]}', None, '"text"', "1.5"]
    assert out["y"].struct.field("any").to_list() == out["x"].to_list()
    back = room.read_back(out, "x", Kind("json"))
    assert back is not None
    assert back.values.tolist() == values


def test_subclasses_are_kept() -> None:
    frame = MyFrame({"text": ["p"]})
    out = room.lay(frame, [build("text", TEXT, ["q"]), build("n", Kind("int"), [1])], replace=["text"])

    assert type(out) is MyFrame
    assert out.rows() == [("q", 1)]
    assert frame.rows() == [("p",)]


def test_an_enum_without_labels_and_a_struct_without_fields_are_laid() -> None:
    out = room.new([Builder("c", Kind("category"), 2).column(), build("s", Kind("struct"), [{}, None])])

    assert out["c"].to_list() == [None, None]
    assert out["s"].is_null().to_list()[1]


def test_frames_without_rows_and_columns_without_news_are_fine() -> None:
    assert room.lay(pl.DataFrame({"text": []}), [build("n", Kind("int"), [])]).shape == (0, 2)
    assert room.lay(pl.DataFrame({"text": ["p"]}), []).rows() == [("p",)]
