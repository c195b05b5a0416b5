from __future__ import annotations

import datetime as dt
import enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from dfbatch.emulator.params.schemas import problem
from dfbatch.errors import SchemaError
from dfbatch.schemas import read
from dfbatch.schemas.wire import MAX_OPTIONAL, MAX_UNIONS


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    label: Literal["a", "b"]
    when: dt.datetime


class Review(BaseModel):
    """What a customer wrote."""

    topic: Literal["sport", "tech"] = Field(description="main topic")
    score: int = Field(ge=1, le=5)
    weight: int | float
    colour: Colour | None = None
    parts: list[Part] = []
    day: dt.date
    either: Part | str
    good: bool


def test_the_wire_holds_what_the_api_knows_and_tells_the_rest() -> None:
    wire = read(Review).wire
    assert wire is not None
    assert wire["description"] == "What a customer wrote."
    assert wire["properties"]["topic"] == {"enum": ["sport", "tech"], "description": "main topic"}
    assert wire["properties"]["score"] == {"type": "integer", "description": "minimum: 1, maximum: 5"}
    assert wire["properties"]["day"] == {"type": "string", "format": "date"}


def test_a_simple_pattern_stays_on_the_wire_and_others_are_told() -> None:
    class Codes(BaseModel):
        plain: str = Field(pattern=r"^[A-Z]{3}-\d+$")
        hard: str = Field(pattern=r"\bx\b", description="a word")
        long: Annotated[str, Field(pattern=r"^a{500}$")]
        few: Annotated[list[str], Field(min_length=1, max_length=3)]

    wire = read(Codes).wire
    assert wire is not None
    assert wire["properties"] == {
        "plain": {"type": "string", "pattern": r"^[A-Z]{3}-\d+$"},
        "hard": {"type": "string", "description": r'a word (pattern: "\\bx\\b")'},
        "long": {"type": "string", "description": 'pattern: "^a{500}$"'},
        "few": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "maxItems: 3"},
    }


def test_none_as_default_costs_a_union_and_no_optional() -> None:
    class Both(BaseModel):
        a: int | None = None
        b: int = 3

    wire = read(Both).wire
    assert wire is not None
    assert wire["required"] == ["a"]
    assert wire["properties"] == {
        "a": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "b": {"type": "integer", "default": 3},
    }
    assert read(Both).judge("{}") == (None, 3)


def _model(count: int, kind: Any, default: Any) -> Any:
    fields: dict[str, Any] = {f"f{number}": (kind, default) for number in range(count)}
    return create_model("Wide", **fields)


def test_nulls_beyond_the_union_budget_become_optional() -> None:
    schema = read(_model(MAX_UNIONS + MAX_OPTIONAL, int | None, None))
    assert schema.wire is not None
    parts = schema.wire["properties"].values()

    assert sum("anyOf" in part for part in parts) == len(schema.wire["required"]) == MAX_UNIONS
    assert schema.judge('{"f0": null, "f39": 4}') == (*[None] * 39, 4)


_LESS = 'fewer optional fields, or a sentinel value such as "" or -1 instead of None'


_LEAVES = st.sampled_from(
    [
        {"type": "integer", "minimum": 0, "maximum": 9},
        {"type": "number", "multipleOf": 0.5},
        {"type": "boolean"},
        {"type": "string", "maxLength": 5},
        {"type": "string", "format": "date"},
        {"enum": ["x", "y"]},
        {"type": ["string", "null"], "default": None},
    ]
)


def _deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(st.sampled_from(["a", "b c", "class"]), inner, min_size=1).flatmap(
        lambda parts: st.sets(st.sampled_from(sorted(parts))).map(
            lambda required: {"type": "object", "properties": parts, "required": sorted(required)}
        )
    )
    return objects | inner.map(lambda items: {"type": "array", "items": items, "maxItems": 3})


_SCHEMAS = st.recursive(_LEAVES, _deeper, max_leaves=8)


_API = {"title", "description", "default", "type", "enum", "anyOf", "items", "properties", "required"}
_API |= {"additionalProperties", "format", "pattern", "minItems"}


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    inner = [
        *node.get("properties", {}).values(),
        *node.get("anyOf", ()),
        *([node["items"]] if "items" in node else []),
    ]
    return [node, *(deeper for one in inner for deeper in _nodes(one))]


@given(_SCHEMAS)
def test_the_wire_uses_only_what_the_api_takes(raw: dict[str, Any]) -> None:
    wire = read(raw).wire
    assert wire is not None

    assert problem(wire, "$") == ""
    for node in _nodes(wire):
        assert node.keys() <= _API
        assert node.get("type") != "object" or node["additionalProperties"] is False


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (_model(25, int, 3), "25 optional fields, and the API takes 24 a request - at $"),
        (_model(17, int | None, ...), "17 unions, and the API takes 16 a request - at $"),
    ],
)
def test_what_is_over_a_budget_of_the_api_is_refused(schema: Any, text: str) -> None:
    with pytest.raises(SchemaError) as caught:
        read(schema)

    assert str(caught.value).split("\n") == [text, f"Hint: {_LESS}"]


def test_bounds_of_an_optional_field_are_told_where_the_number_is() -> None:
    class Rated(BaseModel):
        stars: int | None = Field(None, ge=1, le=5, description="how good")

    wire = read(Rated).wire
    assert wire is not None
    assert wire["properties"]["stars"] == {
        "description": "how good",
        "anyOf": [{"type": "integer", "description": "minimum: 1, maximum: 5"}, {"type": "null"}],
    }
