"""A second server of the Message Batches API, written from the facts sheet alone: the independent witness of bills.

Plain `http.server`, a thread a connection. It shares no line with dfbatch or its emulator. Tests stop it at gates: a
request that comes to a closed gate waits there, and whoever tests is told that it has arrived. Its clock is the wall's,
plus what `POST /clock` adds.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Callable

ROUTE = "/v1/messages/batches"
PATIENCE = 30.0


class Gate:
    """Open, or closed: then requests wait in it; `arrived` tells that one has come."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.arrived = threading.Event()
        self.count = 0

    def close(self) -> None:
        self.arrived.clear()
        self.open.clear()

    def pass_through(self) -> None:
        self.count += 1
        self.arrived.set()
        assert self.open.wait(PATIENCE)


def echo(params: dict[str, Any]) -> dict[str, Any]:
    """The result of a request: its own prompt, so that an answer in the wrong row shows."""
    return succeeded("answer to " + str(params["messages"][-1]["content"]), params["model"])


def succeeded(text: str, model: str = "claude-haiku-4-5", **more: Any) -> dict[str, Any]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text, "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    return {"type": "succeeded", "message": message | more}


def always(result: Any) -> Callable[[dict[str, Any]], Any]:
    """The same result for every request."""
    return lambda _: result


def digest(params: dict[str, Any]) -> str:
    """Equal requests are equal here, whatever their custom_id."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


class PlainServer:
    """`with PlainServer() as server`: `.url`, `.billed` (how often each request was paid for), gates at each route."""

    def __init__(self, result: Callable[[dict[str, Any]], dict[str, Any]] = echo) -> None:
        self.result = result
        self.lines: Callable[[list[bytes]], bytes] = lambda lines: b"\n".join(reversed(lines)) + b"\n"
        self.routes = ("list", "create", "reply", "retrieve", "results", "middle", "cancel")
        self.gates = {name: Gate() for name in self.routes}
        self.ending = threading.Event()  # set: batches end at once
        self.ending.set()
        self.batches: dict[str, dict[str, Any]] = {}
        self.requests: dict[str, list[dict[str, Any]]] = {}
        self.billed: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.ahead = timedelta(0)  # of the clock on the wall
        self.takes = timedelta(0)  # how long a batch made now will be under way
        self._due: dict[str, datetime] = {}
        self._guard = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def control(self) -> str:
        """Where its clock is moved."""
        return f"{self.url}/clock"

    @property
    def asked(self) -> Counter[str]:
        """How often each request was accepted, paid for or not."""
        return Counter(digest(item["params"]) for held in self.requests.values() for item in held)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self.gates.values():
            gate.open.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    # what the routes do

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> dict[str, Any]:
        with self._guard:
            self.ahead += timedelta(seconds=seconds)
        return {"now": _rfc3339(self.now())}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        now = self.now()
        with self._guard:
            name = f"msgbatch_01{len(self.requests):022d}"
            self.requests[name], self._due[name] = body["requests"], now + self.takes
            self.batches[name] = {
                "id": name,
                "type": "message_batch",
                "processing_status": "in_progress",
                "request_counts": dict.fromkeys(("succeeded", "errored", "canceled", "expired"), 0)
                | {"processing": len(body["requests"])},
                "created_at": _rfc3339(now),
                "expires_at": _rfc3339(now + timedelta(days=1)),
                "ended_at": None,
                "archived_at": None,
                "cancel_initiated_at": None,
                "results_url": None,
            }
        return self.batches[name]

    def look(self, name: str) -> dict[str, Any]:
        """A batch, ended if its time has come: then its succeeded requests are billed, once."""
        with self._guard:
            batch = self.batches[name]
            over = self.ending.is_set() and self.now() >= self._due[name]
            if batch["ended_at"] is None and (over or batch["cancel_initiated_at"]):
                batch |= {
                    "processing_status": "ended",
                    "ended_at": _rfc3339(self.now()),
                    "results_url": f"{self.url}{ROUTE}/{name}/results",
                }
                if not batch["cancel_initiated_at"]:
                    made = [(item, self.result(item["params"])) for item in self.requests[name]]
                    self.billed.update(digest(item["params"]) for item, told in made if told["type"] == "succeeded")
            return dict(batch)

    def results(self, name: str) -> bytes:
        canceled = self.batches[name]["cancel_initiated_at"]
        made = [
            {
                "custom_id": item["custom_id"],
                "result": {"type": "canceled"} if canceled else self.result(item["params"]),
            }
            for item in self.requests[name]
        ]
        return self.lines([json.dumps(line).encode() for line in made])

    def cancel(self, name: str) -> dict[str, Any]:
        with self._guard:
            batch = self.batches[name]
            if batch["ended_at"] is None:
                batch |= {"processing_status": "canceling", "cancel_initiated_at": _rfc3339(self.now())}
            return dict(batch)

    def page(self, limit: int, after: str = "") -> dict[str, Any]:
        known = [*reversed(self.batches)]
        known = known[known.index(after) + 1 :] if after else known
        names = known[:limit]
        data = [self.look(name) for name in names]
        first, last = (names[0], names[-1]) if names else (None, None)
        return {"data": data, "has_more": len(known) > limit, "first_id": first, "last_id": last}


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _handler(server: PlainServer) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one class, routes in a row
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # heads and bodies are written apart: else each reply takes 40 ms

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base class names it
            """Say nothing."""

        def handle(self) -> None:
            try:
                super().handle()
            except (ConnectionError, BrokenPipeError):  # the client was killed: that is what is tested
                return

        def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - as the base class calls it
            return format_datetime(server.now(), usegmt=True)

        def do_GET(self) -> None:
            server.keys.add(self.headers.get("x-api-key", ""))
            path, _, query = self.path.partition("?")
            parts = path.strip("/").split("/")
            if path == ROUTE:
                server.gates["list"].pass_through()
                asked = parse_qs(query)
                self._json(server.page(int(asked.get("limit", ["20"])[0]), asked.get("after_id", [""])[0]))
            elif path.startswith(ROUTE) and parts[3] not in server.batches:
                self._error(404, "not_found_error")
            elif path.startswith(ROUTE) and len(parts) == 4:
                server.gates["retrieve"].pass_through()
                self._json(server.look(parts[3]))
            elif path.startswith(ROUTE) and server.batches[parts[3]]["ended_at"]:
                server.gates["results"].pass_through()
                self._stream(server.results(parts[3]))
            else:
                self._error(404, "not_found_error")

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # the client was killed on its way: nothing is accepted
                self.close_connection = True
            elif self.path == "/clock":
                self._json(server.advance(json.loads(body)["advance_seconds"]))
            elif self.path == ROUTE:
                server.gates["create"].pass_through()
                batch = server.create(json.loads(body))
                server.gates["reply"].pass_through()
                self._json(batch)
            elif not self.path.endswith("/cancel"):
                self.send_error(404)
            else:
                server.gates["cancel"].pass_through()
                self._json(server.cancel(self.path.split("/")[-2]))

        def _json(self, value: dict[str, Any], status: int = 200) -> None:
            text = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("request-id", "req_plain")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _error(self, status: int, kind: str) -> None:
            error = {"type": kind, "message": "no"}
            self._json({"type": "error", "error": error, "request_id": "req_plain"}, status)

        def _stream(self, text: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/x-jsonl")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            half = len(text) // 2
            self.wfile.write(text[:half])
            self.wfile.flush()
            server.gates["middle"].pass_through()
            self.wfile.write(text[half:])

    return Handler
