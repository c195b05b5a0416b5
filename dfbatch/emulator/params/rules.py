"""The table of rules on params that need several keys, or the model, the version or the kind of call, to be judged.

Each row: of which value, what is bad about it, the text, and under which circumstances the rule holds. A value is a
dotted path, or `~name`, a measure (measures.py). Texts are the API's where users have seen them; those marked [?] are
ours. Of the limits on schemas they are not those of the documentation, "Schema is too complex for compilation."
Not here: keys and types of single values (shapes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dfbatch.emulator.params.schemas import TOO_COMPLEX

NO_PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. `than` may be `@fact`: a fact of the model or of the case; `when`: circumstances, `!` negates.

    With a `code` the value is a dictionary of the error's details.
    """

    of: str
    bad: str
    than: Any = None
    text: str = ""
    when: str = ""
    code: str = ""


_SAMPLING = "temperature", "top_p", "top_k"
_NO_THINKING = {
    "adaptive": "adaptive thinking is not supported on this model",
    "enabled": '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
    '"output_config.effort" to control thinking behavior.',
    "disabled": '"thinking.type.disabled" is not supported for this model. Thinking defaults to adaptive mode when not '
    'specified; use "thinking.type.enabled" with "budget_tokens" for extended thinking.',
    "between_tools": '"thinking.type.between_tools" is not supported for this model.',  # [?]
}

SHARED = (
    Rule("max_tokens", "below", 1, "max_tokens: must be greater than or equal to 1", "batch"),
    Rule("max_tokens", "below", 0, "max_tokens: must be greater than or equal to 0", "direct"),
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
        Rule(key, "other", default, f"`{key}` is deprecated for this model.", "!sampling")
        for key, default in zip(_SAMPLING, (1, 1, 0), strict=True)
    ),
    *(
        Rule(key, bad, than, f"{key}: range: 0..1")
        for key in ("temperature", "top_p")
        for bad, than in (("below", 0), ("above", 1))
    ),
    # reference §3.2, the matrix in models.toml
    *(Rule("thinking.type", "is", kind, text, f"!{kind}") for kind, text in _NO_THINKING.items()),
    Rule(
        "~quiet_effort",
        "above",
        "@quiet_rank",
        "output_config.effort '{effort}' is not supported when thinking is disabled on this model. "
        "Use effort '{quiet}' or below, or enable thinking.",
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
        "This model does not support effort level '{value}'. Supported levels: {than}.",
        "effort",
    ),
    Rule(
        "output_config.task_budget",
        "there",
        text="output_config.task_budget: Extra inputs are not permitted",
        when="!task-budgets",
    ),
    Rule("inference_geo", "there", text="inference_geo: not supported for this model", when="!geo"),
    Rule("inference_geo", "outside", ("us", "global"), "inference_geo: must be one of ['global', 'us']", "geo"),
    # tools
    Rule("~tool_name", "found", text="{value}"),
    Rule("~repeated_tool", "found", text="tools: Tool names must be unique."),
    Rule("~unknown_choice", "found", text="Tool '{value}' not found in provided tools"),
    Rule("~idle_choice", "found", text="tool_choice.{value} may only be specified while providing tools"),
    Rule(
        "~forced_tool",
        "is",
        than=True,
        text='tool_choice: type "tool" and "any" are not supported for this model.',
        when="!forced",
    ),
    Rule("~strict_toolset", "found", text="{value}: strict is not supported for this tool"),
    # structured output, reference §4
    Rule("~strict_tools", "above", 20, TOO_COMPLEX),
    Rule("~schema_problem", "found", text="{value}"),
    Rule(
        "~optional_parameters",
        "above",
        24,
        "Schemas contains too many optional parameters ({value}), which would make grammar compilation inefficient. "
        "Reduce the number of optional parameters in your tool schemas (limit: 24).",
    ),
    Rule(
        "~union_parameters",
        "above",
        16,
        "Schemas contains too many parameters with union types ({value} parameters with type arrays or anyOf). This "
        "causes exponential compilation cost. Reduce the number of nullable or union-typed parameters (limit: 16 "
        "parameters with unions).",
    ),
    Rule(
        "~idle_container",
        "is",
        than=True,
        text="container: Container identifier can only be provided when using the code execution tool",
    ),
    Rule("~blank_stop", "found", text="stop_sequences: each stop sequence must contain non-whitespace"),
)

MESSAGES = (
    Rule("~messages", "below", 1, "messages: at least one message is required"),
    Rule(
        "~messages", "above", 100_000, "messages: List should have at most 100000 items after validation, not {value}"
    ),
    Rule("~unknown_role", "found", text='messages: Unexpected role "{value}". Allowed roles are "user" or "assistant"'),
    Rule("~misplaced_system", "found", text="{value}"),
    Rule("~prefilled", "is", than=True, text=NO_PREFILL, when="!prefill"),
    Rule(
        "~prefill_with_format",
        "is",
        than=True,
        text="Prefilling the assistant message is not supported with output_config.format",
    ),
    Rule("~empty_message", "found", text="{value}"),
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
    *(
        Rule(
            measure,
            "found",
            text="{value[paths][0]}.image.source.base64.data: At least one of the image dimensions exceed max allowed "
            f"size{which}: {{value[max_side_length_pixels]}} pixels",
            code="image_dimensions_too_large",
        )
        for measure, which in (("~wide_images", ""), ("~wide_among_many", " for many-image requests"))
    ),
    Rule("~images", "above", "@media_most", "messages: Too many images: {value} > {than}"),
    Rule("~pages", "above", "@media_most", "messages: A maximum of {than} PDF pages may be provided."),
)

# Wherever cache_control occurs
MARKS = (
    Rule("~cache_marks", "above", 4, "A maximum of 4 blocks with cache_control may be provided. Found {value}."),
    Rule(
        "~ttl_order",
        "found",
        text="{value}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control "
        "block. Note that blocks are processed in the following order: tools, system, messages.",
    ),
    Rule(
        "~ttl_conflict",
        "found",
        text="cache_control.ttl: conflicts with the ttl='{value}' of the last block's own cache_control",  # [?]
    ),
)
