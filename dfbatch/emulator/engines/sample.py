"""Made-up answers at full speed: deterministic, fitting the schema, covering every shape the API answers in.

An answer follows from the request's digest and the seed alone. Not here: the values that fit a schema (values.py), the
cutting to max_tokens (answers.py).
"""

from __future__ import annotations

from dataclasses import dataclass
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
    from dfbatch.emulator.asks import Ask, Setting
    from dfbatch.emulator.engines.values import Maker
    from dfbatch.emulator.schedule import Law

_BYTES_PER_WORD = 6.4  # of values.WORDS with the space, to turn tokens into words
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Plan:
    """How requests of one setting are answered: worked out once, kept in its scratch."""

    thinks: bool
    shows: bool
    make: Maker | None  # of values that fit the output format
    tools: dict[str, Maker]
    choice: str  # auto, any, none, or tool: then `tools` holds that one alone
    single: bool  # one call at most


class SampleEngine:
    """The default for tests and benchmarks. `output` draws how long free text is, in tokens."""

    name = "sample"
    model_digest = None
    instant = True
    loaded = True

    def __init__(self, *, seed: int, output: Law) -> None:
        self._seed = b"sample %d" % seed
        self._output = output

    def answer(self, ask: Ask) -> Answer:
        """Made up from the request's digest."""
        plan = ask.setting.scratch.get("sample") or _keep_plan(ask.setting)
        draw = Draw(sha256(self._seed + ask.digest).digest())
        thinking, thought = _thinking(ask, plan, draw) if plan.thinks else ([], 0)
        if plan.tools and _calls(ask, plan, draw):
            return Answer([*thinking, *_tool_calls(ask, plan, draw)], "tool_use", thinking_tokens=thought)
        if plan.make is not None:
            return Answer([*thinking, text_block(_encode(plan.make(draw)).decode())], thinking_tokens=thought)
        cited = cited_blocks(ask, draw)
        return Answer([*thinking, *(cited or [text_block(self._text(draw))])], thinking_tokens=thought)

    def close(self) -> None:
        """Nothing is held."""

    def _text(self, draw: Draw) -> str:
        wanted = self._output.at(draw.share())
        count = max(1, round(wanted * 4 / _BYTES_PER_WORD))
        return f"{words(draw, min(count, 100_000)).capitalize()}."


def _keep_plan(setting: Setting) -> _Plan:
    params = setting.params
    thinking = params.get("thinking") or {}
    choice = params.get("tool_choice") or {"type": "auto"}
    form = (params.get("output_config") or {}).get("format")
    own = [tool for tool in params.get("tools") or [] if tool.get("type") in {None, "custom"}]
    plan = _Plan(
        thinks=thinking["type"] in {"adaptive", "enabled"} if thinking else setting.model.thinking_default == "on",
        shows=(thinking.get("display") or ("summarized" if setting.model.tokenizer == "old" else "omitted"))
        == "summarized",
        make=maker(form["schema"]) if form else None,
        tools={tool["name"]: _tool_maker(tool) for tool in own if choice.get("name") in {None, tool["name"]}},
        choice=choice["type"],
        single=bool(choice.get("disable_parallel_tool_use")) or choice["type"] == "tool",
    )
    setting.scratch["sample"] = plan
    return plan


def _tool_maker(tool: dict[str, Any]) -> Maker:
    """A tool's own schema need not be within the subset; one that is beyond us is admitted in an errored line."""
    try:
        return maker({"type": "object", **tool["input_schema"]})
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise _beyond_us(tool["name"], error) from error


def _beyond_us(name: str, error: Exception) -> Exception:
    return invalid(f"tools: the sample engine cannot make input for {name}: {error!r}")


def _thinking(ask: Ask, plan: _Plan, draw: Draw) -> tuple[list[dict[str, Any]], int]:
    budget = (ask.setting.params.get("thinking") or {}).get("budget_tokens", ask.max_tokens)
    text = f"{words(draw, 8 + draw.below(16)).capitalize()}." if plan.shows else ""
    block = {"type": "thinking", "thinking": text, "signature": f"EmulatedSignature{ids.named('sig', ask.digest)}"}
    return [block], min(int(budget), 20 + draw.below(80), max(ask.max_tokens // 2, 1))


def _calls(ask: Ask, plan: _Plan, draw: Draw) -> bool:
    """Whether a tool is called: always if forced, else one half of the time and never just after a result."""
    if plan.choice == "auto":
        return not _just_got_result(ask) and draw.below(2) == 0
    return plan.choice != "none"


def _tool_calls(ask: Ask, plan: _Plan, draw: Draw) -> list[dict[str, Any]]:
    name = draw.of(list(plan.tools))
    count = 1 if plan.single else 1 + (draw.below(4) == 0)
    try:
        inputs = [plan.tools[name](draw) for _ in range(count)]
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError, IndexError) as error:
        raise _beyond_us(name, error) from error
    return [
        {
            "type": "tool_use",
            "id": ids.named("toolu", ask.digest + bytes([row])),
            "name": name,
            "input": made,
            "caller": {"type": "direct"},
            "toolset_name": None,
        }
        for row, made in enumerate(inputs)
    ]


def _just_got_result(ask: Ask) -> bool:
    content = ask.messages[-1]["content"]
    return isinstance(content, list) and any(block["type"] == "tool_result" for block in content)
