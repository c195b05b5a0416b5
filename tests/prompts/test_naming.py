"""How columns are named in prompts, and in the errors about them: Series, braces, functions, system prompts."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import polars as pl
import pytest

from dfbatch import testing
from dfbatch.errors import InputError
from dfbatch.prompts import compile_prompt
from dfbatch.prompts.naming import Names, fillable, in_function, written

UNNAMED = pd.Series(["a"])
BRACES = ["text", "{weird}", "a}b", "c{d"]


def refused(prompt: Any, columns: list[str], **about: Any) -> str:
    with pytest.raises(InputError) as caught:
        compile_prompt(prompt, columns, **about).render({name: ["a"] for name in columns})
    return str(caught.value)


# ------------------------------------------------------------------------- Series


@pytest.mark.parametrize(
    "series", [UNNAMED, pd.Series(["a"], name="q"), pl.Series(["a"])], ids=["unnamed", "q", "polars"]
)
def test_a_prompt_without_a_field_hints_at_the_cell_of_a_series(series: Any) -> None:
    with testing.answers({}), pytest.raises(InputError) as caught:
        series.claude.batch("Go", progress=False)

    assert str(caught.value) == (
        "the prompt names no column: 'Go'\na Series: its cell is {}\n"
        "Hint: write {} where the cell of the Series goes, or pass same_for_all=True if every row is to get the same"
        " prompt"
    )


@pytest.mark.parametrize("prompt", ["Go {txt}", "Go {0}", "Go {text.upper}"])
def test_every_error_about_a_series_hints_at_its_cell(prompt: str) -> None:
    assert "Hint: write {} where the cell of the Series goes" in refused(prompt, ["text"], series="text")


def test_a_named_series_may_be_called_by_its_name_too() -> None:
    assert compile_prompt("{q} {}", ["q"], series="q").render({"q": ["a"]}).contents == ["a a"]


# ---------------------------------------------------------------------- functions


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda text: "x" + text, "the function gets a row: row['q']; return None to leave a row out"),
        (lambda row: row.n, "the function gets a row: row['n']; return None to leave a row out"),
        (lambda row: 1 / (len(row) - 2), "the function gets a row: row['q']; return None to leave a row out"),
    ],
)
def test_an_error_inside_a_function_says_what_it_gets(call: Any, expected: str) -> None:
    assert refused(call, ["q", "n"]).endswith(f"\nHint: {expected}")


# ------------------------------------------------------------------------- braces


def test_a_column_that_no_template_can_name_is_read_by_a_function() -> None:
    prompt = compile_prompt(lambda row: row["{weird}"], BRACES)

    assert prompt.render({name: ["a"] for name in BRACES}).contents == ["a"]
    assert [written(name) for name in BRACES] == ["{text}", None, None, None]


@pytest.mark.parametrize(
    ("prompt", "column"),
    [
        ("x {{weird}}", "{weird}"),
        ("x {{{weird}}}", "{weird}"),
        ("x {weird}", "{weird}"),
        ("{a}b}", "a}b"),
        ("{c{d}", "c{d"),
    ],
)
def test_a_template_that_tries_to_says_how_instead(prompt: str, column: str) -> None:
    assert in_function(column) in refused(prompt, BRACES)


def test_a_frame_of_nothing_but_such_columns_is_not_told_to_name_one() -> None:
    assert refused("Go", ["{weird}"]).splitlines()[-1] == (
        "Hint: no template can name the column '{weird}': rename it, or use a function: lambda row: row['{weird}'],"
        " or pass same_for_all=True if every row is to get the same prompt"
    )


def test_a_column_that_can_be_named_is_the_one_that_is_hinted_at() -> None:
    assert "Hint: name a column, such as {text}, or" in refused("Go", ["{weird}", "", "row", "text"])


def test_the_whole_row_holds_such_columns_too() -> None:
    assert compile_prompt("{row}", ["{weird}"]).render({"{weird}": [1]}).contents == ['{"{weird}":1}']


# ------------------------------------------------------------------------- system


@pytest.mark.parametrize(
    ("system", "found"),
    [
        ("You label {text} and {nope}", ["{text}"]),
        ("{text} {n:.2f} {text!r} {row} {text}", ["{text}", "{n:.2f}", "{text!r}", "{row}"]),
        ('Reply as {"text": 1} or {{text}} or {}', []),
        ([{"type": "text", "text": "About {n}"}], ["{n}"]),
        (None, []),
    ],
    ids=repr,
)
def test_fields_in_a_text_that_is_no_template_are_found(system: Any, found: list[str]) -> None:
    assert fillable(system, Names(("text", "n"))) == found


def test_a_cell_in_a_system_prompt_is_found_where_a_series_asks() -> None:
    assert fillable("About {}", Names(("text",), series="text")) == ["{}"]


@pytest.mark.parametrize("new", [pd.DataFrame, pl.DataFrame])
def test_a_system_prompt_like_a_template_is_warned_about_and_sent_as_it_is(new: Any) -> None:
    told = "system= is sent as it is, never as a template: {text} is not filled in\nHint: name columns in the prompt"
    with testing.answers(lambda _: "ok") as fake, pytest.warns(UserWarning, match=re.escape(told)) as warned:
        new({"text": ["a"]}).claude.batch("Say {text}", system="Label {text}.", progress=False)

    assert warned[0].filename == __file__
    assert [params["system"] for params in fake.requests] == ["Label {text}."]
