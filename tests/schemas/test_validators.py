from __future__ import annotations

import datetime as dt
import enum
import json
from typing import Any, Literal

import pytest

from dfbatch.kinds import Kind
from dfbatch.schemas import Invalid, Schema, read
from dfbatch.schemas.validators import kind


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 2


def _invalid(schema: Schema, answer: Any) -> str:
    with pytest.raises(Invalid) as caught:
        schema.judge(answer if isinstance(answer, str) else json.dumps(answer))
    return str(caught.value)


@pytest.mark.parametrize(
    ("schema", "kind", "answer", "value"),
    [
        (Literal["a", "b"], Kind("category", ("a", "b")), "b", "b"),
        (Literal[1, 2], Kind("int"), 2, 2),
        (Literal[True], Kind("bool"), True, True),
        (Literal["a"] | Colour | None, Kind("category", ("a", "red", "blue")), None, None),
        (Colour, Kind("category", ("red", "blue")), "blue", "blue"),
        (Rank, Kind("int"), 2, 2),
        (str, Kind("str"), "x", "x"),
        (int, Kind("int"), 3, 3),
        (int | float, Kind("float"), 3, 3.0),
        (str | int, Kind("json"), 3, 3),
        (str | dt.date, Kind("str"), "2024-01-02", "2024-01-02"),
        (float | None, Kind("float"), None, None),
        (bool, Kind("bool"), False, False),
        (dt.date, Kind("date"), "2024-01-02", dt.date(2024, 1, 2)),
        (dt.timedelta, Kind("str"), "P1D", "P1D"),
        (list[Colour], Kind("list", inner=Kind("category", ("red", "blue"))), ["red"], ["red"]),
        ({"type": ["integer", "null"], "maximum": 3}, Kind("int"), 3, 3),
        ({"enum": ["a", None]}, Kind("category", ("a",)), None, None),
        ({"type": "array", "items": {"enum": [1, 2.5]}}, Kind("list", inner=Kind("float")), [1, 2.5], [1.0, 2.5]),
    ],
)
def test_a_scalar_is_wrapped_as_the_one_property_answer(schema: Any, kind: Kind, answer: Any, value: Any) -> None:
    found = read(schema)

    assert found.shape == "scalar"
    assert found.fields == (("answer", kind),)
    assert found.wire is not None
    assert (found.wire["required"], found.wire["additionalProperties"]) == (["answer"], False)
    (judged,) = found.judge(json.dumps({"answer": answer}))
    assert (judged, type(judged)) == (value, type(value))


@pytest.mark.parametrize(
    ("schema", "answer", "text"),
    [
        (Literal[1, 2], True, "expected int, got bool - at $.answer"),
        (Literal[True], 1, "expected bool, got int - at $.answer"),
        (str | list[int], {}, "expected str or list, got object - at $.answer"),
        ({"type": "string", "format": "date"}, "soon", "expected date, got 'soon' - at $.answer"),
        ({"type": "string", "format": "date-time"}, "5", "expected datetime, got '5' - at $.answer"),
        ({"type": "string", "format": "uuid"}, "x", "expected a valid uuid, got 'x' - at $.answer"),
        ({"type": "string", "format": "email"}, "x", "expected a valid email, got 'x' - at $.answer"),
        ({"type": "string", "format": "ipv4"}, "1.2.3", "expected a valid ipv4, got '1.2.3' - at $.answer"),
        (
            {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
            [1, 1],
            "expected items that all differ - at $.answer",
        ),
        ({"type": "integer", "exclusiveMinimum": 0.5}, 0, "expected > 0, got 0 - at $.answer"),
        ({"type": "number", "multipleOf": 0.5}, 0.3, "expected a multiple of 0.5, got 0.3 - at $.answer"),
        ({"type": "string", "pattern": "(?=.*a)b"}, "x", "expected to match '(?=.*a)b', got 'x' - at $.answer"),
    ],
)
def test_bounds_that_the_api_does_not_know_are_judged_here(schema: Any, answer: Any, text: str) -> None:
    assert _invalid(read(schema), {"answer": answer}) == text


def test_an_int_wider_than_its_column_is_invalid() -> None:
    assert _invalid(read(int), {"answer": 2**63}).startswith("expected <= 9223372036854775807, got 9223372036854775808")


def test_unknown_fields_are_ignored_unless_the_schema_forbids_them() -> None:
    closed: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}

    assert read({**closed, "additionalProperties": None}).judge('{"a": 1, "b": 2}') == (1,)
    assert _invalid(read(closed), {"a": 1, "b": 2}) == "unknown field - at $.b"


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"type": "null"}, Kind("json")),
        ({"type": "string", "format": "uuid"}, Kind("str")),
        ({"type": "string", "format": "date-time"}, Kind("datetime")),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, Kind("int")),
        ({"anyOf": [{"enum": ["a"]}, {"type": "string", "format": "date"}]}, Kind("str")),
        ({"anyOf": [{"type": "boolean"}, {"type": "integer"}]}, Kind("json")),
    ],
)
def test_a_node_makes_a_column_of_one_kind(node: dict[str, Any], expected: Kind) -> None:
    assert kind(node) == expected


def test_dates_inside_a_json_cell_stay_text() -> None:
    schema = read(list[dt.date] | int)

    assert schema.judge('{"answer": ["2024-01-02"]}') == (["2024-01-02"],)
    assert _invalid(schema, {"answer": ["soon"]}) == "expected a valid date, got 'soon' - at $.answer[0]"
