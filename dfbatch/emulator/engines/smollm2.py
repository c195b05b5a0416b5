"""Answers from a real language model running here: SmolLM2-135M-Instruct, or any GGUF file, through llama.cpp.

It answers text, in several turns, free or within a JSON schema. What it cannot do (tools it would have to call, pages,
pictures, citations, thinking that is not left to the model) it says in an errored line. Temperature 0; token counts are
the model's own.
Not here: where the weights lie (weights.py).
"""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.emulator import weights
from dfbatch.emulator.answers import Answer, text_block
from dfbatch.emulator.engines.citing import cites
from dfbatch.emulator.engines.turns import Turns
from dfbatch.emulator.errors import invalid

if TYPE_CHECKING:
    from pathlib import Path

    from dfbatch.emulator.asks import Ask

# llama.cpp's own JSON grammar lets the model spend tokens on white space (40 of them seen where 21 do); llguidance,
# which it is built with, can be told not to.
_LLGUIDANCE = "%llguidance {}\nstart: %json "
_COMPACT = {"x-guidance": {"whitespace_flexible": False}}
_STOPS = {"stop": "end_turn", "length": "max_tokens"}


class ModelEngine:
    """Loads on the first answer. One request at a time; llama.cpp reuses the prefix it shares with the last one."""

    instant = False
    loaded = False

    def __init__(self, path: Path | None, *, name: str | None = None, seed: int = 0, context: int = 4096) -> None:
        found = path or weights.find()
        if found is None or not found.is_file():
            raise FileNotFoundError(f"no model weights at {found or weights.PACKAGE}. Hint: {weights.HINT}")
        self.name = name or ("smollm2" if path is None else found.stem)
        self._path = found
        self._seed = seed
        self._context = context
        self._digest: str | None = None
        self._server: Any = None
        self._turns = Turns()

    @property
    def model_digest(self) -> str:
        """sha256 of the weights: who answers is part of an answer's identity."""
        if self._digest is None:
            running = sha256()
            with self._path.open("rb") as file:
                while block := file.read(1 << 20):
                    running.update(block)
            self._digest = running.hexdigest()
        return self._digest

    def answer(self, ask: Ask) -> Answer:
        """What the model says; what it cannot do becomes an errored line."""
        question = _question(ask, self._seed)
        with self._turns:
            reply = self._ask(question)
            word = self._stopped_at(question, reply) if question["stop"] else None
        return _answer(reply, ask, word)

    def close(self) -> None:
        """Let go of the model."""
        self._server = None  # an answer under way holds on to it until it is done
        self.loaded = False

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._server is None:
                self._server = _load(self._path, self._context)
                self.loaded = True
            reply: dict[str, Any] = self._server.handle_chat_completions(question)
        except (ValueError, RuntimeError) as error:  # a schema its grammar cannot express, among others
            raise invalid(str(error)) from error
        if "error" in reply:
            raise invalid(str(reply["error"].get("message", reply["error"])))
        return reply

    def _stopped_at(self, question: dict[str, Any], reply: dict[str, Any]) -> str | None:
        """The stop sequence it ended at, which llama.cpp does not tell: the same answer once more, to its very end."""
        if reply["choices"][0].get("finish_reason") != "stop":
            return None
        whole = self._ask({**question, "stop": [], "max_tokens": reply["usage"]["completion_tokens"]})
        text = whole["choices"][0]["message"].get("content") or ""
        found = [(at, word) for word in question["stop"] if (at := text.find(word)) >= 0]
        return min(found)[1] if found else None


def _load(path: Path, context: int) -> Any:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx = context  # per slot n_ctx / n_parallel, hence one slot
    settings.n_parallel = 1
    settings.warmup = False
    settings.verbosity = -1
    threads = max(1, (os.cpu_count() or 2) - 1)  # its threads spin: leave one core free, or everything stalls
    settings.cpuparams.n_threads = threads
    settings.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(settings)


def _question(ask: Ask, seed: int) -> dict[str, Any]:
    params = ask.setting.params
    if params.get("tools") and (params.get("tool_choice") or {"type": "auto"})["type"] in {"any", "tool"}:
        raise invalid("this local model cannot call tools")
    if (params.get("thinking") or {}).get("type") == "enabled":
        raise invalid("this local model cannot think before it answers")
    turns = [{"role": "system", "content": _text(params["system"])}] if params.get("system") else []
    turns += [{"role": message["role"], "content": _text(message["content"])} for message in ask.messages]
    question: dict[str, Any] = {
        "messages": turns,
        "max_tokens": ask.max_tokens,
        "temperature": 0,
        "seed": seed,
        "stop": params.get("stop_sequences") or [],
    }
    if ask.schema is not None:
        question |= _form(ask.schema)
    return question


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    """How llama.cpp is held to a schema: a compact grammar, or its own where it is built without llguidance."""
    if not _has_llguidance():
        named = {"name": "answer", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"grammar": _LLGUIDANCE + msgspec.json.encode({**_COMPACT, **schema}).decode()}


@cache
def _has_llguidance() -> bool:
    import xllamacpp

    return str(xllamacpp.json_schema_to_grammar('{"type":"null"}')).startswith("%llguidance")


def _text(content: Any) -> str:
    """Plain text of a string or of blocks; other blocks are beyond this model."""
    if isinstance(content, str):
        return content
    parts = []
    for block in content:
        if block["type"] == "text":
            parts.append(block["text"])
        elif block["type"] == "tool_result":
            parts.append(_text(block.get("content") or ""))
        elif cites(block):
            raise invalid("this local model cannot cite")
        elif block["type"] == "document" and block["source"]["type"] in {"text", "content"}:
            parts.append(_text(block["source"].get("data") or block["source"].get("content") or ""))
        elif block["type"] not in {"thinking", "redacted_thinking"}:
            raise invalid(f"this local model reads text only, not {block['type']} blocks")
    return "\n".join(parts)


def _answer(reply: dict[str, Any], ask: Ask, word: str | None) -> Answer:
    choice, usage = reply["choices"][0], reply["usage"]
    text = choice["message"].get("content") or ""
    last = ask.messages[-1]
    if last["role"] == "assistant":  # llama.cpp repeats what it was given to continue, the API does not
        text = text.removeprefix(_text(last["content"]))
    return Answer(
        [text_block(text)] if text else [],
        "stop_sequence" if word else _STOPS.get(choice.get("finish_reason"), "end_turn"),
        stop_sequence=word,
        input_tokens=int(usage["prompt_tokens"]),
        output_tokens=int(usage["completion_tokens"]),
    )
