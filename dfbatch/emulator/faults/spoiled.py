"""Answers spoiled on purpose, as life does it: refused, cut short, empty, broken JSON, enum values in other letters.

Not here: which answers are hit (Faults.spoil).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.emulator import tokens
from dfbatch.emulator.answers import text_block
from dfbatch.emulator.errors import STATUSES, ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.emulator.answers import Answer
    from dfbatch.emulator.asks import Ask


def _refusal(answer: Answer, ask: Ask, options: dict[str, Any]) -> Answer:
    """Refused before any output: no content, not billed; `late`: in the middle of it, and billed (reference §2.1)."""
    details = {"type": "refusal", "category": options["category"], "explanation": "Refused by the emulator, on demand."}
    if options["late"]:
        return replace(_max_tokens(answer, ask, options), stop_reason="refusal", stop_details=details)
    return replace(
        answer,
        content=[],
        stop_reason="refusal",
        stop_sequence=None,
        stop_details=details,
        output_tokens=0,
        thinking_tokens=0,
        billed=False,
    )


def _max_tokens(answer: Answer, ask: Ask, _options: dict[str, Any]) -> Answer:
    """The text breaks off in the middle."""
    content = _with_text(answer, lambda text: text[: len(text) // 2])
    count = sum(tokens.of_text(block["text"], ask.model) for block in content if block["type"] == "text")
    return replace(answer, content=content, stop_reason="max_tokens", stop_sequence=None, output_tokens=max(1, count))


def _invalid_json(answer: Answer, ask: Ask, _options: dict[str, Any]) -> Answer:
    """Ends as if all were well, and is no JSON."""
    if ask.schema is None:
        return answer
    return replace(answer, content=_with_text(answer, lambda text: text[:-1] + ", and so on"))


def _enum_case(answer: Answer, ask: Ask, _options: dict[str, Any]) -> Answer:
    """Enum and const values in other capitals than the schema's, with no signal."""
    if ask.schema is None:
        return answer
    names = set(_names(ask.schema))

    def drifted(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: drifted(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [drifted(inner) for inner in value]
        return _swapped(value) if isinstance(value, str) and value in names else value

    def text(given: str) -> str:
        try:
            return msgspec.json.encode(drifted(msgspec.json.decode(given))).decode()
        except msgspec.DecodeError:
            return given

    return replace(answer, content=_with_text(answer, text))


def _empty(answer: Answer, _ask: Ask, _options: dict[str, Any]) -> Answer:
    """The turn ends without a block; the prompt is billed."""
    return replace(answer, content=[], stop_reason="end_turn", stop_sequence=None, output_tokens=0, thinking_tokens=0)


def _thoughts_only(answer: Answer, _ask: Ask, _options: dict[str, Any]) -> Answer:
    """The model thinks, and writes nothing."""
    thoughts = {"type": "thinking", "thinking": "Nothing to say.", "signature": "c2lnbmVk"}
    return replace(answer, content=[thoughts], stop_reason="end_turn", output_tokens=4, thinking_tokens=4)


def _tool_call(answer: Answer, _ask: Ask, options: dict[str, Any]) -> Answer:
    """A call of a tool alone, as if one had been offered."""
    call = {"type": "tool_use", "id": "toolu_01", "name": options["tool"], "input": {}, "caller": {"type": "direct"}}
    return replace(answer, content=[call], stop_reason="tool_use", stop_sequence=None, output_tokens=20)


def _errored(_answer: Answer, _ask: Ask, options: dict[str, Any]) -> Answer:
    kind = str(options["kind"])
    raise ApiError("Errored by the emulator, on demand.", status=STATUSES.get(kind, 500), kind=kind)


def _with_text(answer: Answer, change: Callable[[str], str]) -> list[dict[str, Any]]:
    return [
        text_block(change(block["text"]), block.get("citations")) if block["type"] == "text" else block
        for block in answer.content
    ]


def _names(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for part in schema for name in _names(part)]
    if not isinstance(schema, dict):
        return []
    own = [value for value in [*schema.get("enum", []), schema.get("const")] if isinstance(value, str)]
    return own + [name for key, part in schema.items() if key != "enum" for name in _names(part)]


def _swapped(text: str) -> str:
    return text.upper() if text != text.upper() else text.capitalize()


SPOILERS: dict[str, Callable[[Answer, Ask, dict[str, Any]], Answer]] = {
    "refusal": _refusal,
    "max_tokens": _max_tokens,
    "invalid_json": _invalid_json,
    "enum_case": _enum_case,
    "empty": _empty,
    "thoughts_only": _thoughts_only,
    "tool_call": _tool_call,
    "errored": _errored,
}
