"""One line of a batch's results → what it means for its rows. Reading files and laying columns is not here.

How lines are read that are not clean JSON is in `lenient_json.py`.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from dfbatch.lenient_json import mended, spans

# The order is the code on disk: never reorder, only append.
OUTCOMES: Final = (
    "pending",
    "succeeded",
    "refused",
    "truncated",
    "invalid",
    "errored",
    "expired",
    "canceled",
    "skipped",
    "missing",
)
CODE: Final = {name: code for code, name in enumerate(OUTCOMES)}
PENDING, SUCCEEDED = CODE["pending"], CODE["succeeded"]
FINAL: Final = frozenset({"succeeded", "refused", "truncated", "invalid"})  # paid for, hence reused by later runs

# What was found out about each request of a chunk, in the order of its map; `offset` and `length` point at its line.
FOUND = np.dtype(
    [
        ("outcome", "u1"),
        ("input", "<u4"),
        ("output", "<u4"),
        ("written", "<u4"),
        ("read", "<u4"),
        ("written_1h", "<u4"),  # of those written
        ("us", "u1"),  # processed in the United States, which costs more
        ("offset", "<i8"),
        ("length", "<i8"),
    ]
)

BILLED: Final = ["input", "output", "written", "read", "written_1h", "us"]  # the fields of FOUND that money depends on

_CUT_SHORT = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn"})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_OPENING = re.compile(rb'\{\s*"(?:custom_id|result)"\s*:')  # of a line; in texts, quotes are escaped
_REFUSED = (msgspec.MsgspecError, ValueError, RecursionError)  # what a decoder raises, of text or shape


class Block(msgspec.Struct, gc=False):
    """A content block: the text of text blocks, the name of tool calls; all else is in the raw file alone."""

    type: str = ""
    text: str | None = None
    name: Any = None


class Written(msgspec.Struct, gc=False):
    """Tokens written to the prompt cache, by how long it keeps them."""

    ephemeral_1h_input_tokens: int | None = 0


class Usage(msgspec.Struct, gc=False):
    """Tokens, as the API counts them; most keys may be null or absent."""

    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cache_creation_input_tokens: int | None = 0
    cache_read_input_tokens: int | None = 0
    cache_creation: Written | None = None
    inference_geo: str | None = None


class Message(msgspec.Struct, gc=False):
    """The part of a Message that rows are made of."""

    content: list[Block] = []
    model: str | None = None
    stop_reason: str | None = None
    usage: Usage = msgspec.field(default_factory=Usage)


class Result(msgspec.Struct, gc=False):
    """`type` and, by type, `message` or `error` (doubly nested by the API)."""

    type: str
    message: Message | None = None
    error: Any = None


class Line(msgspec.Struct, gc=False):
    """One line of `GET …/results`."""

    custom_id: str
    result: Result


_decode = msgspec.json.Decoder(Line).decode


def parse(line: bytes) -> Line | None:
    """A line read, or None where it is blank, torn or not of this shape (the server is not trusted)."""
    try:
        return _decode(line)
    except _REFUSED:
        pass  # it was paid for all the same
    try:
        return _decode(mended(line))
    except _REFUSED:
        return None


def lines_in(text: bytes) -> list[tuple[Line, int, int]]:
    """Every whole line in a text that is none itself, with start and end.

    So are read: what follows a byte-order mark, a comment or zero bytes, several on one line, one on several.
    """
    whole = [(parse(text[start:end]), start, end) for start, end in spans(text, _OPENING)]
    return [(line, start, end) for line, start, end in whole if line is not None]


def content(line: bytes) -> Any:
    """All that a line holds, as plain Python."""
    try:
        return msgspec.json.decode(line)
    except _REFUSED:
        return msgspec.json.decode(mended(line))


class Meaning(NamedTuple):
    """What a line says before the schema judges it: `text` is to be judged where `outcome` is succeeded."""

    outcome: str
    text: str = ""
    error: str = ""
    blank: bool = False  # the model ended its turn and wrote nothing, which another try may mend


def meaning(result: Result) -> Meaning:
    """Tell refusals, cut answers and errors apart, and answers without a text.

    `pause_turn` and a full context window count as truncated: the answer is not whole. An unknown result type is
    `errored` and named, never taken for an answer.
    """
    message = result.message
    if result.type == "succeeded" and message is not None:
        stop, text = message.stop_reason, answer(message)
        if stop == "refusal":
            return Meaning("refused", text, "the model refused to answer")
        if stop in _CUT_SHORT:
            return Meaning("truncated", text, f"cut short: {stop}")
        return Meaning("succeeded", text) if text and not text.isspace() else _without_text(message, text)
    if result.type == "errored":
        return Meaning("errored", error=error_text(result.error))
    if result.type in ("expired", "canceled"):
        return Meaning(result.type, error=f"{result.type} before it was processed")
    unknown = result.type != "succeeded"
    what = f"unknown result type {result.type!r}" if unknown else "succeeded, but without a message"
    return Meaning("errored", error=what)


def _without_text(message: Message, text: str) -> Meaning:
    """A call of a tool, or nothing at all; nothing before a stop sequence of the user's is an answer."""
    calls = [str(block.name) for block in message.content if block.type == "tool_use"]
    if calls:
        named = " and ".join(repr(name) for name in dict.fromkeys(calls))
        tools = f"tool{'s' if len(set(calls)) > 1 else ''} {named}"
        what = f"the model called {tools} and wrote no text; include=['message'] holds the call"
        return Meaning("invalid", text, what + ("s" if len(calls) > 1 else ""))
    others = dict.fromkeys(block.type for block in message.content if block.type not in {"text", *_THOUGHTS})
    if others:
        held = ", ".join(map(repr, others))
        return Meaning("invalid", text, f"the answer holds no text, only {held}; include=['message'] holds it")
    if message.stop_reason == "stop_sequence":
        return Meaning("succeeded", text)
    if text:
        return Meaning("invalid", text, "the answer is empty: white space alone", blank=True)
    if message.content and message.content[0].type in _THOUGHTS:
        return Meaning("invalid", text, "the answer is empty: the model thought, and wrote no text", blank=True)
    return Meaning("invalid", text, "the answer is empty", blank=True)


def answer(message: Message) -> str:
    """All text blocks joined: thinking blocks come first, so `content[0]` is never the answer."""
    texts = [block.text for block in message.content if block.type == "text" and block.text]
    return texts[0] if len(texts) == 1 else "".join(texts)


def error_text(error: Any) -> str:
    """`type: message` of a doubly nested error, `error.error.type`; liberal in what it accepts."""
    inner: Any = error
    while isinstance(inner, dict) and isinstance(inner.get("error"), dict):
        inner = inner["error"]
    if not isinstance(inner, dict):
        return str(inner) if inner else "error without details"
    return f"{inner.get('type', 'error')}: {inner.get('message', '')}"


def better(line: bytes, result: Result, other: bytes, other_result: Result) -> bool:
    """Whether the first of two lines for one id is taken: succeeded before what else was paid for, then smaller bytes.

    Judged by content alone, so that the order of lines cannot change a row.
    """
    return (_rank(result), line) < (_rank(other_result), other)


def _rank(result: Result) -> int:
    outcome = meaning(result).outcome
    return 0 if outcome == "succeeded" else 1 if outcome in FINAL else 2
