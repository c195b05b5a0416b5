"""Prompt functions: the row they get, what is noted of it, and what goes wrong inside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from dfbatch.errors import PromptError, UnknownColumn
from dfbatch.prompts.callables import Function
from dfbatch.prompts.naming import Names
from dfbatch.prompts.templates import Places

BLOCK: dict[str, list[Any]] = {"text": ["a", "b"], "n": [1, None], "tags": [["x"], ["y"]], "old": ["p", "q"]}
NAMES = Names(tuple(BLOCK), replaced=frozenset({"old"}))

Row = Mapping[str, Any]


def run(call: Callable[[Row], Any]) -> tuple[list[Any], set[str]]:
    function = Function(call, NAMES)
    return function.render(BLOCK, Places([17, 18])), function.reads


def test_what_is_read_is_noted_over_all_rows() -> None:
    contents, reads = run(lambda row: f"{row['text']}{row['n']}" if row["text"] == "b" else row.get("text"))

    assert contents == ["a", "bNone"]
    assert reads == {"text", "n"}


@pytest.mark.parametrize(
    "everything",
    [
        lambda row: "".join(map(str, row)),
        lambda row: str(list(row.values())),
        lambda row: str(list(row.items())),
        lambda row: "{text}{n}{tags}".format(**row),
        lambda row: str(dict(row)),
        repr,
    ],
)
def test_looking_at_the_whole_row_reads_all_columns_but_those_replaced(everything: Callable[[Row], str]) -> None:
    assert run(everything)[1] == {"text", "n", "tags"}


def test_asking_for_the_shape_of_a_row_reads_nothing() -> None:
    contents, reads = run(lambda row: f"{len(row)} {'text' in row} {'old' in row} {row.get('old', 'none')}")

    assert contents == ["3 True False none"] * 2
    assert reads == set()


def test_a_row_cannot_be_written_and_its_lists_are_copies() -> None:
    def meddle(row: Row) -> str:
        row["tags"].append("z")
        with pytest.raises(TypeError):
            row["text"] = "changed"  # type: ignore[index]  # the point of the test
        return str(row["tags"])

    assert run(meddle)[0] == ["['x']", "['y']"]
    assert BLOCK["tags"] == [["x"], ["y"]]


def test_one_list_handed_out_for_every_row_keeps_what_each_row_said() -> None:
    shared: list[dict[str, Any]] = [{"role": "user", "content": ""}]

    def reuse(row: Row) -> list[dict[str, Any]]:
        shared[0]["content"] = row["text"]
        return shared

    assert run(reuse)[0] == [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]]


def test_text_blocks_messages_and_none_may_be_returned() -> None:
    answers = {"a": [{"type": "text", "text": "{a}"}], "b": None}

    assert run(lambda row: answers[row["text"]])[0] == [[{"type": "text", "text": "{a}"}], None]


def test_lone_surrogates_in_returned_text_are_replaced() -> None:
    assert run(lambda row: row["text"] + "\ud800")[0] == ["a\ufffd", "b\ufffd"]


def test_an_unknown_column_names_the_near_miss_and_the_row() -> None:
    with pytest.raises(UnknownColumn) as caught:
        run(lambda row: row["txt"])

    assert (
        str(caught.value)
        == "no column 'txt' in the row (row 17)\ncolumns: text, n, tags\nHint: did you mean row['text']?"
    )


def test_a_column_that_this_call_replaces_is_not_seen_and_said_so() -> None:
    with pytest.raises(UnknownColumn) as caught:
        run(lambda row: row["old"])

    assert "Hint: this call replaces that column, so its prompts do not see it" in str(caught.value)


def test_an_exception_inside_is_wrapped_with_row_and_function() -> None:
    with pytest.raises(PromptError) as caught:
        run(lambda row: 1 / (row["n"] - 1))

    assert str(caught.value).startswith("the prompt function raised ZeroDivisionError: division by zero (row 17)\n")
    assert "test_callables.py:" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_result_of_another_type_names_row_and_type() -> None:
    with pytest.raises(PromptError, match=r"or None, got int \(row 18\)"):
        run(lambda row: row["text"] if row["n"] else 5)


def ask(row: Row, greeting: str = "") -> str:
    return greeting + str(row["text"])


def test_the_source_names_module_function_and_line_but_no_folder() -> None:
    line = ask.__code__.co_firstlineno

    assert f"{__name__}.ask (test_callables.py:{line})" == Function(ask, NAMES).source
    assert f"{__name__}.ask (test_callables.py:{line})" == Function(partial(ask, greeting="hi "), NAMES).source


def test_an_object_with_call_is_a_function_too() -> None:
    class Asker:
        def __call__(self, row: Row) -> str:
            return str(row["text"])

    assert Function(Asker(), NAMES).source.endswith("Asker")
    assert run(Asker())[0] == ["a", "b"]
