from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from dfbatch.schemas import Invalid, Schema, from_ledger, read


class Inner(BaseModel):
    label: Literal["Good", "Bad"]


class Flat(BaseModel):
    topic: Literal["sport", "tech"]
    score: int = Field(ge=1, le=5)
    word: str = Field(max_length=4, pattern="^[a-z]+$")
    inners: list[Inner] = Field(default=[], max_length=2)


GOOD: dict[str, Any] = {"topic": "tech", "score": 3, "word": "abc", "inners": [{"label": "Bad"}]}


def _invalid(schema: Schema, answer: Any) -> str:
    with pytest.raises(Invalid) as caught:
        schema.judge(answer if isinstance(answer, str) else json.dumps(answer))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"topic": "art"}, "expected 'sport' or 'tech', got 'art' - at $.topic"),
        ({"score": "5"}, "expected int, got str - at $.score"),
        ({"score": 2.5}, "expected int, got float - at $.score"),
        ({"score": True}, "expected int, got bool - at $.score"),
        ({"score": None}, "expected int, got null - at $.score"),
        ({"score": 6}, "expected <= 5, got 6 - at $.score"),
        ({"word": "abcde"}, "expected at most 4 characters, got 'abcde' - at $.word"),
        ({"word": "A"}, "expected to match '^[a-z]+$', got 'A' - at $.word"),
        ({"inners": {}}, "expected list, got object - at $.inners"),
        ({"inners": [{"label": "Good"}, 3]}, "expected object, got int - at $.inners[1]"),
        (
            {"inners": [{"label": "Bad"}] * 3},
            "expected at most 2 items, got [{'label': 'Bad'}, {'label': 'Bad'}, {'label': 'Bad'}] - at $.inners",
        ),
        ({"inners": [{}]}, "required field missing - at $.inners[0].label"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(change: dict[str, Any], text: str) -> None:
    schema = read(Flat)

    assert _invalid(schema, GOOD | change) == text
    assert _invalid(from_ledger(schema.full or {}, "object"), GOOD | change) == text


def test_the_parts_of_an_invalid_answer_are_at_hand() -> None:
    with pytest.raises(Invalid) as caught:
        read(Flat).judge(json.dumps(GOOD | {"score": "5"}))

    assert (caught.value.path, caught.value.reason) == ("$.score", "expected int, got str")


@pytest.mark.parametrize("text", ["", "{", "yes", '{"topic": "tech"', '```json\n{"topic": "tech"}\n```'])
def test_what_is_not_json_is_invalid_at_the_root(text: str) -> None:
    assert _invalid(read(Flat), text).startswith("not JSON: ")
    assert _invalid(read(Flat), text).endswith(" - at $")


def test_numbers_that_are_not_json_are_invalid() -> None:
    assert _invalid(read(float), '{"answer": NaN}') == "expected finite float, got nan - at $.answer"
    assert _invalid(read(float), '{"answer": 1e999}') == "expected finite float, got inf - at $.answer"


def test_null_is_written_as_json_writes_it() -> None:
    assert _invalid(read(Flat), GOOD | {"topic": None}) == "expected 'sport' or 'tech', got null - at $.topic"


@pytest.mark.parametrize(
    ("kind", "answer", "text"),
    [
        (dt.date, "2024-01-02T10:00:00", "expected date, got '2024-01-02T10:00:00' - at $.answer"),
        (dt.datetime, "2024-01-02", "expected datetime, got '2024-01-02' - at $.answer"),
        (dt.time, "25:00:00", "expected a valid time, got '25:00:00' - at $.answer"),
        (dt.timedelta, "soon", "expected a valid duration, got 'soon' - at $.answer"),
        (uuid.UUID, "1", "expected a valid uuid, got '1' - at $.answer"),
    ],
)
def test_the_users_class_and_the_ledger_say_the_same(kind: Any, answer: str, text: str) -> None:
    schema = read(kind)

    assert _invalid(schema, {"answer": answer}) == text
    assert _invalid(from_ledger(schema.full or {}, "scalar"), {"answer": answer}) == text
