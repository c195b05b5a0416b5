"""The validation table, row by row, for all keys but `messages`: an errored line in a batch, a 400 with the same text.

Not here: turns, blocks, media and cache marks (test_contents.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .api import LABEL, NEW, ROUTE, ask, refusal, with_schema
from .made import OPTIONAL, assert_told, errors, refusals, thing, tool

if TYPE_CHECKING:
    from .api import Api
    from .made import Case

FORMAT = "output_config.format.schema"
NOT_OFF = (
    '"thinking.type.disabled" is not supported for this model. Thinking defaults to adaptive mode when not specified; '
    'use "thinking.type.enabled" with "budget_tokens" for extended thinking.'
)

# under 2023-06-01
TABLE: list[Case] = [
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
    ("unknown key", ask(colour="red"), "colour: Extra inputs are not permitted"),
    ("betas inside", ask(betas=["x"]), "betas: Extra inputs are not permitted"),
    ("output_format", ask(output_format={}), "output_format: Extra inputs are not permitted"),
    ("store", ask(store=True), "store: Extra inputs are not permitted"),
    ("mcp_servers without beta", ask(mcp_servers=[]), "mcp_servers: Extra inputs are not permitted"),
    ("system a number", ask(system=5), "system: Input should be a valid array"),
    ("temperature 2", ask(temperature=2), "temperature: range: 0..1"),
    (
        "temperature on 4.7",
        ask(model="claude-opus-4-7", temperature=0.5),
        "`temperature` is deprecated for this model.",
    ),
    ("top_k on 5.5", ask(model="claude-haiku-5-5", top_k=5), "`top_k` is deprecated for this model."),
    ("adaptive on 4.5", ask(thinking={"type": "adaptive"}), "adaptive thinking is not supported on this model"),
    (
        "enabled on Haiku 5.5",
        ask(model="claude-haiku-5-5", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000),
        (
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
            '"output_config.effort" to control thinking behavior.'
        ),
    ),
    ("disabled on Fable", ask(model="claude-fable-5", thinking={"type": "disabled"}), NOT_OFF),
    ("disabled on Sonnet 5.5", ask(model="claude-sonnet-5-5", thinking={"type": "disabled"}), NOT_OFF),
    (
        "too much effort without thinking",
        ask(model="claude-haiku-5-5", thinking={"type": "disabled"}, output_config={"effort": "max"}),
        (
            "output_config.effort 'max' is not supported when thinking is disabled on this model. Use effort 'high' or "
            "below, or enable thinking."
        ),
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
        ask(model="claude-opus-4-6", output_config={"effort": "xhigh"}),
        "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
    ),
    (
        "effort unknown",
        ask(model="claude-opus-5", output_config={"effort": "some"}),
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    (
        "task budget without beta",
        ask(output_config={"task_budget": {}}),
        "output_config.task_budget: Extra inputs are not permitted",
    ),
    ("geography on 4.5", ask(inference_geo="us"), "inference_geo: not supported for this model"),
    (
        "geography unknown",
        ask(model="claude-opus-5", inference_geo="moon"),
        "inference_geo: must be one of ['global', 'us']",
    ),
    (
        "tool name unfit",
        ask(tools=[tool("a b")]),
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    ("tool named twice", ask(tools=[tool(), tool()]), "tools: Tool names must be unique."),
    ("tool without schema", ask(tools=[{"name": "a"}]), "tools.0.custom.input_schema: Field required"),
    (
        "tool of unknown type",
        ask(tools=[{"type": "crystal_ball", "name": "a"}]),
        "tools.0: Input tag 'crystal_ball' found using 'type' does not match any of the expected tags: …",
    ),
    (
        "choice without tools",
        ask(tool_choice={"type": "auto"}),
        "tool_choice.auto may only be specified while providing tools",
    ),
    (
        "choice of a tool that is not there",
        ask(tools=[tool()], tool_choice={"type": "tool", "name": "lose"}),
        "Tool 'lose' not found in provided tools",
    ),
    (
        "forced tool on Opus 5.5",
        ask(model="claude-opus-5-5", tools=[tool()], tool_choice={"type": "any"}),
        'tool_choice: type "tool" and "any" are not supported for this model.',
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
        "blank stop sequence",
        ask(stop_sequences=[" "]),
        "stop_sequences: each stop sequence must contain non-whitespace",
    ),
    (
        "format unknown",
        ask(output_config={"format": {"type": "xml"}}),
        "output_config.format: Input tag 'xml' found using 'type' does not match any of the expected tags: …",
    ),
    (
        "schema missing",
        ask(output_config={"format": {"type": "json_schema"}}),
        "output_config.format.json_schema.schema: Field required",
    ),
    (
        "object open",
        ask(**with_schema({"type": "object", "properties": {}})),
        f"{FORMAT}: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    (
        "bounds",
        ask(**with_schema(thing(score={"type": "integer", "minimum": 1, "maximum": 5}))),
        f"{FORMAT}: For 'integer' type, properties maximum, minimum are not supported",
    ),
    (
        "lengths",
        ask(**with_schema(thing(name={"type": "string", "minLength": 1}))),
        f"{FORMAT}: For 'string' type, property 'minLength' is not supported",
    ),
    (
        "recursion",
        ask(**with_schema({"$ref": "#/$defs/a", "$defs": {"a": thing(a={"$ref": "#/$defs/a"})}})),
        f"{FORMAT}: Recursive schemas are not supported: #/$defs/a",
    ),
    (
        "25 optional parameters",
        ask(**with_schema({**OPTIONAL, "properties": {f"p{row}": {"type": "string"} for row in range(25)}})),
        (
            "Schemas contains too many optional parameters (25), which would make grammar compilation inefficient. "
            "Reduce the number of optional parameters in your tool schemas (limit: 24)."
        ),
    ),
    (
        "17 unions",
        ask(**with_schema(thing(**{f"p{row}": {"type": ["string", "null"]} for row in range(17)}))),
        (
            "Schemas contains too many parameters with union types (17 parameters with type arrays or anyOf). This "
            "causes exponential compilation cost. Reduce the number of nullable or union-typed parameters (limit: 16 "
            "parameters with unions)."
        ),
    ),
    (
        "21 strict tools",
        ask(tools=[tool(f"t{row}", strict=True) for row in range(21)]),
        "Schema is too complex for compilation.",
    ),
    (
        "a lifetime unknown",
        ask(cache_control={"type": "ephemeral", "ttl": "1d"}),
        "cache_control.ttl: Input should be '5m' or '1h'",
    ),
    ("model empty", ask(model=""), "model: String should have at least 1 character"),
    ("tools null", {**ask(), "tools": None}, "tools: Input should be a valid array"),
    ("thinking null", {**ask(), "thinking": None}, "thinking: Input should be an object"),
    ("max_tokens negative", ask(max_tokens=-1), "max_tokens: must be greater than or equal to …"),
    ("top_p below its range", ask(top_p=-0.1), "top_p: range: 0..1"),
    ("hints", ask(cache_hint={}), "cache_hint: Extra inputs are not permitted"),
    ("a preview", ask(research_preview_2026_02="active"), "research_preview_2026_02: Extra inputs are not permitted"),
    ("two mistakes", ask(stop_sequences="a", tools="b"), "tools: Input should be a valid array"),
    ("container without its tool", ask(container="c"), "container: Container identifier can only be provided when …"),
    (
        "tool whose schema has no type",
        ask(tools=[{"name": "a", "input_schema": {}}]),
        "tools.0.custom.input_schema.type: Field required",
    ),
    ("tool without name", ask(tools=[tool("")]), "tools.0.custom.name: String should have at least 1 character"),
    (
        "named tool without tools",
        ask(tool_choice={"type": "tool", "name": "a"}),
        "Tool 'a' not found in provided tools",
    ),
    (
        "strict tool that is open",
        ask(tools=[{"name": "a", "strict": True, "input_schema": {"type": "object"}}]),
        "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    (
        "properties of any name",
        ask(**with_schema({"type": "object", "additionalProperties": {"type": "string"}})),
        f"{FORMAT}: For 'object' type, 'additionalProperties: object' is not supported. Please set …",
    ),
    *(
        (f"schema with {said}", ask(**with_schema(thing(a=part))), f"{FORMAT}: {text}")
        for said, part, text in (
            ("oneOf", {"oneOf": [{"type": "null"}]}, "a schema needs a type, …"),
            ("multipleOf", {"type": "number", "multipleOf": 2}, "For 'number' type, property 'multipleOf' is not …"),
            (
                "two items",
                {"type": "array", "items": {"type": "null"}, "minItems": 2},
                "For 'array' type, 'minItems' …",
            ),
            ("maxItems", {"type": "array", "maxItems": 2}, "For 'array' type, property 'maxItems' is not supported"),
            ("an external reference", {"$ref": "http://a/b"}, "External $ref is not supported: http://a/b"),
            ("a lost reference", {"$ref": "#/$defs/a"}, "cannot resolve $ref #/$defs/a"),
            ("allOf of references", {"allOf": [{"$ref": "#/$defs/a"}]}, "allOf with $ref is not supported"),
            ("complex enum values", {"enum": [{"a": 1}]}, "Enum values must be primitive"),
            ("an unknown format", {"type": "string", "format": "colour"}, "string format 'colour' is not supported"),
            ("lookahead", {"type": "string", "pattern": "(?=a)"}, "Regex lookaround are not supported in pattern"),
            ("a backreference", {"type": "string", "pattern": r"(a)\1"}, "Regex backreferences are not supported …"),
            ("word boundaries", {"type": "string", "pattern": r"\ba"}, "Regex word boundaries are not supported …"),
            ("many repeats", {"type": "string", "pattern": "a{1,9999}"}, "Regex large repetition counts are not …"),
            ("a broken pattern", {"type": "string", "pattern": "("}, "Invalid regex in pattern: ("),
            ("alternatives that are no list", {"anyOf": "x"}, "'anyOf' must be an array"),
            ("no alternatives", {"anyOf": []}, "'anyOf' must not be empty"),
            ("an unknown type", {"type": "file"}, "Schema type 'file' is not supported"),
        )
    ),
]
ONLY_IN_BATCHES: list[Case] = [
    ("max_tokens 0", ask(max_tokens=0), "max_tokens: must be greater than or equal to 1"),
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
NEW_VERSION: list[Case] = [
    ("temperature at its default", ask(temperature=1), "temperature: Extra inputs are not permitted"),
    ("top_p", ask(top_p=1), "top_p: Extra inputs are not permitted"),
    ("top_k", ask(top_k=0), "top_k: Extra inputs are not permitted"),
]
FINE: list[tuple[str, dict[str, Any]]] = [
    ("sampling under the old version", ask(temperature=0, top_p=0.9, top_k=5)),
    ("sampling at its default", ask(model="claude-opus-5", temperature=1)),
    ("thinking", ask(thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=2000)),
    ("adaptive", ask(model="claude-opus-5-5", thinking={"type": "adaptive", "display": "summarized"})),
    ("between tools", ask(model="claude-sonnet-5-5", thinking={"type": "between_tools"})),
    ("a forced tool", ask(tools=[tool()], tool_choice={"type": "tool", "name": "find"})),
    ("a server tool", ask(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}])),
    ("a schema", ask(**with_schema(LABEL))),
    (
        "24 optional parameters",
        ask(**with_schema({**OPTIONAL, "properties": {f"p{r}": {"type": "string"} for r in range(24)}})),
    ),
    ("16 unions", ask(**with_schema(thing(**{f"p{row}": {"type": ["string", "null"]} for row in range(16)})))),
    ("20 strict tools", ask(tools=[tool(f"t{row}", strict=True) for row in range(20)])),
    ("metadata", ask(metadata={"user_id": "u"}, service_tier="auto", inference_geo=None, container=None)),
    ("geography", ask(model="claude-opus-5", inference_geo="us")),
    ("stream false", ask(stream=False)),
    ("most tokens", ask(max_tokens=64_000)),
    ("nothing in particular", {**ask(), "cache_control": None, "speed": None} | {"speed": None}),
    (
        "a container and its tool",
        ask(container="c", tools=[{"type": "code_execution_20260521", "name": "code_execution"}]),
    ),
    ("a schema of references", ask(**with_schema({"$ref": "#/$defs/a", "$defs": {"a": thing(b={"const": 1})}}))),
]


def test_each_bad_request_of_a_batch_is_an_errored_line_with_the_apis_text(api: Api) -> None:
    profile = {"anthropic-user-profile-id": "a", "anthropic-beta": "some-beta"}

    assert_told(TABLE, errors(api, TABLE))
    assert_told(ONLY_IN_BATCHES, errors(api, ONLY_IN_BATCHES, profile))


def test_each_bad_direct_request_is_refused_with_the_same_text(api: Api) -> None:
    assert_told(TABLE, refusals(api, TABLE))


def test_the_newer_api_version_has_no_sampling_parameters(api: Api) -> None:
    assert_told(NEW_VERSION, errors(api, NEW_VERSION, NEW))
    assert errors(api, NEW_VERSION) == [""] * len(NEW_VERSION)
    for _name, params, text in NEW_VERSION:
        assert refusal(api.http.post("/v1/messages", json=params, headers=NEW))[2] == text


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

    assert refusal(api.http.post(ROUTE, json=body))[2] == "requests.0.params: Input should be an object"
