from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator, model_validator

from dfbatch.schemas import Invalid, Schema, from_ledger, read


class Inner(BaseModel):
    label: Literal["Good", "Bad"]


class Flat(BaseModel):
    topic: Literal["sport", "tech"]
    score: int = Field(ge=1, le=5)
    word: str = Field(max_length=4, pattern="^[a-z]+$")
    inners: list[Inner] = Field(default=[], max_length=2)


GOOD: dict[str, Any] = {"topic": "tech", "score": 3, "word": "abc", "inners": [{"label": "Bad"}]}


class Careful(BaseModel):
    name: str = Field(validation_alias="who")
    low: int
    high: int

    @field_validator("name")
    @classmethod
    def tidy(cls, name: str) -> str:
        return name.strip().lower()

    @model_validator(mode="after")
    def ordered(self) -> Careful:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


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


def test_white_space_around_an_answer_does_no_harm() -> None:
    assert read(Literal["a"]).judge(b'\n\n  {"answer": "a"} \r\n') == ("a",)


def test_a_whole_float_is_an_int_wherever_one_is_due() -> None:
    assert read(list[int]).judge('{"answer": [5.0, 1e2]}') == ([5, 100],)
    assert read(Literal[1, 2]).judge('{"answer": 2.0}') == (2,)


def test_an_int_wider_than_its_column_is_invalid() -> None:
    assert _invalid(read(int), {"answer": 2**63}).startswith("expected <= 9223372036854775807, got 9223372036854775808")


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


def test_numbers_that_are_not_json_are_invalid() -> None:
    assert _invalid(read(float), '{"answer": NaN}') == "expected finite float, got nan - at $.answer"
    assert _invalid(read(float), '{"answer": 1e999}') == "expected finite float, got inf - at $.answer"


def test_unknown_fields_are_ignored_unless_the_schema_forbids_them() -> None:
    closed: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}

    assert read({**closed, "additionalProperties": None}).judge('{"a": 1, "b": 2}') == (1,)
    assert _invalid(read(closed), {"a": 1, "b": 2}) == "unknown field - at $.b"


def test_capitals_are_mended_nested_and_in_lists() -> None:
    answer = GOOD | {"topic": "TECH", "inners": [{"label": "gOOD"}, {"label": "Bad"}]}

    assert read(Flat).judge(json.dumps(answer))[0] == "tech"
    assert read(Flat).judge(json.dumps(answer))[3] == [{"label": "Good"}, {"label": "Bad"}]
    assert read(Flat).objects(json.dumps(answer)).inners[0] == Inner(label="Good")


def test_capitals_are_not_mended_where_two_labels_would_do() -> None:
    schema = read(Literal["US", "us", "uk"])

    assert schema.judge('{"answer": "us"}') == ("us",)
    assert schema.judge('{"answer": "UK"}') == ("uk",)
    assert _invalid(schema, {"answer": "Us"}) == "expected 'US', 'us' or 'uk', got 'Us' - at $.answer"


class Cat(BaseModel):
    kind: Literal["cat"]
    mood: Literal["A", "B"]


class Dog(BaseModel):
    kind: Literal["dog"]
    mood: Literal["a", "b"]


def test_capitals_are_mended_in_the_branch_of_a_union_that_then_fits() -> None:
    schema = read(Annotated[Cat | Dog, Field(discriminator="kind")])

    assert schema.judge('{"answer": {"kind": "DOG", "mood": "A"}}') == ({"kind": "dog", "mood": "a"},)
    assert schema.judge('{"answer": {"kind": "Cat", "mood": "A"}}') == ({"kind": "cat", "mood": "A"},)


@given(
    st.sampled_from(["sport", "Straße", "Économie"]), st.sampled_from([str.upper, str.lower, str.title, str.swapcase])
)
def test_any_change_of_capitals_gives_the_declared_label(label: str, change: Any) -> None:
    schema = read(Literal["sport", "Straße", "Économie"])

    assert schema.judge(json.dumps({"answer": change(label)})) == (label,)


def test_validators_of_the_users_class_run_and_may_change_values() -> None:
    schema = read(Careful)

    assert schema.judge('{"who": " Ann ", "low": 1, "high": 2.0}') == ("ann", 1, 2)
    assert schema.objects('{"who": "Ann", "low": 1, "high": 2}').name == "ann"
    assert _invalid(schema, {"who": "a", "low": 3, "high": 2}) == "low is above high - at $"


def test_validators_run_inside_lists_too() -> None:
    schema = read(list[Careful])

    assert schema.judge('{"answer": [{"who": "ANN", "low": 1, "high": 2}]}') == ([{"who": "ann", "low": 1, "high": 2}],)


def test_what_a_validator_returns_still_has_to_fit_the_column() -> None:
    class Sly(BaseModel):
        label: Literal["a", "b"]

        @field_validator("label", mode="after")
        @classmethod
        def other(cls, _label: str) -> str:
            return "elsewhere"

    assert _invalid(read(Sly), {"label": "a"}) == "expected 'a' or 'b', got 'elsewhere' - at $.label"


@given(st.text(), st.integers(1, 5), st.sampled_from(["sport", "tech"]))
def test_what_fits_comes_back_unchanged(text: str, score: int, topic: str) -> None:
    class Answer(BaseModel):
        text: str
        score: int
        topic: Literal["sport", "tech"]

    assert read(Answer).judge(json.dumps({"text": text, "score": score, "topic": topic})) == (text, score, topic)
