"""The plain server where things go wrong: replies are lost, listings are late, batches take long, bodies are too large.

It stands on `plain_server.py` and shares no line with dfbatch or its emulator either.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections import Counter, deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from .plain_server import ROUTE, Gate, PlainServer, digest, echo

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what closes, closes by a reset
MODELS = "/v1/models/"
PLACES = {4: "list", 5: "retrieve", 6: "results"}  # parts of a path → what is called
STATUS = {"overloaded_error": 529, "rate_limit_error": 429, "timeout_error": 504, "invalid_request_error": 400}


class Mishap(NamedTuple):
    """What becomes of a create: `reset`, `close`, a status or `529 page`, a proxy's, with the batch made or not."""

    how: str | int
    accepted: bool


class LossyServer(PlainServer):
    """`mishaps` befall the next creates; new batches run for `lasts` seconds; while `hidden`, none is listed."""

    def __init__(self, result: Callable[[dict[str, Any]], dict[str, Any]] = echo) -> None:
        super().__init__(result)
        self.lasts = 0.0
        self.hidden = self.down = False
        self.wait = self.busy = 0  # seconds that a 429 says, and how many of the next listings are one
        self.quiet = 0  # how many of the next messages are made and never told
        self.held: set[str] = set()  # the texts whose messages wait at the gate; none: all do
        self.most = 1 << 40  # bytes of a body; a longer one is too large
        self.mishaps: deque[Mishap] = deque()
        self.models: dict[str, dict[str, Any]] = {}  # what is told of each; of others nothing is
        self.telling: str | int | bytes = 200  # how: a status, `reset`, or something else altogether
        self.gates["models"] = Gate()
        self.gates["answer"] = self.gates["reply"]  # of messages; one of its own where batches go on meanwhile
        self.direct: Counter[str] = Counter()  # how often `/v1/messages` was paid for each request
        self.called: Counter[str] = Counter()
        self._ends: dict[str, datetime] = {}
        self._http.RequestHandlerClass = _lossy(self, self._http.RequestHandlerClass)

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        batch = super().create(body)
        self._ends[batch["id"]] = self.now() + timedelta(seconds=self.lasts)
        return batch

    def look(self, name: str) -> dict[str, Any]:
        early = self.now() < self._ends[name] and not self.batches[name]["cancel_initiated_at"]
        return dict(self.batches[name]) if early else super().look(name)

    def cancel(self, name: str) -> dict[str, Any]:
        self.look(name)  # it may have ended by now
        return super().cancel(name)

    def page(self, limit: int, after: str = "") -> dict[str, Any]:
        told = super().page(limit, after)
        return told | {"data": [], "has_more": False} if self.hidden else told

    def message(self, params: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """What `/v1/messages` answers, and its status."""
        told = self.result(params)
        if told["type"] == "succeeded":
            self.direct[digest(params)] += 1
            return told["message"], 200
        return told["error"], STATUS.get(told["error"]["error"]["type"], 500)


def _lossy(server: LossyServer, plain: Any) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one class, routes in a row
    class Lossy(plain):  # type: ignore[misc]  # a class that a function made
        disable_nagle_algorithm = True  # head and body are two writes, and the second waited 40 ms

        def handle_one_request(self) -> None:
            if server.down:
                self._cut("reset")
            else:
                super().handle_one_request()

        def end_headers(self) -> None:
            if server.wait and getattr(self, "told", 200) == 429:
                self.send_header("retry-after", str(server.wait))
            super().end_headers()

        def send_response(self, code: int, message: str | None = None) -> None:
            self.told = code
            super().send_response(code, message)

        def do_GET(self) -> None:  # noqa: N802 - as http.server names it
            parts = self.path.partition("?")[0].split("/")
            place = "models" if self.path.startswith(MODELS) else PLACES.get(len(parts), "other")
            server.called[place] += 1
            if place == "models":
                self._describe(parts[-1])
            elif place == "list" and server.busy:
                server.busy -= 1
                self._error(429, "rate_limit_error")
            else:
                super().do_GET()

        def do_POST(self) -> None:  # noqa: N802 - as http.server names it
            if self.path == ROUTE:
                server.called["create"] += 1
                self._create(self._body())
            elif self.path == "/v1/messages":
                server.called["messages"] += 1
                self._answer(json.loads(self._body()))
            elif self.path.endswith("/cancel") and self.path.split("/")[-2] not in server.batches:
                self._error(404, "not_found_error")
            else:
                server.called["cancel"] += self.path.endswith("/cancel")
                super().do_POST()

        def _describe(self, model: str) -> None:
            server.gates["models"].pass_through()
            if server.telling == "reset":
                self._cut("reset")
            elif isinstance(server.telling, bytes):
                self._send(server.telling)
            elif server.telling == 200 and model in server.models:
                self._json(server.models[model])
            else:
                status = int(server.telling)
                self._error(404 if status == 200 else status, "not_found_error" if status == 200 else "api_error")

        def _send(self, text: bytes) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _body(self) -> bytes:
            read: bytes = self.rfile.read(int(self.headers.get("content-length", 0)))
            return read

        def _create(self, body: bytes) -> None:
            server.gates["create"].pass_through()
            if len(body) > server.most:
                self._error(413, "request_too_large")
                return
            mishap = server.mishaps.popleft() if server.mishaps else Mishap(200, accepted=True)
            batch = server.create(json.loads(body)) if mishap.accepted else {}
            server.gates["reply"].pass_through()
            if mishap.how == 200:
                self._json(batch)
            elif mishap.how == "529 page":
                self.send_response(529)
                self.send_header("content-length", "0")
                self.end_headers()
            elif isinstance(mishap.how, int):
                self._error(mishap.how, "overloaded_error" if mishap.how == 529 else "api_error")
            else:
                self._cut(mishap.how)

        def _cut(self, how: str) -> None:
            """End the connection without a word, by a reset or by a plain close."""
            self.close_connection = True
            if how == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                os.close(self.connection.detach())

        def _answer(self, params: dict[str, Any]) -> None:
            server.gates["create"].pass_through()
            told, status = server.message(params)
            if not server.held or params["messages"][0]["content"] in server.held:
                server.gates["answer"].pass_through()
            if server.quiet:
                server.quiet -= 1
                self._cut("close")
            else:
                self._json(told, status)

    return Lossy
