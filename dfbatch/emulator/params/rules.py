"""The table of rules on params that need several keys, or the model, the version or the kind of call, to be judged.

Each row: of which value, what is bad about it, the text, and under which circumstances the rule holds. A value is a
dotted path, or `~name`, a measure (measures.py). Texts are the API's where known; those marked [?] are ours.
Not here: keys and types of single values (shapes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TOO_COMPLEX = "Schema is too complex for compilation."
NO_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. `than` may be `@fact`: a fact of the model or of the case; `when`: circumstances, `!` negates."""

    of: str
    bad: str
    than: Any = None
    text: str = ""
    when: str = ""


_SAMPLING = "temperature", "top_p", "top_k"

SHARED = (
    Rule("max_tokens", "below", 1, "max_tokens: Input should be greater than or equal to 1", "batch"),
    Rule("max_tokens", "below", 0, "max_tokens: Input should be greater than or equal to 0", "direct"),
    Rule(
        "max_tokens",
        "above",
        "@most",
        "max_tokens: {value} > {than}, which is the maximum allowed number of output tokens for {model}",
    ),
    # reference §3.3: not in a batch. That the line fails, not the call, is read from §1.5 [?]
    Rule("stream", "is", than=True, text="stream: Streaming is not supported in batch requests", when="batch"),
    Rule("speed", "there", text="speed: Fast mode is not supported in batch requests", when="batch"),
    Rule("fallbacks", "there", text="fallbacks: Fallbacks are not supported in batch requests", when="batch"),
    Rule("thread", "there", text="thread: Threads are not supported in batch requests", when="batch"),
    Rule(
        "billing_policy.bill_to",
        "is",
        "user_profile",
        "billing_policy.bill_to: 'user_profile' is not supported in batch requests",
        "batch",
    ),
    Rule("~profile_conflict", "is", than=True, text="user_profile_id: conflicts with the user profile of the batch"),
    # reference §1.2: under 2026-10-21 even default values are refused; text [?]
    *(Rule(key, "there", text=f"{key}: Extra inputs are not permitted", when="2026-10-21") for key in _SAMPLING),
    *(
        Rule(key, "other", default, f"{key}: This model does not support values other than the default", "!sampling")
        for key, default in zip(_SAMPLING, (1, 1, 0), strict=True)
    ),
    Rule("temperature", "above", 1, "temperature: Input should be less than or equal to 1"),
    Rule("top_p", "above", 1, "top_p: Input should be less than or equal to 1"),
    # reference §3.2, the matrix in models.toml
    Rule(
        "thinking.type",
        "outside",
        "@thinking",
        'thinking.type: "{value}" is not supported for this model. Supported types: {than}',
    ),
    Rule(
        "~quiet_effort",
        "above",
        "@quiet_rank",
        "output_config.effort: this effort requires thinking; at most '{quiet}' goes with thinking '{asked}'",
        "limited",
    ),
    Rule("~budget_left", "below", 1, "`max_tokens` must be greater than `thinking.budget_tokens`."),
    Rule(
        "~forced_while_thinking", "is", than=True, text="Thinking may not be enabled when tool_choice forces tool use."
    ),
    Rule("~warm_while_thinking", "is", than=True, text="`temperature` may only be set to 1 when thinking is enabled."),
    Rule("output_config.effort", "there", text="This model does not support the effort parameter.", when="!effort"),
    Rule(
        "output_config.effort",
        "outside",
        "@efforts",
        "output_config.effort: '{value}' is not supported for this model. Supported levels: {than}",
        "effort",
    ),
    Rule(
        "output_config.task_budget",
        "there",
        text="output_config.task_budget: Extra inputs are not permitted",
        when="!task-budgets",
    ),
    Rule("inference_geo", "there", text="inference_geo: not supported for this model", when="!geo"),
    Rule("inference_geo", "outside", ("us", "global"), "inference_geo: Input should be 'us' or 'global'", "geo"),
    # tools
    Rule("~tool_name", "found", text="{value}: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"),
    Rule("~repeated_tool", "found", text="tools: Tool names must be unique."),
    Rule("~choice_without_tools", "is", than=True, text="tool_choice: may only be specified while providing tools."),
    Rule("~unknown_choice", "found", text="tool_choice: Tool '{value}' not found in provided tools"),
    Rule(
        "~forced_tool",
        "is",
        than=True,
        text="tool_choice: forced tool use is not supported for this model",
        when="!forced",
    ),
    Rule("~strict_toolset", "found", text="{value}: strict is not supported for this tool"),
    # structured output, reference §4
    Rule("~strict_tools", "above", 20, TOO_COMPLEX),
    Rule("~schema_problem", "found", text="{value}"),
    Rule("~optional_parameters", "above", 24, TOO_COMPLEX),
    Rule("~union_parameters", "above", 16, TOO_COMPLEX),
    Rule("~blank_stop", "found", text="stop_sequences: each stop sequence must contain non-whitespace"),
)

MESSAGES = (
    Rule("~messages", "below", 1, "messages: at least one message is required"),
    Rule(
        "~messages", "above", 100_000, "messages: List should have at most 100000 items after validation, not {value}"
    ),
    Rule("~last_role", "is", "assistant", NO_PREFILL, "!prefill"),
    Rule(
        "~prefill_with_format",
        "is",
        than=True,
        text="Prefilling the assistant message is not supported with output_config.format",
    ),
    Rule(
        "~empty_message",
        "found",
        text="{value}: all messages must have non-empty content except for the optional final assistant message",
    ),
    Rule("~prompt_tokens", "above", "@context", "prompt is too long: {value} tokens > {than} maximum"),
)

# Only where some message's content is a list of blocks
BLOCKS = (
    Rule("~empty_text", "found", text="messages: text content blocks must be non-empty"),
    Rule(
        "~loose_document",
        "found",
        text="{value}: document blocks are not permitted in assistant messages",
        when="2026-10-21",
    ),
    Rule(
        "~quoted_by_user",
        "found",
        text="{value}.citations: citations are not permitted in user messages",
        when="2026-10-21",
    ),
    Rule("~cited_documents", "is", "some", "Citations must be enabled on all documents in a request, or on none."),
    Rule("~cited_with_format", "is", than=True, text="Citations are not supported with output_config.format"),
    Rule("~unpaired_tools", "found", text="{value}"),
    Rule("~media_problem", "found", text="{value}"),
    Rule("~images", "above", "@media_most", "messages: Too many images: {value} > {than}"),
    Rule("~pages", "above", "@media_most", "messages: A maximum of {than} PDF pages may be provided."),
)

# Wherever cache_control occurs
MARKS = (
    Rule("~cache_marks", "above", 4, "A maximum of 4 blocks with cache_control may be provided. Found {value}."),
    Rule(
        "~ttl_order",
        "found",
        text="{value}: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.",
    ),
)
