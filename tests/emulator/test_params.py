"""The validation table, row by row: in a batch an errored line, directly a 400, with the same text."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from .api import LABEL, NEW, ROUTE, ask, blocks, refusal, with_schema

if TYPE_CHECKING:
    from .api import Api

SAMPLED = "This model does not support values other than the default"
PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."
COMPLEX = "Schema is too complex for compilation."
FORMAT = "output_config.format.schema"


def image(width: int = 10, height: int = 10) -> dict[str, Any]:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()},
    }


def pdf(count: int = 1, **more: Any) -> dict[str, Any]:
    content = b"%PDF-1.4\n" + b"<< /Type /Page >>\n" * count
    source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(content).decode()}
    return {"type": "document", "source": source, **more}


def document(text: str = "Some words.", **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **more}


def turns(*messages: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def tool(name: str = "find", **more: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object", "properties": {}, "additionalProperties": False}, **more}


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


MARK: Any = {"cache_control": {"type": "ephemeral"}}
HOUR: Any = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
CITED: Any = {"citations": {"enabled": True}}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}
OPTIONAL = {"type": "object", "properties": {}, "additionalProperties": False}

# what is wrong, the params that are, the text; under 2023-06-01
TABLE: list[tuple[str, dict[str, Any], str]] = [
    ("unknown model", ask(model="claude-nope"), "model: claude-nope"),
    ("retired model", ask(model="claude-opus-4-20250514"), "model: claude-opus-4-20250514"),
    ("no model", ask(model=None), "model: Field required"),
    ("model is a number", ask(model=5), "model: Input should be a valid string"),
    ("no max_tokens", ask(max_tokens=None), "max_tokens: Field required"),
    ("max_tokens is a text", ask(max_tokens="9"), "max_tokens: Input should be a valid integer"),
    ("max_tokens true", ask(max_tokens=True), "max_tokens: Input should be a valid integer"),
    (
        "max_tokens beyond the model",
        ask(max_tokens=64_001),
        "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for claude-haiku-4-5",
    ),
    ("no messages", ask(messages=None), "messages: Field required"),
    ("messages empty", ask(messages=[]), "messages: at least one message is required"),
    ("messages a text", ask(messages="hi"), "messages: Input should be a valid list"),
    (
        "role unknown",
        ask(**turns(("robot", "hi"))),
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
    ),
    ("no content", ask(messages=[{"role": "user"}]), "messages.0.content: Field required"),
    ("content a number", ask(**turns(("user", 5))), "messages.0.content: Input should be a valid string"),
    (
        "content empty",
        ask(**turns(("user", ""))),
        "messages.0: all messages must have non-empty content except for the optional final assistant message",
    ),
    ("text block empty", ask(**blocks(text(""))), "messages: text content blocks must be non-empty"),
    (
        "block unknown",
        ask(**blocks({"type": "poem"})),
        "messages.0.content.0: Input tag 'poem' found using 'type' does not match any of the expected tags: ",
    ),
    (
        "block without type",
        ask(**blocks({"text": "hi"})),
        "messages.0.content.0: Unable to extract tag using discriminator 'type'",
    ),
    ("text block without text", ask(**blocks({"type": "text"})), "messages.0.content.0.text.text: Field required"),
    ("unknown key", ask(colour="red"), "colour: Extra inputs are not permitted"),
    ("betas inside", ask(betas=["x"]), "betas: Extra inputs are not permitted"),
    ("output_format", ask(output_format={}), "output_format: Extra inputs are not permitted"),
    ("store", ask(store=True), "store: Extra inputs are not permitted"),
    ("mcp_servers without beta", ask(mcp_servers=[]), "mcp_servers: Extra inputs are not permitted"),
    (
        "key unknown in a block",
        ask(**blocks(text("hi", bold=True))),
        "messages.0.content.0.text.bold: Extra inputs are not permitted",
    ),
    ("system a number", ask(system=5), "system: Input should be a valid string"),
    ("prefill on a new model", ask(model="claude-opus-4-6", **turns(("user", "a"), ("assistant", "b"))), PREFILL),
    (
        "prefill with a schema",
        ask(**turns(("user", "a"), ("assistant", "{")), **with_schema(LABEL)),
        "Prefilling the assistant message is not supported with output_config.format",
    ),
    ("temperature 2", ask(temperature=2), "temperature: Input should be less than or equal to 1"),
    ("temperature on 4.7", ask(model="claude-opus-4-7", temperature=0.5), f"temperature: {SAMPLED}"),
    ("top_k on 5.5", ask(model="claude-haiku-5-5", top_k=5), f"top_k: {SAMPLED}"),
    # thinking, reference §3.2
    (
        "adaptive on 4.5",
        ask(thinking={"type": "adaptive"}),
        'thinking.type: "adaptive" is not supported for this model. Supported types: enabled, disabled',
    ),
    (
        "enabled on Haiku 5.5",
        ask(model="claude-haiku-5-5", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000),
        'thinking.type: "enabled" is not supported for this model. Supported types: adaptive, disabled',
    ),
    (
        "disabled on Fable",
        ask(model="claude-fable-5", thinking={"type": "disabled"}),
        'thinking.type: "disabled" is not supported for this model. Supported types: adaptive',
    ),
    (
        "disabled on Sonnet 5.5",
        ask(model="claude-sonnet-5-5", thinking={"type": "disabled"}),
        'thinking.type: "disabled" is not supported for this model. Supported types: adaptive, between_tools',
    ),
    (
        "too much effort without thinking",
        ask(model="claude-haiku-5-5", thinking={"type": "disabled"}, output_config={"effort": "max"}),
        "output_config.effort: this effort requires thinking; at most 'high' goes with thinking 'disabled'",
    ),
    (
        "budget too small",
        ask(thinking={"type": "enabled", "budget_tokens": 100}, max_tokens=2000),
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    (
        "budget beyond max_tokens",
        ask(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=1024),
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    (
        "thinking with temperature",
        ask(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000, temperature=0),
        "`temperature` may only be set to 1 when thinking is enabled.",
    ),
    (
        "effort where there is none",
        ask(output_config={"effort": "low"}),
        "This model does not support the effort parameter.",
    ),
    (
        "an effort the model lacks",
        ask(model="claude-opus-4-5", output_config={"effort": "max"}),
        "output_config.effort: 'max' is not supported for this model. Supported levels: low, medium, high",
    ),
    (
        "effort unknown",
        ask(model="claude-opus-5", output_config={"effort": "some"}),
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    ("task budget without beta", ask(output_config={"task_budget": {}}), "output_config.task_budget: Extra inputs are"),
    ("geography on 4.5", ask(inference_geo="us"), "inference_geo: not supported for this model"),
    (
        "geography unknown",
        ask(model="claude-opus-5", inference_geo="moon"),
        "inference_geo: Input should be 'us' or 'global'",
    ),
    # tools
    (
        "tool name unfit",
        ask(tools=[tool("a b")]),
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    ("tool named twice", ask(tools=[tool(), tool()]), "tools: Tool names must be unique."),
    ("tool without schema", ask(tools=[{"name": "a"}]), "tools.0.input_schema: Field required"),
    (
        "tool of unknown type",
        ask(tools=[{"type": "crystal_ball", "name": "a"}]),
        "tools.0: Input tag 'crystal_ball' found",
    ),
    (
        "choice without tools",
        ask(tool_choice={"type": "auto"}),
        "tool_choice: may only be specified while providing tools.",
    ),
    (
        "choice of a tool that is not there",
        ask(tools=[tool()], tool_choice={"type": "tool", "name": "lose"}),
        "tool_choice: Tool 'lose' not found in provided tools",
    ),
    (
        "forced tool on Opus 5.5",
        ask(model="claude-opus-5-5", tools=[tool()], tool_choice={"type": "any"}),
        "tool_choice: forced tool use is not supported for this model",
    ),
    (
        "forced tool while thinking",
        ask(
            tools=[tool()],
            tool_choice={"type": "any"},
            thinking={"type": "enabled", "budget_tokens": 1024},
            max_tokens=2000,
        ),
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    (
        "strict toolset",
        ask(tools=[{"type": "computer_toolset_20260801", "strict": True}]),
        "tools.0: strict is not supported for this tool",
    ),
    (
        "tool use without result",
        ask(**turns(("user", "a"), ("assistant", [TOOL_USE]), ("user", "b"))),
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1.",
    ),
    (
        "tool result without use",
        ask(**turns(("user", [TOOL_RESULT]))),
        "messages.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_1.",
    ),
    (
        "blank stop sequence",
        ask(stop_sequences=[" "]),
        "stop_sequences: each stop sequence must contain non-whitespace",
    ),
    # structured output, reference §4
    ("format unknown", ask(output_config={"format": {"type": "xml"}}), "output_config.format: Input tag 'xml' found"),
    (
        "schema missing",
        ask(output_config={"format": {"type": "json_schema"}}),
        "output_config.format.json_schema.schema: Field",
    ),
    (
        "object open",
        ask(**with_schema({"type": "object", "properties": {}})),
        f"{FORMAT}: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    (
        "bounds",
        ask(**with_schema(thing(score={"type": "integer", "minimum": 1, "maximum": 5}))),
        f"{FORMAT}.properties.score: For 'integer' type, properties minimum, maximum are not supported",
    ),
    (
        "lengths",
        ask(**with_schema(thing(name={"type": "string", "minLength": 1}))),
        f"{FORMAT}.properties.name: For 'string' type, properties minLength are not supported",
    ),
    (
        "recursion",
        ask(**with_schema({"$ref": "#/$defs/a", "$defs": {"a": thing(a={"$ref": "#/$defs/a"})}})),
        f"{FORMAT}.properties.a: Recursive schemas are not supported: #/$defs/a",
    ),
    (
        "25 optional parameters",
        ask(**with_schema({**OPTIONAL, "properties": {f"p{row}": {"type": "string"} for row in range(25)}})),
        COMPLEX,
    ),
    (
        "17 unions",
        ask(**with_schema(thing(**{f"p{row}": {"type": ["string", "null"]} for row in range(17)}))),
        COMPLEX,
    ),
    ("21 strict tools", ask(tools=[tool(f"t{row}", strict=True) for row in range(21)]), COMPLEX),
    (
        "citations with a schema",
        ask(**blocks(document(**CITED), text("?")), **with_schema(LABEL)),
        "Citations are not supported with output_config.format",
    ),
    (
        "citations on some documents",
        ask(**blocks(document(**CITED), document(), text("?"))),
        "Citations must be enabled on all documents in a request, or on none.",
    ),
    # caching
    (
        "five marks",
        ask(**blocks(*(text(f"t{row}", **MARK) for row in range(5)))),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        "an automatic fifth mark",
        ask(**blocks(*(text(f"t{row}", **MARK) for row in range(4))), **MARK),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    (
        "an hour after five minutes",
        ask(**blocks(text("a", **MARK), text("b", **HOUR))),
        "messages.0.content.1: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.",
    ),
    (
        "a lifetime unknown",
        ask(cache_control={"type": "ephemeral", "ttl": "1d"}),
        "cache_control.ttl: Input should be '5m' or '1h'",
    ),
    # media
    (
        "media type unknown",
        ask(**blocks({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": ""}})),
        "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif'",
    ),
    (
        "media type not the data's",
        ask(**blocks({"type": "image", "source": {**image()["source"], "media_type": "image/jpeg"}})),
        "messages.0.content.0.image.source.base64: The file does not appear to be a valid image/jpeg",
    ),
    (
        "not base64",
        ask(**blocks({"type": "image", "source": {**image()["source"], "data": "§§§"}})),
        "messages.0.content.0.image.source.base64.data: Invalid base64 data",
    ),
    (
        "image too wide",
        ask(**blocks(image(8001, 5))),
        "messages.0.content.0.image.source.base64.data: At least one of the image dimensions exceed max allowed",
    ),
    ("too many wide images", ask(**blocks(*(image(2001, 5) for _ in range(21)))), "max allowed size: 2000 pixels"),
    ("too many images", ask(**blocks(*(image() for _ in range(101)))), "messages: Too many images: 101 > 100"),
    ("too many pages", ask(**blocks(pdf(101))), "messages: A maximum of 100 PDF pages may be provided."),
    (
        "prompt too long",
        ask("word " * 170_000),
        "prompt is too long: 212504 tokens > 200000 maximum",
    ),
]
ONLY_IN_BATCHES: list[tuple[str, dict[str, Any], str]] = [
    ("max_tokens 0", ask(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
    ("streaming", ask(stream=True), "stream: Streaming is not supported in batch requests"),
    ("speed", ask(speed="fast"), "speed: Fast mode is not supported in batch requests"),
    ("fallbacks", ask(fallbacks=[]), "fallbacks: Fallbacks are not supported in batch requests"),
    ("threads", ask(thread={}), "thread: Threads are not supported in batch requests"),
    (
        "bill to a user profile",
        ask(billing_policy={"bill_to": "user_profile"}),
        "billing_policy.bill_to: 'user_profile' is not supported in batch requests",
    ),
    ("another user profile", ask(user_profile_id="b"), "user_profile_id: conflicts with the user profile of the batch"),
]
NEW_VERSION: list[tuple[str, dict[str, Any], str]] = [
    ("temperature at its default", ask(temperature=1), "temperature: Extra inputs are not permitted"),
    ("top_p", ask(top_p=1), "top_p: Extra inputs are not permitted"),
    ("top_k", ask(top_k=0), "top_k: Extra inputs are not permitted"),
    (
        "a document of the assistant's",
        ask(**turns(("user", "a"), ("assistant", [document()]), ("user", "b"))),
        "messages.1.content.0: document blocks are not permitted in assistant messages",
    ),
    (
        "a quoting user",
        ask(**blocks(text("a", citations=[{"type": "char_location"}]))),
        "messages.0.content.0.citations: citations are not permitted in user messages",
    ),
    (
        "a quoting search result",
        ask(
            **blocks(
                {
                    "type": "search_result",
                    "source": "s",
                    "title": "t",
                    "content": [text("a", citations=[{"type": "char_location"}])],
                }
            )
        ),
        "messages.0.content.0.citations: citations are not permitted in user messages",
    ),
]
FINE: list[tuple[str, dict[str, Any]]] = [
    ("sampling under the old version", ask(temperature=0, top_p=0.9, top_k=5)),
    ("sampling at its default", ask(model="claude-opus-5", temperature=1)),
    ("prefill on 4.5", ask(**turns(("user", "a"), ("assistant", "b")))),
    ("a system turn", ask(**turns(("user", "a"), ("system", "b"), ("user", "c")))),
    ("turns of one role", ask(**turns(("user", "a"), ("user", "b")))),
    ("thinking", ask(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000)),
    ("adaptive", ask(model="claude-opus-5-5", thinking={"type": "adaptive", "display": "summarized"})),
    ("between tools", ask(model="claude-sonnet-5-5", thinking={"type": "between_tools"})),
    ("a forced tool", ask(tools=[tool()], tool_choice={"type": "tool", "name": "find"})),
    ("a server tool", ask(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}])),
    ("a tool's turn", ask(**turns(("user", "a"), ("assistant", [TOOL_USE]), ("user", [TOOL_RESULT])), tools=[tool()])),
    ("a schema", ask(**with_schema(LABEL))),
    (
        "24 optional parameters",
        ask(**with_schema({**OPTIONAL, "properties": {f"p{r}": {"type": "string"} for r in range(24)}})),
    ),
    ("16 unions", ask(**with_schema(thing(**{f"p{row}": {"type": ["string", "null"]} for row in range(16)})))),
    ("20 strict tools", ask(tools=[tool(f"t{row}", strict=True) for row in range(20)])),
    ("an image", ask(**blocks(image(), text("what?")))),
    (
        "an image by address",
        ask(**blocks({"type": "image", "source": {"type": "url", "url": "https://example.com/a"}})),
    ),
    ("a page", ask(**blocks(pdf(3), text("what?")))),
    ("a file", ask(**blocks({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, text("?")))),
    ("citations", ask(**blocks(document(**CITED), document(**CITED), text("?")))),
    ("four marks", ask(**blocks(*(text(f"t{row}", **MARK) for row in range(4))))),
    ("an hour, then minutes", ask(**blocks(text("a", **HOUR), text("b", **MARK)))),
    ("metadata", ask(metadata={"user_id": "u"}, service_tier="auto", inference_geo=None, container=None)),
    ("geography", ask(model="claude-opus-5", inference_geo="us")),
    ("stream false", ask(stream=False)),
    ("most tokens", ask(max_tokens=64_000)),
]


def errors(api: Api, cases: list[Any], headers: dict[str, str] | None = None) -> list[str]:
    """For each case, the text of its errored line, or nothing."""
    results = api.run(*(case[1] for case in cases), headers=headers)
    return [r["error"]["error"]["message"] if r["type"] == "errored" else "" for r in results]


def assert_told(cases: list[tuple[str, dict[str, Any], str]], told: list[str]) -> None:
    wrong = [(name, text, said) for (name, _params, text), said in zip(cases, told, strict=True) if text not in said]

    assert wrong == []


def test_each_bad_request_of_a_batch_is_an_errored_line_with_the_apis_text(api: Api) -> None:
    profile = {"anthropic-user-profile-id": "a", "anthropic-beta": "some-beta"}

    assert_told(TABLE, errors(api, TABLE))
    assert_told(ONLY_IN_BATCHES, errors(api, ONLY_IN_BATCHES, profile))


def test_each_bad_direct_request_is_refused_with_the_same_text(api: Api) -> None:
    told = []
    for _name, params, _text in TABLE:
        status, kind, message = refusal(api.http.post("/v1/messages", json=params))
        told.append(message)

        assert (status, kind) in {(400, "invalid_request_error"), (404, "not_found_error")}
    assert_told(TABLE, told)


def test_the_newer_api_version_has_three_rules_more(api: Api) -> None:
    assert_told(NEW_VERSION, errors(api, NEW_VERSION, NEW))
    assert errors(api, NEW_VERSION) == [""] * len(NEW_VERSION)


def test_good_requests_are_answered(api: Api) -> None:
    told = errors(api, FINE)

    assert [(case[0], said) for case, said in zip(FINE, told, strict=True) if said] == []


def test_errors_are_nested_twice_and_not_billed(api: Api) -> None:
    (result,) = api.run(ask(model="nope"))

    assert result == {
        "type": "errored",
        "error": {
            "type": "error",
            "error": {"type": "not_found_error", "message": "model: nope"},
            "request_id": None,
        },
    }
    assert api.server.usage()["requests"] == 0


def test_one_bad_request_harms_no_other(api: Api) -> None:
    results = api.run(ask("good"), ask(model="nope"), ask("good too"))

    assert [result["type"] for result in results] == ["succeeded", "errored", "succeeded"]


def test_the_long_output_beta_raises_the_limit_in_batches_only(api: Api) -> None:
    params = ask(model="claude-opus-5", max_tokens=300_000)
    beta = {"anthropic-beta": "output-300k-2026-03-24"}

    assert "300000 > 128000" in api.error(params)
    assert api.error(params, beta) == ""
    assert "300000 > 128000" in refusal(api.http.post("/v1/messages", json=params, headers=beta))[2]
    assert "300000 > 64000" in api.error(ask(max_tokens=300_000), beta)


@pytest.mark.parametrize("beta", ["mcp-client-2025-11-20", "a, mcp-client-2026-09-15"])
def test_a_beta_opens_its_keys(api: Api, beta: str) -> None:
    assert api.error(ask(mcp_servers=[]), {"anthropic-beta": beta}) == ""


def test_params_that_are_no_object_are_refused_at_once(api: Api) -> None:
    body = {"requests": [{"custom_id": "a", "params": [1]}]}

    assert refusal(api.http.post(ROUTE, json=body))[2] == "requests.0.params: Input should be a valid dictionary"
