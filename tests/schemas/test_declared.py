from __future__ import annotations

import dataclasses
import decimal
import enum
import sys
import typing
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from pydantic import BaseModel, Field

from dfbatch.errors import SchemaError
from dfbatch.kinds import TEXT, Kind
from dfbatch.schemas import Invalid, read


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 2


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


class Raw(BaseModel):
    blob: bytes


class Holder(BaseModel):
    tags: list[set[str]]


class Pair(BaseModel):
    pair: tuple[int, str]


class Money(BaseModel):
    price: decimal.Decimal


class Call(BaseModel):
    back: typing.Callable[[int], int]


class Unfinished(BaseModel):
    part: Missing  # type: ignore[name-defined]  # noqa: F821  # the point of the test


def _refused(schema: Any) -> str:
    with pytest.raises(SchemaError) as caught:
        read(schema)
    return str(caught.value)


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


def _prompt(row: Any) -> str:
    return str(row)


class Labelled(BaseModel):
    colour: Literal[Colour.RED]


class Plain:
    pass


class Uninstalled:
    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise ImportError("email-validator is not installed, run `pip install 'pydantic[email]'`")


@pytest.mark.parametrize(
    ("schema", "text", "hint"),
    [
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
            Unfinished,
            "the name 'Missing' in Unfinished is not defined",
            "define it before the call, at the top of the module or in a cell",
        ),
        ({"a"}, "expected a schema, got a value: {'a'}", "labels have an order: pass them in a list"),
        (Point(1), "expected a schema, got a value: Point(x=1, note=None, tags=[])", "pass the class"),
        (_prompt, "expected a schema, got a value: _prompt", "the prompt is the first argument, the schema the second"),
        (Labelled, "Literal[Colour.RED] cannot be asked for - at $.colour", "make Colour a StrEnum or an IntEnum"),
        (Uninstalled, "Uninstalled cannot be a schema", "install it, or use str"),
        (Plain, "Plain cannot be a schema", "use types that JSON can hold"),
    ],
)
def test_a_type_that_has_no_place_in_an_answer_is_refused_with_a_way_out(
    schema: Any, text: str | None, hint: str | None
) -> None:
    lines = _refused(schema).split("\n")

    assert lines[0] == (text or lines[0])
    assert lines[-1] == (f"Hint: {hint}" if hint else lines[-1])
    assert lines[-1].startswith("Hint: ")


def test_a_missing_package_is_named() -> None:
    assert (
        _refused(Uninstalled).split("\n")[1] == "email-validator is not installed, run `pip install 'pydantic[email]'`"
    )


class Level(enum.StrEnum):
    LOW = "low"
    HIGH = "high"


class Mild(BaseModel):
    level: Literal[Level.LOW]
    rank: Literal[Rank.LOW] = Rank.LOW


class Wild(BaseModel):
    level: Literal[Level.HIGH]
    why: str


def test_members_of_a_str_enum_tell_the_models_of_a_union_apart() -> None:
    schema = read(Annotated[Mild | Wild, Field(discriminator="level")])

    assert schema.judge('{"answer": {"level": "LOW"}}') == ({"level": "low", "rank": 1},)
    assert schema.objects('{"answer": {"level": "high", "why": "w"}}') == Wild(level=Level.HIGH, why="w")


def test_a_forward_reference_is_to_the_users_class_not_to_ours() -> None:
    class Kind(BaseModel):
        ours: bool

    assert [name for name, _ in (read(list["Kind"]).fields[0][1].inner or TEXT).fields] == ["ours"]
    assert read(list["Kind"]).objects('{"answer": [{"ours": false}]}') == [Kind(ours=False)]


def test_a_typed_dict_is_read_inside_annotated_and_optional_types() -> None:
    schema = read(Annotated[list[Record], Field(min_length=1)] | None)

    assert schema.judge('{"answer": [{"id": 1, "inner": {}}]}') == (
        [{"id": 1, "inner": {"name": None}, "extra": None}],
    )
    with pytest.raises(Invalid, match=r"^expected at least 1 item, got \[\] - at \$\.answer$"):
        schema.judge('{"answer": []}')


@dataclasses.dataclass
class Holding:
    record: Record


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes typing.TypedDict there")
def test_a_typed_dict_that_pydantic_meets_first_is_refused_with_the_import_it_wants() -> None:
    lines = _refused(Holding).split("\n")

    assert lines[0] == "Holding cannot be a schema"
    assert lines[-1] == "Hint: import TypedDict from typing_extensions"


@pytest.mark.parametrize("given", [["neg", "pos", "neither"], ("neg", "pos"), ["one"], [3, 1, 2]])
def test_labels_in_a_list_are_their_literal(given: Any) -> None:
    assert read(given) == read(Literal[tuple(given)])


@pytest.mark.parametrize(
    ("given", "text", "hint"),
    [
        ([], "schema=[] holds no label", 'schema=["good", "bad"], or Literal["good", "bad"]'),
        ((), "schema=() holds no label", 'schema=["good", "bad"], or Literal["good", "bad"]'),
        (["a", "b", "a"], "the label 'a' is there twice - at schema[2]", "name each label once"),
        (["a", " "], "an empty label - at schema[1]", "name it: what is it that such a row is?"),
        (["a", 1], "texts and numbers are mixed: ['a', 1]", "write all labels as texts"),
        (
            [True, False],
            "a label is a text or a whole number, got bool True - at schema[0]",
            'schema=["good", "bad"], or Literal["good", "bad"]',
        ),
        (
            ["a", None],
            "a label is a text or a whole number, got NoneType None - at schema[1]",
            'schema=["good", "bad"], or Literal["good", "bad"]',
        ),
        (
            [str],
            "schema=[<class 'str'>] holds a type, not labels - at schema[0]",
            "list[str] asks for a list of them, str for one",
        ),
    ],
    ids=str,
)
def test_what_is_no_list_of_labels_is_refused_in_words(given: Any, text: str, hint: str) -> None:
    with pytest.raises(SchemaError) as caught:
        read(given)

    assert str(caught.value) == f"{text}\nHint: {hint}"
