"""Kinds: written as Python writes types, and equal where they hold the same."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from dfbatch.kinds import TEXT, Kind

TOPIC = Kind("category", categories=("sport", "tech"))


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (TEXT, "str"),
        (Kind("int"), "int"),
        (Kind("float"), "float"),
        (Kind("bool"), "bool"),
        (Kind("date"), "date"),
        (Kind("datetime"), "datetime"),
        (Kind("json"), "json"),
        (TOPIC, "Literal['sport', 'tech']"),
        (Kind("list", inner=Kind("list", inner=TOPIC)), "list[list[Literal['sport', 'tech']]]"),
        (Kind("struct", fields=(("n", Kind("int")), ("tags", Kind("list", inner=TEXT)))), "{n: int, tags: list[str]}"),
    ],
)
def test_a_kind_is_written_as_python_writes_the_type(kind: Kind, written: str) -> None:
    assert repr(kind) == written


def test_kinds_that_hold_the_same_are_equal_and_one_key() -> None:
    again = Kind("category", categories=("sport", "tech"))

    assert again == TOPIC
    assert len({TOPIC, again, Kind("category", categories=("tech", "sport"))}) == 2


def test_a_kind_never_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        TEXT.name = "int"  # type: ignore[misc]  # that it is refused is the test
