"""Text, content blocks and messages: their shapes, their blanks, and templates inside messages."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from dfbatch.errors import PromptError, UnknownColumn
from dfbatch.prompts.contents import Messages, checked, is_blank
from dfbatch.prompts.naming import Names
from dfbatch.prompts.templates import Places

NAMES = Names(("text", "label"))
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.org/{text}.png"}}


def refusal(content: Any) -> str:
    with pytest.raises(PromptError) as caught:
        checked(content, " (row 3)")
    return str(caught.value).splitlines()[0]


def test_contents_are_copied_so_that_later_changes_do_not_reach_them() -> None:
    content = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    copy = checked(content)
    content[0]["content"] = "changed"

    assert copy == [{"role": "user", "content": [{"type": "text", "text": "a"}]}]


def test_tuples_become_lists_and_surrogates_are_replaced_at_any_depth() -> None:
    block = {"type": "tool_result", "content": ({"type": "text", "text": "a\ud800"},), "k\udfff": 1.5}

    assert checked([block]) == [
        {"type": "tool_result", "content": [{"type": "text", "text": "a\ufffd"}], "k\ufffd": 1.5}
    ]


def test_a_string_enum_is_its_value() -> None:
    class Color(StrEnum):
        RED = "red"

    assert type(checked(Color.RED)) is str
    assert checked(Color.RED) == "red"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (5, "expected str, list of content blocks, list of messages or None, got int (row 3)"),
        ({"role": "user"}, "expected str, list of content blocks, list of messages or None, got dict (row 3)"),
        (["a"], "expected a content block (dict), got str - at $[0] (row 3)"),
        ([{"text": "a"}], "expected str, got None - at $[0].type (row 3)"),
        ([{"type": "text", "text": 1}], "expected str, got int - at $[0].text (row 3)"),
        ([{"type": "image", "source": b""}], "expected a JSON value, got bytes - at $[0].source (row 3)"),
        ([{"type": "x", 1: 2}], "expected a JSON value, got dict - at $[0] (row 3)"),
        (
            [{"role": "robot", "content": ""}],
            "expected one of user, assistant, system, got 'robot' - at $[0].role (row 3)",
        ),
        ([{"role": "user", "text": "a"}], "expected str or list of content blocks, got None - at $[0].content (row 3)"),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            "expected str, got None - at $[0].content[0].text (row 3)",
        ),
        ([{"role": "user", "content": "a"}, "b"], "expected a message dict, got str - at $[1] (row 3)"),
        ([{"role": "system", "content": "a"}], "the list of messages has no user message (row 3)"),
    ],
)
def test_what_is_no_content_is_refused_with_path_and_row(content: Any, text: str) -> None:
    assert text == refusal(content)


@pytest.mark.parametrize(
    ("content", "blank"),
    [
        ("", True),
        (" \n\t\u2003", True),
        (" a ", False),
        ([], True),
        ([{"type": "text", "text": " "}], True),
        ([{"type": "text", "text": " "}, IMAGE], False),
        ([{"role": "user", "content": " "}], True),
        ([{"role": "system", "content": "a"}, {"role": "user", "content": ""}], True),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}], False),
        ([{"role": "user", "content": [IMAGE]}], False),
    ],
)
def test_blank_is_what_asks_nothing(content: Any, blank: bool) -> None:  # noqa: FBT001 - a case of the table
    assert blank == is_blank(content)


def test_the_texts_of_messages_are_templates_and_all_else_is_verbatim() -> None:
    prompt = [
        {"role": "system", "content": "Only {label}."},
        {
            "role": "user",
            "content": [IMAGE, {"type": "text", "text": "What of {text}?", "cache_control": {"type": "e"}}],
        },
        {"role": "assistant", "content": "{{"},
    ]
    messages = Messages.parse(prompt, NAMES)

    assert messages.fields == ("label", "text")
    assert messages.render({"text": ["{a}", "b"], "label": ["x", "y"]}, Places(range(2))) == [
        [
            {"role": "system", "content": f"Only {label}."},
            {
                "role": "user",
                "content": [IMAGE, {"type": "text", "text": f"What of {text}?", "cache_control": {"type": "e"}}],
            },
            {"role": "assistant", "content": "{"},
        ]
        for text, label in [("{a}", "x"), ("b", "y")]
    ]


def test_messages_without_texts_are_the_same_for_all_rows() -> None:
    messages = Messages.parse([{"role": "user", "content": [IMAGE]}], NAMES)

    assert messages.render({}, Places(range(2))) == [[{"role": "user", "content": [IMAGE]}]] * 2


def test_an_error_in_a_text_names_the_message() -> None:
    prompt = [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "to {txt}"}]}]
    with pytest.raises(UnknownColumn) as caught:
        Messages.parse(prompt, NAMES)

    assert str(caught.value).startswith(
        "no column 'txt' in the frame, named in the prompt at $[1].content[0].text - at line 1, character 4\n"
    )


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(PromptError, match="the list of messages is empty"):
        Messages.parse([], NAMES)
