"""Options: every value is checked once, and each refusal says what would be taken."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any, get_args

import pytest

from dfbatch.accessor import batch
from dfbatch.errors import OptionError
from dfbatch.options import LATER, RESERVED, Include, Options, read

KNOWN = [option.name for option in fields(Options)]


def refusal(**options: Any) -> str:
    with pytest.raises(OptionError) as caught:
        read(options)
    return str(caught.value)


def test_the_defaults_are_those_that_the_design_names() -> None:
    options = read({})

    assert (options.model, options.max_tokens, options.chunk_size) == ("claude-haiku-5-5", 1024, "auto")
    assert (options.on_null, options.on_error, options.progress) == ("skip", "null", "auto")
    assert (options.dedupe, options.reuse, options.unpack, options.overwrite) == (True, True, True, False)
    assert (options.retries, options.correct, options.samples) == (2, True, 1)
    assert (options.into, options.key, options.name, options.backend) == (None, None, None, None)


def test_the_options_built_are_those_that_the_docstring_of_batch_lists() -> None:
    listed = (inspect.getdoc(batch) or "").splitlines()

    assert [name for name in KNOWN if not any(line.startswith(f"{name} ") for line in listed)] == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"model": ""}, "model must be a text, got ''\nHint: model=\"claude-haiku-5-5\""),
        ({"model": None}, 'model must be a text, got None\nHint: model="claude-haiku-5-5"'),
        ({"model": "  "}, "model must be a text, got '  '\nHint: model=\"claude-haiku-5-5\""),
        ({"max_tokens": 0}, "max_tokens=0: a whole number of at least 1 is needed\nHint: max_tokens=1024"),
        ({"max_tokens": -5}, "max_tokens=-5: a whole number of at least 1 is needed\nHint: max_tokens=1024"),
        ({"max_tokens": True}, "max_tokens=True: a whole number of at least 1 is needed\nHint: max_tokens=1024"),
        ({"max_tokens": 10.0}, "max_tokens=10.0: a whole number of at least 1 is needed\nHint: max_tokens=1024"),
        ({"max_tokens": "10"}, "max_tokens='10': a whole number of at least 1 is needed\nHint: max_tokens=1024"),
        ({"samples": 0}, "samples=0: a whole number of at least 1 is needed\nHint: samples=1"),
        ({"samples": 2.0}, "samples=2.0: a whole number of at least 1 is needed\nHint: samples=1"),
        ({"samples": True}, "samples=True: a whole number of at least 1 is needed\nHint: samples=1"),
        (
            {"samples": 101},
            "samples=101: 100 answers a row is the most\nHint: repeat the rows, with dedupe=False, for more",
        ),
        (
            {"samples": 3, "dedupe": False},
            (
                "samples=3 with dedupe=False: both ask equal requests more than once\n"
                "Hint: samples=… asks each row that often and compares; dedupe=False asks each of several equal rows"
            ),
        ),
        ({"chunk_size": 0}, "chunk_size=0: a whole number of at least 1 is needed\nHint: chunk_size=1024"),
        ({"chunk_size": "all"}, "chunk_size='all': a whole number of at least 1 is needed\nHint: chunk_size=1024"),
        ({"into": ""}, "into must be a text, got ''\nHint: into=\"topic\""),
        ({"into": 3}, 'into must be a text, got 3\nHint: into="topic"'),
        ({"key": ["id"]}, "key must be a text, got ['id']\nHint: key=\"topic\""),
        ({"name": " "}, "name must be a text, got ' '\nHint: name=\"topic\""),
        ({"on_null": "drop"}, "on_null='drop'\nHint: one of 'skip', 'send', 'raise'"),
        ({"on_error": "ignore"}, "on_error='ignore'\nHint: one of 'null', 'raise'"),
        ({"progress": "loud"}, "progress='loud'\nHint: one of 'auto', 'panel', 'bar', 'log', False"),
        ({"dtype_backend": "numpy"}, "dtype_backend='numpy'\nHint: one of None, 'pyarrow'"),
        ({"budget": "5"}, "budget='5': a number, 0 or more, is needed\nHint: budget=5.00, in USD"),
        ({"budget": "$1,250.50"}, "budget='$1,250.50': a number, 0 or more, is needed\nHint: budget=1250.50, in USD"),
        ({"budget": "five"}, "budget='five': a number, 0 or more, is needed\nHint: budget=5.00, in USD"),
        ({"budget": True}, "budget=True: a number, 0 or more, is needed\nHint: budget=5.00, in USD"),
        ({"budget": -1}, "budget=-1: a number, 0 or more, is needed\nHint: budget=5.00, in USD"),
        ({"max_failed": 20}, "max_failed=20: a share of rows from 0 to 1 is needed\nHint: max_failed=0.2"),
        ({"max_failed": "0.5"}, "max_failed='0.5': a share of rows from 0 to 1 is needed\nHint: max_failed=0.5"),
        (
            {"prices": {"currency": "EUR", "my-model": {"input": 1, "output": 2}}},
            (
                "prices= has 'currency': prices are in USD, whatever the currency of your bill\n"
                'Hint: convert them first, and leave currency out: {"claude-haiku-5-5": {"input": 0.1, "output": 0.5}},'
                " in USD per million tokens through /v1/messages"
            ),
        ),
        ({"unpack": "yes"}, "unpack='yes'\nHint: one of True, False"),
        ({"dedupe": None}, "dedupe=None\nHint: one of True, False"),
        ({"reuse": "no"}, "reuse='no'\nHint: one of True, False"),
        ({"overwrite": "no"}, "overwrite='no'\nHint: one of True, False"),
        ({"same_for_all": "no"}, "same_for_all='no'\nHint: one of True, False"),
        ({"include": "status"}, "include='status' is one string\nHint: include=(\"status\",)"),
        (
            {"include": "all"},
            f"include='all' is one string\nHint: a list of any of {', '.join(map(repr, get_args(Include)))}",
        ),
        (
            {"include": ["status", "costs"]},
            f"include='costs'\nHint: one of {', '.join(map(repr, get_args(Include)))}",
        ),
        ({"betas": "a-2026-01-01"}, "betas='a-2026-01-01' is one string\nHint: betas=(\"a-2026-01-01\",)"),
        ({"params": [("top_k", 1)]}, 'params must be a mapping, got list\nHint: params={"thinking": …}'),
        (
            {"params": {"stream": True}},
            "params has 'stream': a batch has no stream\nHint: leave it out",
        ),
        (
            {"params": {"betas": []}},
            "params has 'betas': inside a request the API refuses it\nHint: betas=(…) goes with the whole batch",
        ),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_taken_is_refused_in_words(options: dict[str, Any], text: str) -> None:
    assert refusal(**options) == text


@pytest.mark.parametrize("option", ["include", "betas", "examples"])
def test_a_value_that_is_no_list_is_refused_in_words_too(option: str) -> None:
    assert refusal(**{option: 5}).startswith(f"{option}")


@pytest.mark.parametrize("betas", [(5,), (None,), ("a\nb",), ("é",), ("",)], ids=str)
def test_a_beta_that_cannot_be_a_header_is_refused_before_it_is_in_the_ledger(betas: Any) -> None:
    assert refusal(betas=betas).startswith("betas")


@pytest.mark.parametrize("option", ["into", "name", "model"])
def test_a_text_that_cannot_be_written_down_is_refused_in_words(option: str) -> None:
    assert refusal(**{option: "\ud800"}).startswith(f"{option}")


@pytest.mark.parametrize(("option", "items"), [("include", ["status"]), ("betas", ["b"]), ("examples", [("a", "b")])])
def test_a_generator_is_not_used_up_by_being_checked(option: str, items: list[Any]) -> None:
    made = read({option: (item for item in items)})

    assert list(getattr(made, option)) == items


@pytest.mark.parametrize("system", [5, {"type": "text", "text": "Be brief."}, [5]])
def test_a_system_prompt_that_the_api_would_refuse_for_every_row_is_refused_at_once(system: Any) -> None:
    assert refusal(system=system).startswith("system")


@pytest.mark.parametrize("name", RESERVED)
def test_a_parameter_with_a_place_of_its_own_is_refused_in_params(name: str) -> None:
    hint = "the prompt makes the messages" if name == "messages" else f"say {name}=… beside the prompt"

    assert refusal(params={name: 1}) == f"params has {name!r}, which has a place of its own\nHint: {hint}"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("max_token", "max_tokens"),
        ("Model", "model"),
        ("dedup", "dedupe"),
        ("chunksize", "chunk_size"),
        ("shema", "schema"),
        ("Schema", "schema"),
        ("promt", "prompt"),
        ("thinkng", "thinking"),
    ],
)
def test_an_unknown_option_names_the_near_miss(given: str, meant: str) -> None:
    text = refusal(**{given: 1})

    assert text == f"unknown option {given!r}\noptions: {', '.join(KNOWN)}\nHint: did you mean {meant}=?"


def test_an_option_of_the_api_goes_into_params() -> None:
    text = refusal(temperature=0)

    assert text.endswith("it goes into params={'temperature': …}")


def test_the_currency_of_one_price_is_refused_like_that_of_all() -> None:
    text = refusal(prices={"my-model": {"input": 1, "output": 2, "currency": "EUR"}})

    assert text.startswith("prices= has 'currency': prices are in USD")


def test_rows_are_said_to_be_an_argument_of_a_preview() -> None:
    assert "Hint: rows= is of preview()" in refusal(rows=20)


def test_tools_say_what_becomes_of_an_answer_that_calls_them() -> None:
    text = refusal(tools=[])

    assert text.endswith(
        "Hint: for now, use params=; a text beside a call is the answer, a call alone is `invalid`, and"
        " include=['message'] holds it"
    )


@pytest.mark.parametrize("option", LATER)
def test_an_option_not_built_yet_says_so_and_what_serves_until_then(option: str) -> None:
    assert refusal(**{option: 1}) == f"the option {option!r} is not built yet\nHint: for now, {LATER[option]}"


def test_an_option_is_either_built_or_not() -> None:
    assert set(LATER) & set(KNOWN) == set()


@pytest.mark.parametrize(
    "options",
    [
        {"progress": False},
        {"chunk_size": 1},
        {"max_tokens": 1},
        {"include": ["status", "message"]},
        {"include": ()},
        {"params": {"temperature": 0.0, "thinking": {"type": "disabled"}}},
        {"betas": ["a-2026-01-01"]},
        {"system": [{"type": "text", "text": "Be brief."}]},
        {"examples": [("a", "b")]},
    ],
    ids=str,
)
def test_what_can_be_taken_is_kept_as_it_was_said(options: dict[str, Any]) -> None:
    made = read(options)

    assert {name: getattr(made, name) for name in options} == options
