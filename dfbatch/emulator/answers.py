"""An engine's answer, cut to what the request allows, and the Message it travels in.

Not here: making answers (engines/), spoiling them on purpose (faults/spoiled.py), result lines (lines.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dfbatch.emulator import ids, tokens

if TYPE_CHECKING:
    from dfbatch.emulator.asks import Ask
    from dfbatch.emulator.caching import Cached


@dataclass(slots=True)
class Answer:
    """Content blocks and how they ended. Token counts that an engine leaves out are counted by the rule."""

    content: list[dict[str, Any]]
    stop_reason: str = "end_turn"
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    thinking_tokens: int = 0
    billed: bool = True


def text_block(text: str, citations: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A text block, `citations` present as in every response."""
    return {"type": "text", "text": text, "citations": citations}


def fitted(answer: Answer, ask: Ask) -> Answer:
    """The answer as the request lets it end: at a stop sequence, at max_tokens, at the end of the context."""
    if not ask.max_tokens:  # a direct call that only warms the cache
        return Answer([], "max_tokens", input_tokens=answer.input_tokens, output_tokens=0)
    if answer.output_tokens is not None:
        return answer
    sequences = ask.setting.params.get("stop_sequences")
    if sequences:
        _stop(answer, sequences)
    room = min(ask.max_tokens, ask.model.context - ask.tokens)
    count = answer.thinking_tokens
    for row, block in enumerate(answer.content):
        cost = _cost(block, ask)
        if count + cost > room:
            _cut_at(answer, ask, row, count, room)
            return answer
        count += cost
    answer.output_tokens = max(count, 1) if answer.content else 0
    return answer


def _cut_at(answer: Answer, ask: Ask, row: int, count: int, room: int) -> None:
    """End the answer within the block at `row`: text is cut, any other block is left out."""
    block = answer.content[row]
    answer.content = answer.content[:row]
    if block["type"] == "text":
        text = _cut(block["text"], room - count, ask)
        count += tokens.of_text(text, ask.model)
        answer.content.append(text_block(text))
    answer.stop_reason = "max_tokens" if room == ask.max_tokens else "model_context_window_exceeded"
    answer.stop_sequence = None
    answer.output_tokens = max(count, 1)


def message(ask: Ask, answer: Answer, cached: Cached, *, tier: str, seed: bytes) -> dict[str, Any]:
    """The Message object, every field present."""
    prompt = answer.input_tokens if answer.input_tokens is not None else ask.tokens
    return {
        "id": ids.message_id(seed),
        "type": "message",
        "role": "assistant",
        "model": ask.asked_model,
        "content": answer.content,
        "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence,
        "stop_details": answer.stop_details,
        "container": None,
        "diagnostics": None,
        "usage": {
            "input_tokens": prompt - cached.total,
            "output_tokens": answer.output_tokens or 0,
            "cache_creation_input_tokens": cached.write_5m + cached.write_1h,
            "cache_read_input_tokens": cached.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": cached.write_5m,
                "ephemeral_1h_input_tokens": cached.write_1h,
            },
            "output_tokens_details": {"thinking_tokens": answer.thinking_tokens},
            "server_tool_use": None,
            "service_tier": tier,
            "inference_geo": ask.geo,
            "speed": "standard",
        },
    }


def _cost(block: dict[str, Any], ask: Ask) -> int:
    if block["type"] == "text":
        return tokens.of_text(block["text"], ask.model)
    return 0 if block["type"] == "thinking" else tokens.of_block(block, ask.model)


def _cut(text: str, room: int, ask: Ask) -> str:
    """As much of the text as `room` tokens hold."""
    share = tokens.scaled(1000, ask.model) / 1000
    cut = text.encode("utf-8", "replace")[: max(0, int(room / share)) * tokens.BYTES].decode("utf-8", "ignore")
    while cut and tokens.of_text(cut, ask.model) > room:
        cut = cut[:-1]
    return cut


def _stop(answer: Answer, sequences: list[str]) -> None:
    """End it before the first stop sequence."""
    for row, block in enumerate(answer.content):
        if block["type"] != "text":
            continue
        found = [(at, word) for word in sequences if (at := block["text"].find(word)) >= 0]
        if found:
            at, answer.stop_sequence = min(found)
            answer.content = [*answer.content[:row], text_block(block["text"][:at])]
            answer.stop_reason = "stop_sequence"
            return
