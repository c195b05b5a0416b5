from __future__ import annotations

import enum
import typing
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from dfbatch.errors import SchemaError
from dfbatch.schemas import read
from dfbatch.schemas.spelling import spelled


class Empty(BaseModel):
    pass


class Tree(BaseModel):
    children: list[Tree] = []


class Open(BaseModel):
    by_name: dict[str, int]


class Anything(BaseModel):
    value: Any


class Mixed(enum.Enum):
    A = "a"
    B = 1


class Complex(enum.Enum):
    A = (1, 2)


class Wrong(BaseModel):
    label: Literal["a"] = typing.cast("Any", "b")


def _refused(schema: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        read(schema)
    return str(caught.value)


_TYPE = "say which type it has: str, int, float, bool, a Literal, a list or a model"


_PAIRS = "use a list of objects with the fields key and value, or name the keys as fields"


@pytest.mark.parametrize(
    ("schema", "text", "hint"),
    [
        (
            Tree,
            "a recursive schema cannot be asked for: Tree holds itself - at $.children",
            "unfold it to the depth you need, or refer to parents by name",
        ),
        (Open, "open keys (dict[str, ...]) cannot be asked for - at $.by_name", _PAIRS),
        (dict[str, int], "open keys (dict[str, ...]) cannot be asked for - at $", _PAIRS),
        ({"type": "object"}, "open keys (dict[str, ...]) cannot be asked for - at $", _PAIRS),
        (Anything, "a value of any type cannot be asked for - at $.value", _TYPE),
        (object, "a value of any type cannot be asked for - at $", _TYPE),
        ({"type": "array"}, "items of any type cannot be asked for - at $", _TYPE),
        ({"$ref": "https://example.org/x"}, None, "copy it into $defs"),
        ({"$ref": "#/$defs/x"}, "the reference '#/$defs/x' leads nowhere - at $", "define it in $defs"),
        (Empty, "the schema has no fields - at $", "declare at least one field"),
        (list[Empty], "the schema has no fields - at $[...]", "declare at least one field"),
        ({}, "the schema is empty: it asks for nothing - at $", _TYPE),
        (Complex, "labels must be strings, numbers or booleans - at $", "use plain values"),
        (Mixed, "labels of mixed types (int and str) cannot share a column - at $", "use strings for all"),
        (Literal["a", 1], "labels of mixed types (int and str) cannot share a column - at $", "use strings for all"),
        (
            Wrong,
            "the default 'b' does not fit: expected 'a', got 'b' - at $.label",
            "use a default that an answer could also hold, or None",
        ),
        ({"type": "string", "pattern": "("}, None, "correct the pattern"),
        ({"type": "object", "properties": 3}, "properties is 3, which it cannot be - at $", None),
        ({"type": "string", "minLength": "3"}, "minLength is '3', which it cannot be - at $", None),
        ({"type": "strin"}, "type 'strin' cannot be asked for - at $", _TYPE),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_its_path_and_a_way_out(
    schema: Any, text: str | None, hint: str | None
) -> None:
    lines = _refused(schema).split("\n")

    assert lines[0] == (text or lines[0])
    assert lines[-1] == (f"Hint: {hint}" if hint else lines[-1])
    assert lines[-1].startswith("Hint: ")


def test_references_that_unfold_without_end_are_stopped() -> None:
    definitions: dict[str, Any] = {"l0": {"type": "string"}}
    for level in range(1, 14):
        parts = {name: {"$ref": f"#/$defs/l{level - 1}"} for name in ("a", "b")}
        definitions[f"l{level}"] = {"type": "object", "properties": parts, "required": ["a", "b"]}

    text = _refused({"$ref": "#/$defs/l13", "$defs": definitions})

    assert text.startswith("more than 5000 parts once references are unfolded - at $")


def test_raw_schemas_may_use_references_all_of_and_one_of() -> None:
    schema = read(
        {
            "type": "object",
            "properties": {
                "who": {"$ref": "#/$defs/who", "description": "the person"},
                "what": {"oneOf": [{"const": "a"}, {"const": "b"}]},
                "n": {"allOf": [{"type": "integer"}, {"minimum": 2}]},
            },
            "required": ["who", "what", "n"],
            "$defs": {"who": {"type": "string", "description": "someone"}},
        }
    )
    assert schema.wire is not None
    assert schema.wire["properties"] == {
        "who": {"type": "string", "description": "the person"},
        "what": {"enum": ["a", "b"]},
        "n": {"type": "integer", "description": "minimum: 2"},
    }


def test_open_keys_beside_named_ones_are_left_unasked() -> None:
    class Loose(BaseModel, extra="allow"):
        a: int

    schema = read(Loose)

    assert schema.wire == {
        "title": "Loose",
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert schema.judge('{"a": 1, "b": 2}') == (1,)
    assert read(Loose.model_json_schema()).full == {
        **(schema.full or {}),
        "properties": {"a": {"title": "A", "type": "integer"}},
    }


_LEAVES = st.sampled_from(
    [
        {"type": ["string", "null"], "default": None},
        {"oneOf": [{"const": 1}, {"const": 2}]},
        {"allOf": [{"type": "integer"}, {"minimum": 0}]},
        {"enum": ["a", None, "a"]},
        {"$ref": "#/$defs/word"},
    ]
)


@given(st.lists(_LEAVES, min_size=1, max_size=4))
def test_what_is_in_our_spelling_stays_as_it_is(leaves: list[dict[str, Any]]) -> None:
    parts = {f"f{number}": {"type": "array", "items": leaf} for number, leaf in enumerate(leaves)}
    once = spelled({"properties": parts, "$defs": {"word": {"type": "string", "format": "date"}}})

    assert spelled(once) == once
