"""A result line: the bytes a batch's requester reads, and the record of what it cost.

Not here: who answers (engines/), when (processing.py), in which order lines are streamed (life.py).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.emulator import answers
from dfbatch.emulator.records import rates

if TYPE_CHECKING:
    from dfbatch.emulator.answers import Answer
    from dfbatch.emulator.asks import Ask
    from dfbatch.emulator.caching import Cached
    from dfbatch.emulator.errors import ApiError
    from dfbatch.emulator.records import Row

_encode = msgspec.json.Encoder().encode
_NO_DIGEST = bytes(32)


def succeeded(custom_id: str, ask: Ask, answer: Answer, cached: Cached) -> bytes:
    """A line that holds a Message."""
    message = answers.message(ask, answer, cached, tier="batch", seed=ask.digest + custom_id.encode())
    return _line(custom_id, {"type": "succeeded", "message": message})


def errored(custom_id: str, error: ApiError) -> bytes:
    """Doubly nested: `result.error` is a whole ErrorResponse."""
    return _line(custom_id, {"type": "errored", "error": error.body(None)})


def plain(custom_id: str, kind: str) -> bytes:
    """`canceled` or `expired`."""
    return _line(custom_id, {"type": kind})


def paid_row(offset: int, length: int, ask: Ask, answer: Answer, cached: Cached) -> Row:
    """The record of a succeeded line."""
    prompt = answer.input_tokens if answer.input_tokens is not None else ask.tokens
    return (
        offset,
        length,
        True,
        answer.billed,
        _rate_number(ask.model.rate(prompt)),
        ask.geo == "us",
        prompt - cached.total,
        cached.write_5m,
        cached.write_1h,
        cached.read,
        answer.output_tokens or 0,
        ask.digest,
    )


def free_row(offset: int, length: int) -> Row:
    """The record of an errored line."""
    return (offset, length, False, False, 0, False, 0, 0, 0, 0, 0, _NO_DIGEST)


def _line(custom_id: str, result: dict[str, Any]) -> bytes:
    return _encode({"custom_id": custom_id, "result": result}) + b"\n"


@cache
def _rate_number(rate: str) -> int:
    return rates().index(rate)
