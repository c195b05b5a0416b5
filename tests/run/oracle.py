"""What becomes of each request, said in a word a try: the same script for the emulator and for the plain server."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from dfbatch.emulator.answers import Answer, text_block
from dfbatch.emulator.errors import STATUSES, ApiError

from .plain_server import succeeded

PASSING = ("overloaded_error", "api_error", "timeout_error", "rate_limit_error")
STOPS = {"cut": "max_tokens", "refused": "refusal", "paused": "pause_turn", "full": "model_context_window_exceeded"}
FINE, UNFIT = '{"answer": "x"}', '{"answer": "neither"}'  # of a Literal["x", "y"]


class Oracle:
    """`Oracle({"a": ["api_error", "fine"]})`: the first try of "a" fails, the next is answered; others are `fine`.

    Words: fine, unfit, cut, refused, paused, full, expired and canceled (the plain server alone), or a type of error.
    """

    def __init__(self, script: dict[str, list[str]] | None = None) -> None:
        self.script = script or {}
        self.asked: list[dict[str, Any]] = []
        self._tries: Counter[str] = Counter()
        self._told: dict[int, dict[str, Any]] = {}
        self._guard = threading.RLock()

    def texts(self) -> list[str]:
        """What was asked, in order of the answers."""
        return [str(params["messages"][0]["content"]) for params in self.asked]

    def _word(self, params: dict[str, Any]) -> str:
        text = str(params["messages"][0]["content"])
        with self._guard:
            self.asked.append(params)
            words = self.script.get(text, ["fine"])
            self._tries[text] += 1
            return words[min(self._tries[text], len(words)) - 1]

    def engine(self, params: dict[str, Any]) -> Answer:
        """For the emulator."""
        word = self._word(params)
        if word in STATUSES:
            raise ApiError("no", kind=word, status=STATUSES[word])
        text = UNFIT if word == "unfit" else FINE
        return Answer([text_block(text)], STOPS.get(word, "end_turn"))

    def result(self, params: dict[str, Any]) -> dict[str, Any]:
        """For the plain server."""
        if id(params) not in self._told:  # one try, however often its line is looked at
            self._told[id(params)] = self._line(self._word(params))
        return self._told[id(params)]

    def _line(self, word: str) -> dict[str, Any]:
        if word in ("expired", "canceled"):
            return {"type": word}
        if word.endswith("_error"):
            return {"type": "errored", "error": {"type": "error", "error": {"type": word, "message": "no"}}}
        return succeeded(UNFIT if word == "unfit" else FINE, stop_reason=STOPS.get(word, "end_turn"))
