"""One line of a batch's results → what it means for its rows. Reading files and laying columns is not here."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

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


class Block(msgspec.Struct, gc=False):
    """A content block; only text blocks are read, every other type is kept in the raw file."""

    type: str = ""
    text: str | None = None


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
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Meaning(NamedTuple):
    """What a line says before the schema judges it: `text` is to be judged where `outcome` is succeeded."""

    outcome: str
    text: str = ""
    error: str = ""


def meaning(result: Result) -> Meaning:
    """Tell refusals, cut answers and errors apart.

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
        return Meaning("succeeded", text)
    if result.type == "errored":
        return Meaning("errored", error=error_text(result.error))
    if result.type in ("expired", "canceled"):
        return Meaning(result.type, error=f"{result.type} before it was processed")
    unknown = result.type != "succeeded"
    what = f"unknown result type {result.type!r}" if unknown else "succeeded, but without a message"
    return Meaning("errored", error=what)


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
