"""Answers from a Python function of the user's: `params -> answer`, for tests and tutorials.

Not here: the cutting to max_tokens and the Message around it (answers.py), which an answer of any engine goes through.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.emulator.answers import Answer, text_block
from dfbatch.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.emulator.asks import Ask


class FunctionEngine:
    """Calls the function, one call at a time, and keeps every params it was given."""

    model_digest = None
    instant = True
    loaded = True

    def __init__(self, function: Callable[[dict[str, Any]], Any], *, name: str | None = None) -> None:
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.requests: list[dict[str, Any]] = []
        self._function = function
        self._lock = threading.Lock()

    def answer(self, ask: Ask) -> Answer:
        """A str is the text, any other value becomes JSON text; an exception becomes an errored line."""
        params = ask.params
        with self._lock:
            self.requests.append(params)
            try:
                given = self._function(params)
            except ApiError:
                raise
            except BaseException as error:  # pytest.fail and sys.exit too: nothing else would ever be answered
                raise ApiError(f"{type(error).__name__}: {error}", status=500) from error
        if isinstance(given, Answer):
            return given
        return Answer([text_block(given if isinstance(given, str) else _json(given))])

    def close(self) -> None:
        """Nothing is held."""


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError) as error:
        raise ApiError(f"the engine's answer is not JSON: {error}", status=500) from error
