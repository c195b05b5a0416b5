"""Prompts: from any form a user writes to the contents of a block of rows, and few-shot examples as turns."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.errors import InputError, NullCell, PromptError, UnknownColumn
from dfbatch.prompts import OnNull, Prompt, Rendered, compile_prompt, example_turns

MESSAGES = [{"role": "user", "content": "Classify {text}"}]


def as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def refusal(prompt: Any, columns: list[str], **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        compile_prompt(prompt, columns, **options)
    return str(caught.value)


# --- compiling


def test_a_template_says_what_it_needs_and_reads_in_frame_order() -> None:
    prompt = compile_prompt("{b} {a} {b}", ["a", "b", "c"])

    assert (prompt.kind, prompt.text) == ("template", "{b} {a} {b}")
    assert (prompt.fields, prompt.reads, prompt.needs) == (("b", "a"), ("a", "b"), ("a", "b"))


def test_row_reads_all_columns_but_those_replaced_and_nulls_are_about_fields_only() -> None:
    prompt = compile_prompt("{b} in {row}", ["a", "b", "topic"], replaced=["topic", "new"])

    assert (prompt.fields, prompt.reads, prompt.needs) == (("b",), ("a", "b"), ("a", "b"))


def test_a_field_that_this_call_replaces_can_be_named() -> None:
    assert compile_prompt("Clean up: {text}", ["text"], replaced=["text"]).reads == ("text",)


def test_messages_are_kept_as_json() -> None:
    prompt = compile_prompt(MESSAGES, ["id", "text"])

    assert (prompt.kind, json.loads(prompt.text)) == ("messages", MESSAGES)
    assert (prompt.fields, prompt.reads, prompt.needs) == (("text",), ("text",), ("text",))


def test_a_function_needs_all_columns_and_reads_what_it_reads() -> None:
    prompt = compile_prompt(lambda row: row["b"], ["a", "b", "old"], replaced={"old"})
    before = prompt.reads
    prompt.render({"a": [1], "b": ["x"]})

    assert (prompt.kind, prompt.fields, prompt.needs) == ("callable", (), ("a", "b"))
    assert (before, prompt.reads) == ((), ("b",))


def test_a_series_is_asked_with_empty_braces_even_if_no_column_is_listed() -> None:
    prompt = compile_prompt("Topic of: {}", [], series="text")

    assert prompt.reads == ("text",)
    assert prompt.render({"text": ["a"]}).contents == ["Topic of: a"]


def test_a_prompt_without_a_column_is_an_error() -> None:
    assert refusal("Write a haiku.", ["text", "n"]) == (
        "the prompt names no column: 'Write a haiku.'\n"
        "columns: text, n\n"
        "Hint: name a column, such as {text}, or pass same_for_all=True if every row is to get the same prompt"
    )
    assert "the prompt names no column" in refusal([{"role": "user", "content": "hi"}], ["text"])


def test_doubled_braces_around_a_column_are_explained() -> None:
    text = refusal("Classify {{ text }}", ["text"])

    assert text.endswith("Hint: {{text}} is an escape and means the text itself: write {text}")


def test_same_for_all_allows_a_prompt_without_a_column() -> None:
    prompt = compile_prompt("Write a haiku.", ["text"], same_for_all=True)

    assert prompt.needs == ()
    assert prompt.render({}, rows=2).contents == ["Write a haiku."] * 2


def test_a_function_that_reads_no_column_is_an_error_once_it_has_been_called() -> None:
    prompt = compile_prompt(lambda _: "Write a haiku.", ["text"])
    prompt.render({"text": []})
    prompt.check_reads()
    prompt.render({"text": ["a"]})
    with pytest.raises(PromptError) as caught:
        prompt.check_reads()

    assert "read no column of its rows\ncolumns: text\nHint: read one, as in row['text'], or" in str(caught.value)


def test_a_function_may_read_no_column_with_same_for_all() -> None:
    prompt = compile_prompt(lambda _: "Write a haiku.", ["text"], same_for_all=True)
    prompt.render({"text": ["a"]})
    prompt.check_reads()

    assert prompt.reads == ()


async def ask_later(row: Any) -> str:
    return str(row["text"])


@pytest.mark.parametrize(
    ("prompt", "got"),
    [(5, "int"), (None, "None"), (dict, "type"), (ask_later, "an async function"), (b"{text}", "bytes")],
)
def test_what_is_no_prompt_is_refused(prompt: Any, got: str) -> None:
    assert refusal(prompt, ["text"]).startswith(
        f"a prompt is a template, a function or a list of messages, got {got}\nHint: write 'Classify: {{text}}'"
    )


# --- rendering


def test_nulls_in_fields_are_skipped_and_the_first_field_is_blamed() -> None:
    prompt = compile_prompt("{b} {a}", ["a", "b"])
    block = {"a": [None, "1", None, "3"], "b": [None, None, "x", "y"]}

    assert prompt.render(block, start=9) == Rendered(
        [None, None, None, "y 3"], ["null in column 'b'", "null in column 'b'", "null in column 'a'", None]
    )


def test_nulls_are_sent_as_empty_when_asked() -> None:
    prompt = compile_prompt("a{x}b", ["x"])

    assert prompt.render({"x": [None, "1"]}, on_null="send") == Rendered(["ab", "a1b"], [None, None])


def test_nulls_raise_with_row_and_column_when_asked() -> None:
    prompt = compile_prompt("{b} {a}", ["a", "b"])
    with pytest.raises(NullCell) as caught:
        prompt.render({"a": ["0", None], "b": ["x", "y"]}, start=40, on_null="raise")

    assert (caught.value.row, caught.value.column) == (41, "a")
    assert str(caught.value) == (
        "null in column 'a' (row 41), and on_null='raise'\n"
        "Hint: on_null='skip' leaves such rows out; on_null='send' sends them with the field empty"
    )


@pytest.mark.parametrize("on_null", ["skip", "send", "raise"])
def test_nulls_of_row_and_functions_are_not_the_business_of_on_null(on_null: OnNull) -> None:
    whole = compile_prompt("{row}", ["a"]).render({"a": [None]}, on_null=on_null)
    called = compile_prompt(lambda row: f"<{row['a']}>", ["a"]).render({"a": [None]}, on_null=on_null)

    assert (whole.contents, called.contents) == (['{"a":null}'], ["<None>"])


@pytest.mark.parametrize("prompt", ["{a}\n", [{"role": "user", "content": " {a}"}], lambda row: row["a"]])
def test_blank_prompts_are_skipped(prompt: Any) -> None:
    rendered = compile_prompt(prompt, ["a"]).render({"a": ["", " \t\n", "x"]})

    assert rendered.why == ["blank prompt", "blank prompt", None]
    assert rendered.contents[:2] == [None, None]
    assert rendered.contents[2] is not None


def test_rows_for_which_a_function_returns_none_are_skipped() -> None:
    rendered = compile_prompt(lambda row: row["a"], ["a"]).render({"a": [None, "x"]})

    assert rendered == Rendered([None, "x"], ["prompt function returned None", None])


def test_errors_name_the_row_of_the_frame_also_behind_skipped_rows() -> None:
    prompt = compile_prompt("{x:.1f}", ["x"])
    with pytest.raises(PromptError, match=r"cannot be written as \{x:\.1f\} \(row 103\)"):
        prompt.render({"x": [None, 1.0, None, "a"]}, start=100)


def test_the_cells_of_the_block_are_left_alone() -> None:
    block = {"a": ["", "x", None]}
    compile_prompt("{a}", ["a"]).render(block)

    assert block == {"a": ["", "x", None]}


@given(st.lists(st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)), max_size=12))
def test_each_row_has_either_a_content_or_a_reason(column: list[str | None]) -> None:
    rendered = compile_prompt("{x}", ["x"]).render({"x": column})

    assert [(cell, None) if cell and cell.strip() else None for cell in column] == [
        (content, why) if why is None else None for content, why in zip(rendered.contents, rendered.why, strict=True)
    ]


@given(st.lists(st.one_of(st.none(), st.integers(), st.text("ab {}", max_size=3)), max_size=12), st.integers(1, 5))
def test_blocks_of_any_size_render_as_the_whole_does(column: list[Any], size: int) -> None:
    prompt = compile_prompt("<{x}>", ["x"])
    parts = [prompt.render({"x": column[at : at + size]}, start=at) for at in range(0, len(column), size)]
    whole = prompt.render({"x": column})

    assert whole.contents == [content for part in parts for content in part.contents]
    assert whole.why == [why for part in parts for why in part.why]


# --- examples


def turns(prompt: Prompt, examples: list[Any]) -> list[dict[str, Any]]:
    return example_turns(prompt, examples, as_json=as_json)


def asked(turn: Any, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": turn}, {"role": "assistant", "content": answer}]


def test_plain_inputs_fill_the_only_field_and_are_never_parsed() -> None:
    prompt = compile_prompt("Topic of {text:>6}", ["id", "text"])

    expected = asked("Topic of  {id}}", "sport") + asked("Topic of      5", '{"a": 1}')
    assert expected == turns(prompt, [(" {id}}", "sport"), [{"text": 5, "id": 1}, {"a": 1}]])


def test_plain_inputs_fill_the_column_of_a_series_whatever_the_prompt() -> None:
    for prompt in ("<{}>", lambda row: f"<{row['text']}>"):
        assert asked("<a>", "b") == turns(compile_prompt(prompt, ["text"], series="text"), [("a", "b")])


def test_mappings_fill_several_fields_rows_and_functions() -> None:
    given = {"b": dt.date(2026, 1, 2), "a": "x"}

    assert asked("x 02.01.", "y") == turns(compile_prompt("{a} {b:%d.%m.}", ["a", "b"]), [(given, "y")])
    assert asked('{"a":"x","b":"2026-01-02"}', "y") == turns(compile_prompt("{row}", ["a", "b"]), [(given, "y")])
    assert asked("x!", "y") == turns(compile_prompt(lambda row: row["a"] + "!", ["a", "b"]), [({"a": "x"}, "y")])


def test_messages_are_rendered_before_each_answer() -> None:
    prompt = compile_prompt([{"role": "system", "content": "Be brief"}, *MESSAGES], ["text"])
    system = {"role": "system", "content": "Be brief"}

    expected = [system, *asked("Classify a", "b"), system, *asked("Classify c", "d")]
    assert expected == turns(prompt, [("a", "b"), ("c", "d")])


def test_blocks_of_a_function_are_one_user_turn() -> None:
    prompt = compile_prompt(lambda row: [{"type": "text", "text": row["a"]}], ["a"])

    assert asked([{"type": "text", "text": "x"}], "y") == turns(prompt, [({"a": "x"}, "y")])


def test_what_examples_read_is_not_what_rows_read() -> None:
    prompt = compile_prompt(lambda row: row["a"] or row["b"], ["a", "b"])
    turns(prompt, [({"a": "", "b": "x"}, "y")])

    assert prompt.reads == ()


def test_lone_surrogates_in_examples_are_replaced() -> None:
    assert asked("<\ufffd>", "\ufffd") == turns(compile_prompt("<{a}>", ["a"]), [("\ud800", "\udfff")])


@pytest.mark.parametrize(
    ("example", "text"),
    [
        ("ab", "expected a pair of input and answer, got str - at examples[1]"),
        (("a", "b", "c"), "expected a pair of input and answer, got tuple - at examples[1]"),
        (("a", "b"), "expected a mapping of column to value, got str - at examples[1]\nthe prompt needs text, label"),
        (
            ({"txt": "a", "label": "b"}, "c"),
            "no column 'txt' - at examples[1]\ncolumns: text, label\nHint: did you mean 'text'?",
        ),
        (({"text": "a"}, "c"), "no value for column 'label' - at examples[1]"),
        (
            ({"text": "a", "label": 1}, object()),
            "the answer does not fit: Object of type object is not JSON serializable",
        ),
        (({"text": "a", "label": 1}, " "), "the answer is empty - at examples[1]"),
        (({"text": " ", "label": None}, "c"), "the prompt is empty - at examples[1]"),
    ],
)
def test_a_bad_example_is_refused_by_its_number(example: Any, text: str) -> None:
    prompt = compile_prompt("{text} {label}", ["text", "label"])
    with pytest.raises(PromptError) as caught:
        turns(prompt, [({"text": "fine", "label": "x"}, "ok"), example])

    assert str(caught.value).startswith(text)
    assert "examples[1]" in str(caught.value)


def test_a_format_that_does_not_fit_an_example_names_its_number() -> None:
    with pytest.raises(PromptError, match=r"\{n:\.1f\} \(examples\[0\]\)"):
        turns(compile_prompt("{n:.1f}", ["n"]), [("a", "b")])


def test_a_function_that_reads_what_an_example_lacks_names_its_number() -> None:
    with pytest.raises(PromptError, match=r"no value for column 'b' \(examples\[0\]\)") as caught:
        turns(compile_prompt(lambda row: row["a"] + row["b"], ["a", "b"]), [({"a": "x"}, "y")])

    assert isinstance(caught.value.__cause__, UnknownColumn)
