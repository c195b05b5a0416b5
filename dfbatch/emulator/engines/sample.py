"""Made-up answers at full speed: deterministic, fitting the schema, covering every shape the API answers in.

An answer follows from the request's digest and the seed alone. Not here: the values that fit a schema (values.py), the
cutting to max_tokens (answers.py).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.emulator import ids
from dfbatch.emulator.answers import Answer, text_block
from dfbatch.emulator.engines.citing import cited_blocks
from dfbatch.emulator.engines.draws import Draw
from dfbatch.emulator.engines.values import maker, words
from dfbatch.emulator.errors import invalid

if TYPE_CHECKING:
    from dfbatch.emulator.asks import Ask
    from dfbatch.emulator.engines.values import Maker
    from dfbatch.emulator.schedule import Law

_BYTES_PER_WORD = 6.4  # of values.WORDS with the space, to turn tokens into words
_encode = msgspec.json.Encoder().encode


class SampleEngine:
    """The default for tests and benchmarks. `output` draws how long free text is, in tokens."""

    name = "sample"
    model_digest = None
    instant = True

    def __init__(self, *, seed: int, output: Law) -> None:
        self._seed = b"sample %d" % seed
        self._output = output

    def answer(self, ask: Ask) -> Answer:
        """Made up from the request's digest."""
        draw = Draw(sha256(self._seed + ask.digest).digest())
        thinking, thought = _thinking(ask, draw)
        tool = _tool(ask, draw)
        if tool is not None:
            return Answer([*thinking, *_tool_calls(ask, tool, draw)], "tool_use", thinking_tokens=thought)
        if ask.schema is not None:
            text = _encode(_maker(ask, "format", ask.schema)(draw)).decode()
            return Answer([*thinking, text_block(text)], thinking_tokens=thought)
        cited = cited_blocks(ask, draw)
        return Answer([*thinking, *(cited or [text_block(self._text(draw))])], thinking_tokens=thought)

    def close(self) -> None:
        """Nothing is held."""

    def _text(self, draw: Draw) -> str:
        wanted = self._output.at(draw.share())
        count = max(1, round(wanted * 4 / _BYTES_PER_WORD))
        return f"{words(draw, min(count, 100_000)).capitalize()}."


def _maker(ask: Ask, name: str, schema: dict[str, Any]) -> Maker:
    """Compiled once for all requests that share the setting."""
    scratch = ask.setting.scratch
    if name not in scratch:
        scratch[name] = maker(schema)
    made: Maker = scratch[name]
    return made


def thinks(ask: Ask) -> bool:
    """Whether the answer opens with a thinking block: as asked, else by the model's default."""
    asked = (ask.setting.params.get("thinking") or {}).get("type")
    return asked in {"adaptive", "enabled"} if asked else ask.model.thinking_default == "on"


def _thinking(ask: Ask, draw: Draw) -> tuple[list[dict[str, Any]], int]:
    if not thinks(ask):
        return [], 0
    asked = ask.setting.params.get("thinking") or {}
    shown = asked.get("display", "summarized" if ask.model.tokenizer == "old" else "omitted") == "summarized"
    budget = int(asked.get("budget_tokens", ask.max_tokens))
    text = f"{words(draw, 8 + draw.below(16)).capitalize()}."
    block = {
        "type": "thinking",
        "thinking": text if shown else "",
        "signature": f"EmulatedSignature{ids.named('sig', ask.digest)}",
    }
    return [block], min(budget, 20 + draw.below(80), max(ask.max_tokens // 2, 1))


def _tool(ask: Ask, draw: Draw) -> dict[str, Any] | None:
    """The tool to call: the forced one, any if any is forced, else one half of the time and never after a result."""
    tools = [tool for tool in ask.setting.params.get("tools") or [] if tool.get("type") in {None, "custom"}]
    choice = ask.setting.params.get("tool_choice") or {"type": "auto"}
    if choice["type"] == "tool":
        named: list[dict[str, Any]] = [tool for tool in tools if tool["name"] == choice["name"]]
        return named[0] if named else None
    if not tools or choice["type"] == "none":
        return None
    if choice["type"] == "auto" and (_just_got_result(ask) or draw.below(2)):
        return None
    chosen: dict[str, Any] = draw.of(tools)
    return chosen


def _tool_calls(ask: Ask, tool: dict[str, Any], draw: Draw) -> list[dict[str, Any]]:
    choice = ask.setting.params.get("tool_choice") or {}
    count = 1 if choice.get("disable_parallel_tool_use") or choice.get("type") == "tool" else 1 + (draw.below(4) == 0)
    schema = {"type": "object", **tool["input_schema"]}
    try:
        make = _maker(ask, f"tool {tool['name']}", schema)
        inputs = [make(draw) for _ in range(count)]
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise invalid(f"tools: the sample engine cannot make input for {tool['name']}: {error!r}") from error
    return [
        {
            "type": "tool_use",
            "id": ids.named("toolu", ask.digest + bytes([row])),
            "name": tool["name"],
            "input": made,
            "caller": {"type": "direct"},
            "toolset_name": None,
        }
        for row, made in enumerate(inputs)
    ]


def _just_got_result(ask: Ask) -> bool:
    content = ask.messages[-1]["content"]
    return isinstance(content, list) and any(block["type"] == "tool_result" for block in content)
