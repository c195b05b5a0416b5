"""The table of keys: what a request's params and its blocks may hold, by name; `!` marks a required key.

Written in the language of forms.py, from the types of the official SDK 2.12.0 (reference §3.1). Where the emulator
only passes something through (server tools and their results), any further key (`*`) is let in.
Not here: whatever depends on the model, the version or another key (rules.py).
"""

from __future__ import annotations

# In the order in which the API looks at them: of several mistakes the first is told
PARAMS = {
    "model!": "string",
    "tool_choice": "<tool_choice>",
    "tools": "[<tool>]",
    "messages!": "[{message}]",
    "system": "string | [{system_text}]",
    "thinking": "<thinking>",
    "output_config": "{output_config}",
    "cache_control": "{cache_control}?",
    "max_tokens!": "integer",
    "metadata": "{metadata}",
    "stop_sequences": "[string]",
    "temperature": "number",
    "service_tier": "'auto' | 'standard_only'",
    "top_k": "integer>=0",
    "top_p": "number",
    "stream": "boolean",
    "container": "string | {passed_on}?",
    "inference_geo": "string?",
    "diagnostics": "{diagnostics}?",
    "speed": "'standard' | 'fast'?",
    "user_profile_id": "string?",
}
# Left off a key that only a beta opens it reads "Extra inputs are not permitted"; the sheet gives no full list, so any
# version of the named beta opens it.
BETA_KEYS = {
    "mcp_servers": ("mcp-client-", "[object]"),
    "context_management": ("context-management-", "{passed_on}?"),
    "compaction": ("compact-", "{passed_on}?"),
    "fallbacks": ("", "[any]?"),
    "fallback_credit_token": ("", "string?"),
    "thread": ("", "{passed_on}?"),
    "billing_policy": ("", "{passed_on}?"),
}
# count_tokens takes these and no max_tokens
COUNTED = {
    key: form
    for key, form in PARAMS.items()
    if key
    in {
        *("model!", "messages!", "system", "tools", "tool_choice", "thinking", "output_config"),
        *("cache_control", "speed"),
    }
}

SHAPES = {
    "params": PARAMS,
    "counted": COUNTED,
    "message": {"role!": "string", "content!": "string | [<block>]"},
    "system_text": {
        "type!": "'text'",
        "text!": "string",
        "cache_control": "{cache_control}?",
        "citations": "[object]?",
    },
    "output_config": {
        "effort": "'low' | 'medium' | 'high' | 'xhigh' | 'max'?",
        "format": "<output_format>?",
        "task_budget": "object?",
    },
    "json_format": {"type!": "'json_schema'", "schema!": "object"},
    "cache_control": {"type!": "'ephemeral'", "ttl": "'5m' | '1h'"},
    "diagnostics": {"previous_message_id": "string?"},
    "metadata": {"user_id": "string?"},
    "passed_on": {"*": "any"},
    # thinking
    "adaptive": {"type!": "'adaptive'", "display": "'summarized' | 'omitted'?"},
    "enabled": {"type!": "'enabled'", "budget_tokens!": "integer>=1024", "display": "'summarized' | 'omitted'?"},
    "disabled": {"type!": "'disabled'"},
    "between_tools": {"type!": "'between_tools'"},
    # tools
    "choice": {"type!": "string", "disable_parallel_tool_use": "boolean"},
    "choice_none": {"type!": "string"},
    "choice_tool": {"type!": "string", "name!": "string", "disable_parallel_tool_use": "boolean"},
    "custom_tool": {
        "type": "'custom'?",
        "name!": "string",
        "input_schema!": "{input_schema}",
        "description": "string",
        "strict": "boolean",
        "cache_control": "{cache_control}?",
        "defer_loading": "boolean",
        "allowed_callers": "[string]",
        "eager_input_streaming": "boolean?",
        "input_examples": "[object]",
    },
    "input_schema": {"type!": "'object'", "properties": "object?", "required": "[string]?", "*": "any"},
    "server_tool": {"type!": "string", "name": "string", "*": "any", "cache_control": "{cache_control}?"},
    # blocks
    "text": {"type!": "string", "text!": "string", "cache_control": "{cache_control}?", "citations": "[object]?"},
    "image": {
        "type!": "string",
        "source!": "<image_source>",
        "cache_control": "{cache_control}?",
        "transformations": "object?",
    },
    "document": {
        "type!": "string",
        "source!": "<document_source>",
        "title": "string?",
        "context": "string?",
        "citations": "{citations}?",
        "cache_control": "{cache_control}?",
    },
    "citations": {"enabled": "boolean"},
    "search_result": {
        "type!": "string",
        "source!": "string",
        "title!": "string",
        "content!": "[{text}]",
        "citations": "{citations}?",
        "cache_control": "{cache_control}?",
    },
    "thinking_block": {"type!": "string", "thinking!": "string", "signature!": "string"},
    "redacted_thinking": {"type!": "string", "data!": "string"},
    "tool_use": {
        "type!": "string",
        "id!": "string",
        "name!": "string",
        "input!": "object",
        "caller": "object",
        "toolset_name": "string?",
        "cache_control": "{cache_control}?",
    },
    "tool_result": {
        "type!": "string",
        "tool_use_id!": "string",
        "content": "string | [<result_block>]",
        "is_error": "boolean",
        "toolset_name": "string?",
        "cache_control": "{cache_control}?",
    },
    "container_upload": {"type!": "string", "file_id!": "string", "cache_control": "{cache_control}?"},
    "server_block": {"type!": "string", "*": "any"},
    # sources
    "image_base64": {
        "type!": "string",
        "media_type!": "'image/jpeg' | 'image/png' | 'image/gif' | 'image/webp'",
        "data!": "string",
    },
    "url": {"type!": "string", "url!": "string"},
    "file": {"type!": "string", "file_id!": "string"},
    "pdf": {"type!": "string", "media_type!": "'application/pdf'", "data!": "string"},
    "plain_text": {"type!": "string", "media_type!": "'text/plain'", "data!": "string"},
    "content": {"type!": "string", "content!": "string | [<result_block>]"},
}

_RESULT_BLOCKS = {"text": "{text}", "image": "{image}", "document": "{document}", "search_result": "{search_result}"}
UNIONS = {
    "output_format": {"json_schema": "{json_format}"},
    "thinking": {
        "adaptive": "{adaptive}",
        "enabled": "{enabled}",
        "disabled": "{disabled}",
        "between_tools": "{between_tools}",
    },
    "tool_choice": {"auto": "{choice}", "any": "{choice}", "tool": "{choice_tool}", "none": "{choice_none}"},
    "tool": {
        "": "custom",  # when there is no type
        "custom": "{custom_tool}",
        **{
            f"{name}_{date}": "{server_tool}"
            for name, dates in {
                "web_search": "20250305 20260209 20260318",
                "web_fetch": "20250910 20260209 20260309 20260318",
                "code_execution": "20250522 20250825 20260120 20260521",
                "bash": "20250124",
                "text_editor": "20250124 20250429 20250728",
                "memory": "20250818",
                "tool_search_tool_bm25": "20251119",
                "tool_search_tool_regex": "20251119",
                "computer_toolset": "20260801",
                "browser_toolset": "20260801",
            }.items()
            for date in dates.split()
        },
    },
    "block": {
        **_RESULT_BLOCKS,
        "thinking": "{thinking_block}",
        "redacted_thinking": "{redacted_thinking}",
        "tool_use": "{tool_use}",
        "tool_result": "{tool_result}",
        "container_upload": "{container_upload}",
        **dict.fromkeys(
            (
                "server_tool_use",
                "web_search_tool_result",
                "web_fetch_tool_result",
                "code_execution_tool_result",
                "bash_code_execution_tool_result",
                "text_editor_code_execution_tool_result",
                "tool_search_tool_result",
            ),
            "{server_block}",
        ),
    },
    "result_block": {**_RESULT_BLOCKS, "tool_reference": "{server_block}"},
    "image_source": {"base64": "{image_base64}", "url": "{url}", "file": "{file}"},
    "document_source": {
        "base64": "{pdf}",
        "text": "{plain_text}",
        "content": "{content}",
        "url": "{url}",
        "file": "{file}",
    },
}
