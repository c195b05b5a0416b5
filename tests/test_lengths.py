"""An answer that fits a bounded schema is never longer than is told; where nothing bounds it, nothing is told."""

from __future__ import annotations

import json
from datetime import date
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from dfbatch import schemas
from dfbatch.lengths import tokens


class Mood(Enum):
    """Of a text."""

    GLAD = "glad"
    ANGRY = 'very, very angry: "no!"'


class Bounded(BaseModel):
    topic: Literal["sport", "entertainment"]
    mood: Mood | None
    good: bool
    stars: int
    day: date


def test_the_longest_answer_of_a_bounded_schema_fits_indented_too() -> None:
    most = tokens(schemas.read(Bounded).full)
    longest = {
        "topic": "entertainment",
        "mood": Mood.ANGRY.value,
        "good": False,
        "stars": -1_000_000_000_000,
        "day": "2026-11-22",
    }

    assert most is not None
    assert len(json.dumps(longest, indent=2)) <= most < 400


@pytest.mark.parametrize("schema", [Literal["a", "b"], bool, int, Mood])
def test_labels_flags_and_numbers_are_bounded(schema: Any) -> None:
    assert (tokens(schemas.read(schema).full) or 0) > 16


@pytest.mark.parametrize("schema", [None, str, list[int]])
def test_texts_and_lists_are_not(schema: Any) -> None:
    assert tokens(schemas.read(schema).full) is None


def test_what_refers_to_itself_is_not() -> None:
    tree = {"type": "object", "properties": {"good": {"type": "boolean"}, "left": {"$ref": "#/$defs/Tree"}}}

    assert tokens({"$ref": "#/$defs/Tree", "$defs": {"Tree": tree}}) is None
