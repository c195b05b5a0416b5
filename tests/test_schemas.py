from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import typing
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from dfbatch.errors import SchemaError
from dfbatch.kinds import Kind
from dfbatch.schemas import MAX_OPTIONAL, MAX_UNIONS, from_ledger, read


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 2


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


@dataclasses.dataclass
class Point:
    x: int
    note: str | None = None
    tags: list[str] = dataclasses.field(default_factory=list)


class Nested(TypedDict, total=False):
    name: str


class Record(TypedDict):
    id: int
    inner: Nested
    extra: NotRequired[str]


class Empty(BaseModel):
    pass


class Tree(BaseModel):
    children: list[Tree] = []


class Open(BaseModel):
    by_name: dict[str, int]


class Anything(BaseModel):
    value: Any


class Holder(BaseModel):
    tags: list[set[str]]


class Raw(BaseModel):
    blob: bytes


class Pair(BaseModel):
    pair: tuple[int, str]


class Money(BaseModel):
    price: decimal.Decimal


class Call(BaseModel):
    back: typing.Callable[[int], int]


class Mixed(enum.Enum):
    A = "a"
    B = 1


class Complex(enum.Enum):
    A = (1, 2)


class Wrong(BaseModel):
    label: Literal["a"] = typing.cast("Any", "b")


class Unfinished(BaseModel):
    part: Missing  # type: ignore[name-defined]  # noqa: F821  # the point of the test


def test_none_is_plain_text() -> None:
    schema = read(None)

    assert (schema.shape, schema.wire, schema.full) == ("text", None, None)
    assert schema.fields == (("answer", Kind("str")),)
    assert schema.judge(b"hello") == ("hello",)
    assert schema.objects("hello") == "hello"


def test_a_model_becomes_columns_in_declared_order() -> None:
    part = Kind("struct", fields=(("label", Kind("category", ("a", "b"))), ("when", Kind("datetime"))))

    assert read(Review).fields == (
        ("topic", Kind("category", ("sport", "tech"))),
        ("score", Kind("int")),
        ("weight", Kind("float")),
        ("colour", Kind("category", ("red", "blue"))),
        ("parts", Kind("list", inner=part)),
        ("day", Kind("date")),
        ("either", Kind("json")),
        ("good", Kind("bool")),
    )


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


def test_a_datetime_is_aware_and_in_utc() -> None:
    schema = read(dt.datetime)
    moment = dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC)

    assert schema.judge('{"answer": "2024-01-02T05:04:00+02:00"}') == (moment,)
    assert schema.judge('{"answer": "2024-01-02T03:04:00"}')[0].tzinfo is dt.UTC


def test_a_dataclass_gives_plain_values_and_objects() -> None:
    schema = read(Point)

    assert schema.judge('{"x": 1}') == (1, None, [])
    assert schema.objects('{"x": 1, "note": "n", "tags": ["t"]}') == Point(1, "n", ["t"])


def test_a_default_list_is_not_shared_between_rows() -> None:
    schema = read(Point)
    schema.judge('{"x": 1}')[2].append("mine")

    assert schema.judge('{"x": 2}') == (2, None, [])


def test_a_typed_dict_of_the_standard_library_is_read_nested_ones_too() -> None:
    schema = read(Record)

    assert schema.fields == (
        ("id", Kind("int")),
        ("inner", Kind("struct", fields=(("name", Kind("str")),))),
        ("extra", Kind("str")),
    )
    assert schema.judge('{"id": 1, "inner": {}}') == (1, {"name": None}, None)


def test_classes_made_inside_a_function_are_read() -> None:
    @dataclasses.dataclass
    class Outer:
        inner: Inner

    class Inner(BaseModel):
        colour: Colour

    class Typed(TypedDict):
        inner: NotRequired[list[Inner]]

    inner = Kind("struct", fields=(("colour", Kind("category", ("red", "blue"))),))

    assert read(Outer).fields == (("inner", inner),)
    assert read(Typed).fields == (("inner", Kind("list", inner=inner)),)


def test_an_alias_is_the_name_on_the_wire_and_of_the_column() -> None:
    class Aliased(BaseModel):
        kind_: str = Field(alias="class")

    schema = read(Aliased)

    assert schema.fields == (("class", Kind("str")),)
    assert schema.judge('{"class": "x"}') == ("x",)


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


def _refused(schema: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        read(schema)
    return str(caught.value)


_TYPE = "say which type it has: str, int, float, bool, a Literal, a list or a model"
_PAIRS = "use a list of objects with the fields key and value, or name the keys as fields"
_LESS = 'fewer optional fields, or a sentinel value such as "" or -1 instead of None'


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
        (_model(25, int, 3), "25 optional fields, and the API takes 24 a request - at $", _LESS),
        (_model(17, int | None, ...), "17 unions, and the API takes 16 a request - at $", _LESS),
        (Empty, "the schema has no fields - at $", "declare at least one field"),
        (list[Empty], "the schema has no fields - at $[...]", "declare at least one field"),
        ({}, "the schema is empty: it asks for nothing - at $", _TYPE),
        (Complex, "labels must be strings, numbers or booleans - at $", "use plain values"),
        (Mixed, "labels of mixed types (int and str) cannot share a column - at $", "use strings for all"),
        (Literal["a", 1], "labels of mixed types (int and str) cannot share a column - at $", "use strings for all"),
        (Raw, "bytes cannot be asked for - at $.blob", "use str"),
        (Holder, "a set cannot be asked for - at $.tags[...]", "use list[...]"),
        (
            Pair,
            "a tuple of fixed length (prefixItems) is not in the API's schema subset - at $.pair",
            "use list[...], or a model with a field for each",
        ),
        (Money, "a Decimal cannot be asked for - at $.price", "use float, or str to keep every digit"),
        (Call, "a type outside JSON cannot be asked for - at $.back", "use str, numbers, lists or models"),
        (
            Wrong,
            "the default 'b' does not fit: expected 'a', got 'b' - at $.label",
            "use a default that an answer could also hold, or None",
        ),
        (
            Unfinished,
            "the name 'Missing' in Unfinished is not defined",
            "define it before the call, at the top of the module or in a cell",
        ),
        ({"type": "string", "pattern": "("}, None, "correct the pattern"),
        ({"type": "object", "properties": 3}, "properties is 3, which it cannot be - at $", None),
        ({"type": "string", "minLength": "3"}, "minLength is '3', which it cannot be - at $", None),
        ({"type": "strin"}, "type 'strin' cannot be asked for - at $", _TYPE),
        (["a", "b"], "expected a schema, got a value: ['a', 'b']", "Literal['a', 'b']?"),
        (Point(1), "expected a schema, got a value: Point(x=1, note=None, tags=[])", "pass the class"),
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


def test_type_names_are_short() -> None:
    assert [
        read(one).type_name
        for one in (None, Review, list[int], {"type": "object", "properties": {"a": {"type": "null"}}})
    ] == [
        "text",
        "Review",
        "list[int]",
        "{a: json}",
    ]


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

    for node in _nodes(wire):
        assert node.keys() <= _API
        assert node.get("type") != "object" or node["additionalProperties"] is False


@given(_SCHEMAS)
def test_the_ledger_gives_back_the_same_schema(raw: dict[str, Any]) -> None:
    schema = read(raw)

    assert from_ledger(json.loads(json.dumps(schema.full)), schema.shape) == schema
    assert from_ledger(None, "text") == read(None)


def test_the_ledger_judges_as_the_class_does() -> None:
    schema = read(Review)
    kept = from_ledger(json.loads(json.dumps(schema.full)), schema.shape)
    text = json.dumps(
        {
            "topic": "Sport",
            "score": 3.0,
            "weight": 1,
            "parts": [{"label": "A", "when": "2024-01-02T03:04:05Z"}],
            "day": "2024-01-02",
            "either": "text",
            "good": True,
        }
    )

    assert kept.judge(text) == schema.judge(text)
    assert isinstance(schema.objects(text), Review)
    assert kept.objects(text)["topic"] == "sport"
