from __future__ import annotations

import importlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfbatch.emulator.engines.draws import Draw
from dfbatch.emulator.engines.patterns import maker_of_pattern
from dfbatch.emulator.engines.values import maker
from dfbatch.emulator.params import schemas

from .api import LABEL, Api, ask, blocks, with_schema
from .made import CITED, TOOL_RESULT, TOOL_USE, document, pdf, text, tool, turns

if TYPE_CHECKING:
    from collections.abc import Callable

jsonschema: Any = importlib.import_module("jsonschema")
# jsonschema's own check of times knows no zone, which RFC 3339 demands
JUDGED = sorted(schemas.FORMATS & set(jsonschema.FormatChecker().checkers) - {"time"})


def answer(api: Api, **more: Any) -> Any:
    return json.loads(api.message(ask(**more))["content"][0]["text"])


def kinds(message: Any) -> list[str]:
    return [block["type"] for block in message["content"]]


def test_answers_fit_the_schema_and_differ_by_request(api: Api) -> None:
    results = api.run(*(ask(f"text {row}", **with_schema(LABEL)) for row in range(60)))
    answers = [json.loads(result["message"]["content"][0]["text"]) for result in results]

    assert {found["topic"] for found in answers} == {"sport", "tech"}
    assert len({found["note"] for found in answers}) > 30
    assert all(list(found) == ["topic", "note"] for found in answers)


def test_required_properties_come_before_optional_ones(api: Api) -> None:
    schema = {**LABEL, "required": ["note"]}
    results = api.run(*(ask(f"text {row}", **with_schema(schema)) for row in range(20)))
    orders = {tuple(json.loads(result["message"]["content"][0]["text"])) for result in results}

    assert orders == {("note",), ("note", "topic")}


def test_texts_are_as_long_as_the_law_says(serve: Callable[..., Api]) -> None:
    api = serve(output_law="fixed:50")
    spent = [result["message"]["usage"]["output_tokens"] for result in api.run(*(ask(f"t {row}") for row in range(30)))]

    assert 40 < sum(spent) / len(spent) < 60


def test_a_forced_tool_is_called_with_input_that_fits(api: Api) -> None:
    label = tool("label", input_schema=LABEL)
    message = api.message(ask(tools=[tool(), label], tool_choice={"type": "tool", "name": "label"}))
    (block,) = message["content"]

    assert message["stop_reason"] == "tool_use"
    assert block["id"].startswith("toolu_01")
    assert (block["type"], block["name"]) == ("tool_use", "label")
    assert block["input"]["topic"] in {"sport", "tech"}


def test_tools_are_called_when_any_is_forced_sometimes_when_not_and_never_when_forbidden(api: Api) -> None:
    def called(choice: str) -> int:
        asked = (ask(f"text {row}", tools=[tool()], tool_choice={"type": choice}) for row in range(30))
        return sum(result["message"]["stop_reason"] == "tool_use" for result in api.run(*asked))

    assert called("any") == 30
    assert 5 < called("auto") < 25
    assert called("none") == 0


def test_a_tools_schema_may_say_more_than_an_output_format(api: Api) -> None:
    word = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    schema = {"type": "object", "properties": {"a": word, "b": {}, "c": True}, "required": ["a", "b", "c"]}
    message = api.message(ask(tools=[tool(input_schema=schema)], tool_choice={"type": "any"}))

    assert message["stop_reason"] == "tool_use"
    for block in message["content"]:
        jsonschema.validate(block["input"], schema)


def test_a_tool_whose_input_is_beyond_it_is_an_errored_line(api: Api) -> None:
    endless = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}

    told = api.error(ask(tools=[tool(input_schema=endless)], tool_choice={"type": "any"}))

    assert told.startswith("tools: the sample engine cannot make input for find: RecursionError")


@pytest.mark.parametrize(("choice", "most"), [({}, 2), ({"disable_parallel_tool_use": True}, 1)])
def test_several_calls_at_once_can_be_switched_off(api: Api, choice: dict[str, Any], most: int) -> None:
    asked = (ask(f"text {row}", tools=[tool()], tool_choice={"type": "any", **choice}) for row in range(30))
    calls = [[block["id"] for block in result["message"]["content"]] for result in api.run(*asked)]

    assert max(len(ids) for ids in calls) == most
    assert all(len(set(ids)) == len(ids) for ids in calls)


def test_a_conversation_is_answered_by_all_that_was_said(api: Api) -> None:
    talks = [turns(("user", first), ("assistant", "Hm."), ("user", "And now?")) for first in ("a", "b")]
    said = [api.message(ask(**talk))["content"][0]["text"] for talk in [*talks, talks[0]]]

    assert said[0] == said[2] != said[1]


def test_a_tools_result_is_answered_in_words(api: Api) -> None:
    params = ask(**turns(("user", "a"), ("assistant", [TOOL_USE]), ("user", [TOOL_RESULT])), tools=[tool()])

    assert kinds(api.message(params)) == ["text"]


def test_thinking_comes_first_and_is_counted(api: Api) -> None:
    enabled = {"type": "enabled", "budget_tokens": 1024}
    message = api.message(ask(max_tokens=2000, thinking=enabled))
    usage = message["usage"]

    assert kinds(message) == ["thinking", "text"]
    assert message["content"][0]["thinking"]
    assert message["content"][0]["signature"]
    assert 0 < usage["output_tokens_details"]["thinking_tokens"] < usage["output_tokens"]


@pytest.mark.parametrize(
    ("model", "more", "thought", "shown"),
    [
        ("claude-haiku-4-5", {}, False, False),
        ("claude-opus-4-7", {}, False, False),
        ("claude-haiku-5-5", {}, True, False),
        ("claude-haiku-5-5", {"thinking": {"type": "disabled"}}, False, False),
        ("claude-fable-5-2", {"thinking": {"type": "adaptive", "display": "summarized"}}, True, True),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}, False, False),
    ],
)
def test_models_think_by_default_or_when_asked(
    api: Api, model: str, more: dict[str, Any], *, thought: bool, shown: bool
) -> None:
    content = api.message(ask(model=model, max_tokens=1000, **more))["content"]

    assert (content[0]["type"] == "thinking") == thought
    assert bool(content[0].get("thinking")) == shown


def cited(api: Api, *documents: dict[str, Any]) -> list[Any]:
    content = api.message(ask(**blocks(*documents, text("What?")), max_tokens=1000))["content"]
    return [location for block in content for location in block["citations"] or []]


def test_citations_by_character_quote_the_document(api: Api) -> None:
    first, second = "The cat sat on the mat. " * 9, "Dogs bark."
    locations = cited(api, document(first, title="Cats", **CITED), document(second, **CITED))

    assert [location["document_index"] for location in locations] == [0, 1]
    assert [location["document_title"] for location in locations] == ["Cats", None]
    for location, whole in zip(locations, (first, second), strict=True):
        assert location["type"] == "char_location"
        assert whole[location["start_char_index"] : location["end_char_index"]] == location["cited_text"]


def test_citations_of_a_pdf_point_at_its_pages(api: Api) -> None:
    (location,) = cited(api, pdf(4, **CITED))

    assert location["type"] == "page_location"
    assert 1 <= location["start_page_number"] < location["end_page_number"] <= 5


def test_citations_of_content_point_at_its_blocks(api: Api) -> None:
    source = {"type": "content", "content": [text("one"), text("two"), text("three")]}
    (location,) = cited(api, {"type": "document", "source": source, **CITED})

    assert location["type"] == "content_block_location"
    assert source["content"][location["start_block_index"]]["text"] == location["cited_text"]


def test_citations_of_a_search_result_name_its_source(api: Api) -> None:
    found = {"type": "search_result", "source": "https://example.com", "title": "T", "content": [text("one")], **CITED}
    (location,) = cited(api, found)

    assert location["type"] == "search_result_location"
    assert (location["source"], location["title"], location["cited_text"]) == ("https://example.com", "T", "one")


def test_documents_and_search_results_are_numbered_apart(api: Api) -> None:
    found = {"type": "search_result", "source": "https://example.com", "title": "T", "content": [text("one")], **CITED}
    locations = cited(api, found, document("First.", **CITED), found, document("Second.", **CITED))

    assert [location.get("document_index") for location in locations] == [None, 0, None, 1]
    assert [location.get("search_result_index") for location in locations] == [0, None, 1, None]


def test_nothing_is_quoted_from_an_empty_document(api: Api) -> None:
    assert cited(api, document("", **CITED)) == []


def test_what_a_tool_found_is_cited_too(api: Api) -> None:
    found = {"type": "search_result", "source": "https://example.com", "title": "T", "content": [text("one")], **CITED}
    given = {**TOOL_RESULT, "content": [found]}
    params = ask(**turns(("user", "a"), ("assistant", [TOOL_USE]), ("user", [given])), tools=[tool()], max_tokens=500)
    (location,) = [place for block in api.message(params)["content"] for place in block["citations"] or []]

    assert (location["type"], location["cited_text"]) == ("search_result_location", "one")


def test_without_citations_texts_have_none(api: Api) -> None:
    (block,) = api.message(ask(**blocks(document(), text("?"))))["content"]

    assert block["citations"] is None


names = st.sampled_from(["a", "b", "c"])
scalars = st.sampled_from(
    [
        {"type": "integer"},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": "string"},
        {"type": ["string", "null"]},
        {"enum": ["x", 1, None, True]},
        {"const": "k"},
        {"$ref": "#/$defs/word"},
        {"type": "string", "pattern": "^[A-Z]{2,3}-\\d+(x|y)?$"},
        *({"type": "string", "format": name} for name in sorted(schemas.FORMATS)),
    ]
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(names, inner, max_size=3)
    objects = st.tuples(properties, st.sets(names)).map(
        lambda pair: {
            "type": "object",
            "properties": pair[0],
            "required": sorted(pair[1] & set(pair[0])),
            "additionalProperties": False,
        }
    )
    arrays = st.tuples(inner, st.integers(0, 1)).map(
        lambda pair: {"type": "array", "items": pair[0], "minItems": pair[1]}
    )
    return objects | arrays | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts})


@settings(max_examples=60, deadline=None)
@given(schema=st.recursive(scalars, nested, max_leaves=8), seed=st.binary(min_size=4, max_size=4))
def test_made_up_values_fit_any_schema_of_the_subset(schema: dict[str, Any], seed: bytes) -> None:
    whole = {**schema, "$defs": {"word": {"type": "string", "enum": ["w"]}}} if "$ref" not in schema else LABEL
    value = maker(whole)(Draw(seed * 8))

    assert schemas.problem(whole, "schema") == ""
    jsonschema.validate(value, whole, format_checker=jsonschema.FormatChecker(JUDGED))


@pytest.mark.parametrize(
    "pattern",
    [
        "^abc$",
        "[a-f0-9]{8}",
        "^(yes|no)$",
        "^[^a-z]+$",
        "a.c",
        "^\\w+@\\w+\\.com$",
        "x*y?",
        "\\s\\S\\D\\d",
        "^[\\d.]+$",
        "(?:ab)+",
    ],
)
def test_made_up_strings_match_their_pattern(pattern: str) -> None:
    make = maker_of_pattern(pattern)

    assert all(re.search(pattern, make(Draw(bytes([row]) * 32))) for row in range(30))


def test_a_pattern_no_string_fits_is_an_errored_line(api: Api) -> None:
    schema = {**LABEL, "properties": {"topic": {"type": "string", "pattern": "a^b"}, "note": {"type": "string"}}}

    assert "found no string for the pattern" in api.error(ask(**with_schema(schema)))


def test_choices_do_not_depend_on_the_random_module() -> None:
    draw = Draw(b"seed" * 8)

    assert [draw.below(1000) for _ in range(40)][-6:] == [499, 783, 926, 747, 61, 920]
    assert 0 < draw.share() < 1
