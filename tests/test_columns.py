"""Columns: answers land where they belong, whatever the order, and come back as plain values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.columns import Builder, Column, cell, cells, prints, scrub, struct
from dfbatch.kinds import TEXT, Kind

TOPIC = Kind("category", categories=("sport", "tech"))
ITEM = Kind("struct", fields=(("when", Kind("date")), ("topic", TOPIC), ("n", Kind("int"))))


def build(kind: Kind, values: list[Any], name: str = "x") -> Column:
    builder = Builder(name, kind, len(values))
    builder.put(range(len(values)), values)
    assert builder.misfits == []
    return builder.column()


def misfits(kind: Kind, values: list[Any]) -> list[int]:
    builder = Builder("x", kind, len(values))
    builder.put(range(len(values)), values)
    return builder.misfits


def back(column: Column) -> list[Any]:
    return cells(column, range(len(column)))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TEXT, ["a", None, "", "ü😀"]),
        (Kind("int"), [2**63 - 1, None, -(2**63), 0]),
        (Kind("float"), [0.1, None, float("inf"), -0.0]),
        (Kind("bool"), [True, None, False]),
        (TOPIC, ["tech", None, "sport"]),
        (Kind("date"), [date(1, 1, 1), None, date(9999, 12, 31)]),
        (Kind("datetime"), [datetime(1, 1, 1, tzinfo=UTC), None, datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)]),
        (Kind("list", inner=TOPIC), [["tech", None], None, []]),
        (ITEM, [{"when": date(2024, 1, 2), "topic": "tech", "n": 1}, None]),
        (Kind("json"), [{"a": [1, None, "x"]}, None, "text", 1.5, True]),
    ],
    ids=lambda part: repr(part) if isinstance(part, Kind) else "",
)
def test_every_kind_gives_back_what_was_put(kind: Kind, values: list[Any]) -> None:
    column = build(kind, values)

    assert back(column) == values
    assert [type(value) for value in back(column)] == [type(value) for value in values]
    assert column.valid.tolist() == [value is not None for value in values]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("int", "int64"),
        ("float", "float64"),
        ("bool", "bool"),
        ("category", "int32"),
        ("date", "int32"),
        ("datetime", "int64"),
        *((name, "object") for name in ("str", "list", "struct", "json")),
    ],
)
def test_buffers_have_the_promised_dtype_with_no_values_at_all(name: Any, dtype: str) -> None:
    column = Builder("x", Kind(name), 3).column()

    assert column.values.dtype == dtype
    assert back(column) == [None, None, None]


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)), st.randoms(), st.integers(1, 5))
def test_any_order_and_any_cut_into_blocks_gives_the_same_column(values: list[Any], draw: Any, step: int) -> None:
    order = list(range(len(values)))
    draw.shuffle(order)
    builder = Builder("x", Kind("int"), len(values))
    for start in range(0, len(order), step):
        block = order[start : start + step]
        builder.put(block, [values[i] for i in block])

    assert back(builder.column()) == values


@given(st.lists(st.none() | st.text(max_size=3), max_size=6), st.data())
def test_rows_take_the_answer_of_their_request_or_nothing(answers: list[Any], data: st.DataObject) -> None:
    take = data.draw(st.lists(st.integers(-1, len(answers) - 1), max_size=8))
    builder = Builder("x", TEXT, len(answers))
    builder.put(range(len(answers)), answers)

    rows = builder.column(np.array(take, dtype=np.int64))

    assert back(rows) == [None if i < 0 else answers[i] for i in take]


def test_a_column_does_not_change_when_more_is_put() -> None:
    builder = Builder("x", Kind("int"), 2)
    builder.put([0], [1])
    before = builder.column()
    builder.put([0, 1], [None, 2])

    assert back(before) == [1, None]
    assert back(builder.column()) == [None, 2]


@pytest.mark.parametrize(
    ("kind", "values", "unfit"),
    [
        (Kind("int"), [1, 2**63, True, 1.5, "1", float("inf")], [1, 2, 3, 4, 5]),
        (Kind("float"), [1.5, 10**400, False, "1"], [1, 2, 3]),
        (Kind("bool"), [True, 1, "true"], [1, 2]),
        (TEXT, ["a", 1, ["b"]], [1, 2]),
        (TOPIC, ["sport", "Sport", 0, ["sport"]], [1, 2, 3]),
        (Kind("date"), ["2024-01-02", "soon", datetime(2024, 1, 2, 3, tzinfo=UTC), 5], [1, 2, 3]),
        (Kind("datetime"), ["2024-01-02T03:04Z", "soon", 5], [1, 2]),
        (Kind("list", inner=Kind("int")), [[1], "ab", ["a"], [2**70]], [1, 2, 3]),
        (ITEM, [{"n": 1}, {"topic": "arts"}, [1]], [1, 2]),
    ],
    ids=lambda part: repr(part) if isinstance(part, Kind) else "",
)
def test_what_a_kind_cannot_hold_is_missing_and_named(kind: Kind, values: list[Any], unfit: list[int]) -> None:
    builder = Builder("x", kind, len(values))
    builder.put(range(len(values)), values)

    assert builder.misfits == unfit
    assert builder.column().valid.tolist() == [i not in unfit for i in range(len(values))]


def test_misfits_are_positions_and_not_places_in_the_block() -> None:
    builder = Builder("x", Kind("int"), 9)
    builder.put([7, 3], [2**70, 1])

    assert builder.misfits == [7]
    assert cell(builder.column(), 3) == 1


def test_harmless_drift_is_read_as_the_kind() -> None:
    class Topic(Enum):
        SPORT = "sport"

    east = timezone(timedelta(hours=2))

    assert back(build(Kind("int"), [3.0, None, 4])) == [3, None, 4]
    assert back(build(Kind("float"), [3, float("nan")])) == [3.0, None]
    assert back(build(TOPIC, [Topic.SPORT, None])) == ["sport", None]
    assert back(build(Kind("date"), ["2024-01-02", datetime(2024, 1, 2, tzinfo=UTC)])) == [date(2024, 1, 2)] * 2
    assert back(build(Kind("datetime"), ["2024-01-02T03:04:05", date(2024, 1, 2)])) == [
        datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(2024, 1, 2, tzinfo=UTC),
    ]
    assert back(build(Kind("datetime"), [datetime(2024, 1, 2, 2, tzinfo=east)])) == [datetime(2024, 1, 2, tzinfo=UTC)]


def test_structs_have_all_their_fields_and_no_others() -> None:
    column = build(ITEM, [{"n": 1, "more": 2}])

    assert back(column) == [{"when": None, "topic": None, "n": 1}]


def test_lone_surrogates_never_reach_a_column() -> None:
    assert back(build(TEXT, ["a\ud800b", "ok"])) == ["a\ufffdb", "ok"]
    assert back(build(Kind("list", inner=TEXT), [["\udfff"]])) == [["\ufffd"]]
    assert back(build(Kind("json"), [{"\ud800": "\ud83d"}])) == [{"\ufffd": "\ufffd"}]
    assert scrub("\ud83d\ude00") == "😀"


def test_several_columns_become_one_struct() -> None:
    column = struct([build(Kind("int"), [1, None, None], "n"), build(TOPIC, ["tech", "sport", None], "t")], "answer")

    assert column.kind == Kind("struct", fields=(("n", Kind("int")), ("t", TOPIC)))
    assert back(column) == [{"n": 1, "t": "tech"}, {"n": None, "t": "sport"}, None]


def test_a_struct_of_nulls_is_kept_where_the_row_was_answered() -> None:
    column = struct([build(Kind("int"), [None, None], "n")], "answer", valid=np.array([True, False]))

    assert back(column) == [{"n": None}, None]


@pytest.mark.parametrize(
    ("kind", "value"), [(Kind("int"), 0), (TEXT, ""), (Kind("bool"), False), (TOPIC, "sport"), (Kind("float"), 0.0)]
)
def test_fingerprints_are_zero_only_where_a_cell_is_missing(kind: Kind, value: Any) -> None:
    found = prints(build(kind, [value, None]))

    assert found.dtype == np.uint64
    assert found[0] != 0
    assert found[1] == 0


def test_fingerprints_never_change_between_versions() -> None:
    found = {
        "str": prints(build(TEXT, ["tech"]))[0],
        "category": prints(build(TOPIC, ["tech"]))[0],
        "int": prints(build(Kind("int"), [7]))[0],
        "float": prints(build(Kind("float"), [0.85]))[0],
        "list": prints(build(Kind("list", inner=TEXT), [["a"]]))[0],
    }

    assert {name: f"{value:016x}" for name, value in found.items()} == {
        "str": "1853973a848b87a4",
        "category": "1853973a848b87a4",
        "int": "63cbe1e459320dd7",
        "float": "26792acfb7168295",
        "list": "25cf537f4b635727",
    }


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_equal_floats_have_equal_fingerprints_and_others_differ(one: float, other: float) -> None:
    first, second = prints(build(Kind("float"), [one, other])).tolist()
    near = one == other or abs(one - other) <= 1e-11 * max(abs(one), abs(other))

    assert first == second if one == other else near or first != second


def test_a_float_off_by_one_in_the_last_place_has_the_same_fingerprint() -> None:
    values = [0.85, 1.0, -2.0, 0.1, 123456.789, 1e-300]
    off = [float(np.nextafter(value, way)) for value, way in zip(values, [0, 0, 0, 1, 0, 1], strict=True)]

    assert prints(build(Kind("float"), values)).tolist() == prints(build(Kind("float"), off)).tolist()


@given(st.lists(st.text(max_size=4), unique=True, max_size=20))
def test_different_texts_have_different_fingerprints(values: list[str]) -> None:
    found = prints(build(TEXT, values)).tolist()

    assert len(set(found)) == len({scrub(value) for value in values})


def test_nested_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    first, second = prints(build(Kind("json"), [{"a": 1, "b": [2]}, {"b": [2], "a": 1}])).tolist()

    assert first == second


def test_an_empty_block_and_an_empty_column_are_fine() -> None:
    builder = Builder("x", TOPIC, 0)
    builder.put([], [])

    assert back(builder.column()) == []
    assert prints(builder.column()).tolist() == []
    assert back(builder.column(np.array([-1, -1]))) == [None, None]
