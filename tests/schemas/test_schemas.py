from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
from typing import Annotated, Any, Literal, NotRequired, Optional, TypedDict

import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from pydantic_core import to_json

from dfbatch.emulator.params.schemas import problem
from dfbatch.kinds import Kind
from dfbatch.schemas import Invalid, from_ledger, read
from dfbatch.schemas.judges import named


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


@dataclasses.dataclass
class Point:
    x: int
    note: str | None = None
    tags: list[str] = dataclasses.field(default_factory=list)


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


def test_a_dataclass_gives_plain_values_and_objects() -> None:
    schema = read(Point)

    assert schema.judge('{"x": 1}') == (1, None, [])
    assert schema.objects('{"x": 1, "note": "n", "tags": ["t"]}') == Point(1, "n", ["t"])


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


class Mood(enum.StrEnum):
    GOOD = "Good"
    BAD = "Bad"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Stay(TypedDict):
    city: str
    nights: NotRequired[int]
    note: NotRequired[Literal["x", "y"] | None]


class Later(typing_extensions.TypedDict):
    day: dt.date
    why: typing_extensions.NotRequired[str]


def _real() -> Any:
    """What a notebook holds: everything made inside a function, under postponed annotations."""

    class Passage(BaseModel):
        label: Literal["a", "b"]
        mood: Mood = Mood.GOOD

    @dataclasses.dataclass
    class Place:
        name: str
        rank: Rank = Rank.LOW
        tags: list[str] = dataclasses.field(default_factory=list)
        since: dt.date = dt.date(2020, 1, 1)

    class Article(BaseModel):
        """An article, read closely."""

        topics: list[Literal["sport", "tech"]]
        colour: Optional[Colour] = None  # noqa: UP045  # as many write it
        passages: list[Passage]
        score: int = Field(ge=1, le=5, description="how good")
        code: Annotated[str, Field(pattern="^[A-Z]+$")]
        side: Literal["a", "b"] | None
        mood: Mood
        rank: Rank
        day: dt.date
        when: dt.datetime
        place: Place | None = None
        later: Later
        weight: float = 1

    return Article


ARTICLE: dict[str, Any] = {
    "topics": ["sport", "Tech"],
    "colour": "RED",
    "passages": [{"label": "A"}, {"label": "b", "mood": "BAD"}],
    "score": 3.0,
    "code": "AB",
    "side": None,
    "mood": "good",
    "rank": 2.0,
    "day": "2024-01-02",
    "when": "2024-01-02T03:04:05+02:00",
    "place": {"name": "Rome", "rank": 2},
    "later": {"day": "2024-01-03"},
}
REAL: list[tuple[Any, Any, Any, Any, str]] = [  # a schema, an answer, its first value, one that does not fit, why
    (_real(), ARTICLE, ["sport", "tech"], ARTICLE | {"score": 6}, "expected <= 5, got 6 - at $.score"),
    (
        list[_real()],  # type: ignore[misc]  # known at run time
        [ARTICLE],
        [
            {
                "topics": ["sport", "tech"],
                "colour": "red",
                "passages": [{"label": "a", "mood": "Good"}, {"label": "b", "mood": "Bad"}],
                "score": 3,
                "code": "AB",
                "side": None,
                "mood": "Good",
                "rank": 2,
                "day": dt.date(2024, 1, 2),
                "when": dt.datetime(2024, 1, 2, 1, 4, 5, tzinfo=dt.UTC),
                "place": {"name": "Rome", "rank": 2, "tags": [], "since": dt.date(2020, 1, 1)},
                "later": {"day": dt.date(2024, 1, 3), "why": None},
                "weight": 1.0,
            }
        ],
        [ARTICLE | {"code": "ab"}],
        "expected to match '^[A-Z]+$', got 'ab' - at $.answer[0].code",
    ),
    (list[Literal["a", "b"]], ["A", "b"], ["a", "b"], ["c"], "expected 'a' or 'b', got 'c' - at $.answer[0]"),
    (Colour | None, None, None, "pink", "expected 'red' or 'blue', got 'pink' - at $.answer"),
    (Literal["a", "b"] | None, "B", "b", 3, "expected 'a' or 'b', got 3 - at $.answer"),
    (Mood, "GOOD", "Good", "so", "expected 'Good' or 'Bad', got 'so' - at $.answer"),
    (Rank, 2.0, 2, 3, "expected 1 or 2, got 3 - at $.answer"),
    (Annotated[int, Field(ge=1, le=5, description="stars")], 5, 5, 0, "expected >= 1, got 0 - at $.answer"),
    (Annotated[str, Field(pattern="^a+$")], "aa", "aa", "b", "expected to match '^a+$', got 'b' - at $.answer"),
    (dt.date, "2024-01-02", dt.date(2024, 1, 2), 5, "expected date, got int - at $.answer"),
    (
        dt.datetime,
        "2024-01-02T03:04:05",
        dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "2024-01-02",
        "expected datetime, got '2024-01-02' - at $.answer",
    ),
    (Point, {"x": 1}, 1, {"x": 1, "tags": [2]}, "expected str, got int - at $.tags[0]"),
    (Stay, {"city": "Rome"}, "Rome", {"city": "Rome", "nights": None}, "expected int, got null - at $.nights"),
]


@pytest.mark.parametrize(("declared", "answer", "first", "bad", "why"), REAL)
def test_class_ledger_and_objects_agree_and_the_api_takes_the_wire(
    declared: Any, answer: Any, first: Any, bad: Any, why: str
) -> None:
    schema = read(declared)
    kept = from_ledger(json.loads(json.dumps(schema.full)), schema.shape)
    good, wrong = (json.dumps(one if schema.shape == "object" else {"answer": one}) for one in (answer, bad))
    again = named(schema.objects(good))

    assert schema.judge(good)[0] == first
    assert kept.judge(good) == schema.judge(good)
    assert kept.judge(to_json(again if schema.shape == "object" else {"answer": again})) == schema.judge(good)
    assert [_told(judge, wrong) for judge in (schema.judge, schema.objects, kept.judge, kept.objects)] == [why] * 4
    assert kept == schema
    assert problem(schema.wire, "$") == ""


def _told(judge: Any, text: str) -> str:
    with pytest.raises(Invalid) as caught:
        judge(text)
    return str(caught.value)
