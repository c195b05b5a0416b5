"""What a server is asked that costs nothing, and what one answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.backends.anthropic import Anthropic
from tests.wire import Wire, saying

if TYPE_CHECKING:
    from collections.abc import Callable

    Ask = Callable[[Anthropic, Callable[[Anthropic], Any]], Any]
    Question = Callable[[Anthropic], Any]

MODEL = "claude-haiku-4-5"
COUNT = {"input_tokens": 12}
INFO = {"type": "model", "id": f"{MODEL}-20251001", "max_input_tokens": 200_000, "max_tokens": 64_000}
PAGE = b"<html><title>Sign in</title></html>"


def encoded(**more: Any) -> bytes:
    return json.dumps(
        {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9} | more
    ).encode()


def counting(backend: Anthropic) -> Any:
    return backend.count(encoded(), ())


def describing(backend: Anthropic) -> Any:
    return backend.describe(MODEL)


both = pytest.mark.parametrize("question", [counting, describing])


def told(ask: Ask, question: Question, status: int, body: Any = b"", **headers: str) -> Any:
    with Wire(saying(status, body, **headers)) as wire:
        return ask(Anthropic(api_key="k", base_url=wire.url), question)


def refusal(kind: str = "some_error", message: str = "no") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
