"""One text with fields: what it renders, and how errors point at what is wrong with it."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.errors import PromptError, UnknownColumn
from dfbatch.prompts.naming import Names, near_miss
from dfbatch.prompts.templates import Places, clean, parse

COLUMNS = ("text", "price", "Review text")

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}[].!:"), min_size=1, max_size=8).filter(
    lambda name: not name.isdigit() and name != "row"
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
cells = st.one_of(
    texts,
    st.integers(),
    st.floats(),
    st.booleans(),
    st.decimals(),
    st.dates(),
    st.datetimes(),
    st.lists(st.one_of(texts, st.integers(), st.none()), max_size=3),
)


def rendered(text: str, block: dict[str, list[Any]], names: Names | None = None) -> list[str]:
    template = parse(text, names or Names(tuple(block)))
    return template.render(block, Places(range(len(next(iter(block.values()))))))


def refusal(text: str, names: Names | None = None) -> str:
    with pytest.raises(PromptError) as caught:
        parse(text, names or Names(COLUMNS))
    return str(caught.value)


def unknown(text: str, names: Names | None = None) -> str:
    with pytest.raises(UnknownColumn) as caught:
        parse(text, names or Names(COLUMNS))
    return str(caught.value)


# --- what it renders


@given(st.data())
def test_a_template_of_escaped_text_and_fields_renders_as_str_format_does(data: st.DataObject) -> None:
    columns = data.draw(st.lists(names, min_size=1, max_size=4, unique=True))
    rows = data.draw(st.lists(st.tuples(*(texts for _ in columns)), max_size=5))
    literal = texts.map(lambda text: text.replace("{", "{{").replace("}", "}}"))
    ending = st.sampled_from(["", ":", ":>12", ":.3", "!s", "!r", "!a", "!r:*^30"])
    fields = st.tuples(st.sampled_from(columns), ending).map(lambda pair: f"{{{pair[0]}{pair[1]}}}")
    template = "".join(data.draw(st.lists(st.one_of(literal, fields), max_size=8)))

    block = {name: [row[at] for row in rows] for at, name in enumerate(columns)}

    assert [template.format(**dict(zip(columns, row, strict=True))) for row in rows] == rendered(template, block)


@given(st.lists(cells, min_size=1, max_size=5))
def test_cells_of_any_type_render_as_format_writes_them(column: list[Any]) -> None:
    expected = [f"{cell!s}|{cell!r}|" + format(cell) for cell in column]

    assert expected == rendered("{x!s}|{x!r}|{x}", {"x": column})


@pytest.mark.parametrize(
    ("spec", "cell"),
    [
        (".2f", 3.14159),
        (",d", 1234567),
        ("e", Decimal("12.5")),
        ("%d.%m.%Y %H:%M", dt.datetime(2026, 11, 22, 9, 5, tzinfo=dt.UTC)),
        ("%B", dt.date(2026, 2, 1)),
        ("d", True),
        (">8", "é"),
        ("*<8", "😀"),
        ("08.3f", -1.5),
    ],
)
def test_format_specs_are_those_of_python(spec: str, cell: Any) -> None:
    assert [format(cell, spec)] == rendered(f"{{x:{spec}}}", {"x": [cell]})


def test_a_null_is_empty_whatever_the_format() -> None:
    assert rendered("[{x:>9}] [{x!r}] {y:.2f}", {"x": [None], "y": [1]}) == ["[] [] 1.00"]


def test_lists_booleans_and_numbers_render_as_str_writes_them() -> None:
    assert rendered("{a} {b} {c} {d}", {"a": [["a", 1]], "b": [True], "c": [3.0], "d": [7]}) == ["['a', 1] True 3.0 7"]


def test_values_are_never_parsed_for_braces() -> None:
    assert rendered("a {text} b", {"text": ["{text} {0} {{}}"]}) == ["a {text} {0} {{}} b"]


def test_a_megabyte_of_text_stays_itself() -> None:
    text = "ä😀{" * 300_000

    assert ["> " + text] == rendered("> {text}", {"text": [text]})


def test_a_field_is_a_column_if_it_is_exactly_its_name() -> None:
    block = {"Review text": ["a"], "user.name": ["b"], "n[0]": ["c"], "at 10:30": ["d"], "wow!": ["e"], "0": ["f"]}

    assert rendered("{Review text} {user.name} {n[0]} {at 10:30} {wow!} {0}", block) == ["a b c d e f"]


def test_the_longest_column_name_wins_over_a_format() -> None:
    assert rendered("{a:.1f} {b:.1f}", {"a": [2], "a:.1f": ["long"], "b": [1]}) == ["long 1.0"]


def test_empty_braces_are_the_column_of_a_series() -> None:
    series = Names(("text",), series="text")

    assert rendered("{} | {text} | '{:>6}'", {"text": ["it"]}, series) == ["it | it | '    it'"]


def test_row_is_all_columns_as_json_in_frame_order_without_those_replaced() -> None:
    block: dict[str, list[Any]] = {
        "b": ["ä\n"],
        "a": [None],
        "old": ["x"],
        "when": [dt.date(2026, 1, 2)],
        "l": [[1.5, None, "q"]],
    }
    names = Names(tuple(block), replaced=frozenset({"old", "new"}))

    assert rendered("Judge {row}", block, names) == [
        'Judge {"b":"ä\\n","a":null,"when":"2026-01-02","l":[1.5,null,"q"]}'
    ]


@given(st.dictionaries(names, st.one_of(texts, st.integers(), st.booleans(), st.none()), min_size=1, max_size=4))
def test_row_is_json_that_reads_back_as_the_row(row: dict[str, Any]) -> None:
    text = rendered("{row}", {name: [cell] for name, cell in row.items()})[0]

    assert list(row.items()) == list(json.loads(text).items())


def test_a_surrogate_inside_a_nested_cell_does_not_stop_the_row() -> None:
    assert rendered("{row}", {"a": [["\ud800"]]}) == ['{"a":["\ufffd"]}']


def test_row_stands_for_all_columns_when_the_column_of_that_name_is_replaced() -> None:
    names = Names(("text", "row"), replaced=frozenset({"row"}))

    assert rendered("{row}", {"text": ["a"], "row": ["old"]}, names) == ['{"text":"a"}']


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert rendered("\ud83d {text}", {"text": ["a"]}) == ["\ufffd a"]
    assert rendered("{n:c}", {"n": [0xD800]})[0] == "\ufffd"
    assert clean("é😀") == "é😀"


def test_fields_are_listed_once_in_the_order_of_the_text() -> None:
    template = parse("{price} {text} {price}", Names(COLUMNS))

    assert template.fields == ("price", "text")
    assert template.reads == {"price", "text"}


# --- what is refused


def test_an_unknown_column_is_named_with_its_near_miss_and_place() -> None:
    expected = (
        "no column 'txt' in the frame, named in the prompt - at line 2, character 4\n"
        "  is {txt}?\n"
        "     ^\n"
        "columns: text, price, Review text\n"
        "Hint: did you mean {text}?"
    )

    assert expected == unknown("What\nis {txt}?")


@pytest.mark.parametrize(
    ("wrong", "meant"), [("Text", "text"), (" text ", "text"), ("prices", "price"), ("review text", "Review text")]
)
def test_the_near_miss_sees_through_case_and_spaces(wrong: str, meant: str) -> None:
    assert f"did you mean {{{meant}}}?" in unknown(f"{{{wrong}}}")


def test_at_most_twenty_columns_are_listed() -> None:
    text = unknown("{zzz}", Names(tuple(f"c{n}" for n in range(35))))

    assert "c19 and 15 more" in text
    assert "c20" not in text
    assert "write '{{' and '}}' for literal braces" in text


@pytest.mark.parametrize(
    ("template", "snippet"),
    [
        ('{"a": 1}', '{{"a": 1}}'),
        ("Answer {'a': 1}", "{{'a': 1}}"),
        ('As { "sentiment": "good" } for {text}', '{{ "sentiment": "good" }}'),
        ('{"t": "{text}", "n": {"p": "{price:.2f}"}}', '{{"t": "{text}", "n": {{"p": "{price:.2f}"}}}}'),
        ('{\n  "a": []\n}', '{{\n  "a": []\n}}'),
        ("{score: 1}", "{{score: 1}}"),
    ],
)
def test_what_looks_like_json_is_shown_with_its_braces_doubled(template: str, snippet: str) -> None:
    text = unknown(template)

    assert text.endswith(f"Hint: this looks like JSON: double its braces: {snippet}")
    parse(f"{template[: template.index('{')]}{snippet} {{text}}", Names(COLUMNS))


@pytest.mark.parametrize(
    ("template", "what", "at"),
    [
        ("{text.__class__}", "attribute or index access is refused", 1),
        ("Hi {text.upper}", "attribute or index access is refused", 4),
        ("{text[0]}", "attribute or index access is refused", 1),
        ("{text[{0}]}", "'{' inside a field", 7),
        ("{0}", "fields by position are refused", 1),
        ("{12:>3}", "fields by position are refused", 1),
        ("{}", "{} without a column name (that is for Series)", 1),
        ("{:>5}", "{} without a column name (that is for Series)", 1),
        ("{text:{price}}", "a field inside a format", 7),
        ("{text!x}", "unknown conversion '!x'", 1),
        ("{text!}", "unknown conversion '!'", 1),
        ("{text!rr}", "unknown conversion '!rr'", 1),
        ("{row:>9}", "{row} takes no format", 1),
        ("a {text", "'{' is never closed", 3),
        ("a {", "'{' is never closed", 3),
        ("a } b", "single '}'", 3),
        ("{text}}", "single '}'", 7),
        ("{name, {text}", "'{' inside a field", 8),
    ],
)
def test_what_is_no_plain_field_is_refused_with_its_place(template: str, what: str, at: int) -> None:
    text = refusal(template)

    assert text.startswith(f"{what} in the prompt - at line 1, character {at}\n  {template}\n  {' ' * (at - 1)}^\n")
    assert "\nHint: " in text


def test_attribute_access_on_a_column_hints_at_the_column() -> None:
    assert "name a column, such as {price}; a callable can take values apart" in refusal("{price.real}")


def test_a_column_named_row_makes_row_an_error() -> None:
    text = refusal("{row}", Names(("text", "row")))

    assert "{row} means all columns, and there is a column named 'row'" in text
    assert "Hint: rename that column, or use a callable" in text


def test_row_is_an_error_when_every_column_is_replaced() -> None:
    assert "{row} is empty" in refusal("{row}", Names(("a",), replaced=frozenset({"a"})))


def test_a_long_line_is_shown_around_the_place() -> None:
    _, shown, caret, *_ = unknown("é" * 500 + "{txt}" + "z" * 500).splitlines()

    assert len(shown) < 100
    assert shown[caret.index("^") :].startswith("{txt}z")


def test_a_format_that_does_not_fit_a_value_names_row_and_column() -> None:
    template = parse("{text:.2f}", Names(COLUMNS))
    with pytest.raises(PromptError) as caught:
        template.render({"text": [1.0, None, "x"]}, Places(range(40, 43)))

    assert str(caught.value) == (
        "column 'text' cannot be written as {text:.2f} (row 42): Unknown format code 'f' for object of type 'str'\n"
        "the value is 'x', a str\n"
        "Hint: change the format after ':', or double the braces if they are meant literally"
    )


@given(st.text(st.sampled_from('{}!:.[]" \na0text'), max_size=25))
def test_any_text_renders_as_str_format_does_or_is_refused(text: str) -> None:
    try:
        template = parse(text, Names(("text", "a")))
    except (PromptError, UnknownColumn):
        return
    try:
        result = template.render({"text": ["{v}"], "a": ["w"]}, Places(range(1)))
    except PromptError:
        with pytest.raises((ValueError, TypeError)):
            text.format(text="{v}", a="w")
        return

    assert [text.format(text="{v}", a="w")] == result


def test_near_miss_knows_when_nothing_is_near() -> None:
    assert near_miss("zebra", ["text"]) is None
