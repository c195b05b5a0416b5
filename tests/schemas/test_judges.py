from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, RootModel, field_validator, model_validator

from dfbatch.schemas import Invalid, Schema, read


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


def test_white_space_around_an_answer_does_no_harm() -> None:
    assert read(Literal["a"]).judge(b'\n\n  {"answer": "a"} \r\n') == ("a",)


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


@dataclasses.dataclass
class Point:
    x: int
    note: str | None = None
    tags: list[str] = dataclasses.field(default_factory=list)


def test_a_default_list_is_not_shared_between_rows() -> None:
    schema = read(Point)
    schema.judge('{"x": 1}')[2].append("mine")

    assert schema.judge('{"x": 2}') == (2, None, [])


class Loud(RootModel[str]):
    @field_validator("root")
    @classmethod
    def louder(cls, root: str) -> str:
        return root.upper()


class Said(BaseModel):
    word: Loud


def test_a_root_model_is_the_value_it_holds() -> None:
    assert read(Loud).judge('{"answer": "x"}') == ("X",)
    assert read(Said).judge('{"word": "x"}') == ("X",)
    assert read(Said).objects('{"word": "x"}') == Said(word=Loud("X"))
