from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from dfbatch.schemas import Invalid, Schema, read
from dfbatch.schemas.repairs import repaired


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


def test_a_whole_float_is_an_int_wherever_one_is_due() -> None:
    assert read(list[int]).judge('{"answer": [5.0, 1e2]}') == ([5, 100],)
    assert read(Literal[1, 2]).judge('{"answer": 2.0}') == (2,)


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


def test_what_needs_no_mending_is_the_very_same_value() -> None:
    value = {"a": ["x", 1.5], "b": None}
    node = {"type": "object", "properties": {"a": {"type": "array", "items": {"enum": ["x"]}}}, "required": ["a"]}

    assert repaired(value, node) is value
