"""A server for benchmarks: takes batches and answers every request at once, with ready-made answers.

Plain sockets, a thread a connection, so that it takes as little as possible from what is measured. It knows nothing
of dfbatch or the emulator. Run as `python instant_server.py`; prints its address when it listens.
"""

from __future__ import annotations

import itertools
import json
import random
import socketserver
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase

POOL = 1000
ANSWER = {"sentiment": "positive", "score": 4, "urgent": False, "topic": "delivery times and packaging"}

numbers = itertools.count()
batches: dict[str, tuple[dict[str, Any], list[bytes]]] = {}


def tails() -> list[bytes]:
    """Everything behind the custom_id of a result line, in a thousand variants."""
    draw = random.Random(7)
    made = []
    for number in range(POOL):
        text = json.dumps(ANSWER | {"score": draw.randint(1, 5), "topic": f"{ANSWER['topic']} {number}"})
        message = {
            "id": f"msg_{number:024d}",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5-20251001",
            "content": [{"type": "text", "text": text, "citations": None}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 600,
                "output_tokens": 40,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "service_tier": "batch",
            },
        }
        made.append(b'","result":{"type":"succeeded","message":' + json.dumps(message).encode() + b"}}\n")
    return made


TAILS = tails()


def custom_ids(body: BufferedIOBase, length: int) -> list[bytes]:
    """The ids of all requests, read as the body comes in; both clients write compact JSON."""
    found: list[bytes] = []
    mark, rest = b'"custom_id":"', b""
    while length:
        block = body.read(min(length, 1 << 20))
        length -= len(block)
        text, place = rest + block, 0
        while (start := text.find(mark, place)) >= 0 and (end := text.find(b'"', start + len(mark))) >= 0:
            found.append(text[start + len(mark) : end])
            place = end
        rest = text[place:] if start >= 0 else text[max(place, len(text) - len(mark)) :]
    return found


class Connection(socketserver.StreamRequestHandler):
    """One connection, kept alive."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Request after request."""
        while line := self.rfile.readline().decode():
            method, target, _ = line.split()
            headers = {}
            while (header := self.rfile.readline().decode().strip()) != "":
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            parts = target.partition("?")[0].strip("/").split("/")
            if parts[0] != "v1":
                self.wfile.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            elif method == "POST":
                self._answer(self._create(int(headers["content-length"]), headers["host"]))
            elif len(parts) == 3:
                data = [batch for batch, _ in reversed(batches.values())]
                self._answer({"data": data, "has_more": False, "first_id": None, "last_id": None})
            elif len(parts) == 4:
                self._answer(batches[parts[3]][0])
            else:
                self._results(batches[parts[3]][1])

    def _create(self, length: int, host: str) -> dict[str, Any]:
        ids = custom_ids(self.rfile, length)
        number = next(numbers)
        random.Random(number).shuffle(ids)
        now = datetime.now(UTC)
        name = f"msgbatch_{number:024d}"
        batch = {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended",
            "request_counts": {"processing": 0, "succeeded": len(ids), "errored": 0, "canceled": 0, "expired": 0},
            "created_at": now.isoformat(),
            "expires_at": (now + timedelta(days=1)).isoformat(),
            "ended_at": now.isoformat(),
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"http://{host}/v1/messages/batches/{name}/results",
        }
        batches[name] = batch, ids
        return batch

    def _answer(self, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        self.wfile.write(head.encode() + text)

    def _results(self, ids: list[bytes]) -> None:
        blocks = list(lines_of(ids))
        length = sum(map(len, blocks))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/x-jsonl\r\ncontent-length: {length}\r\n\r\n"
        self.wfile.write(head.encode())
        for block in blocks:
            self.wfile.write(block)


def lines_of(ids: list[bytes], size: int = 512) -> Iterator[bytes]:
    """Result lines in the shuffled order of the ids."""
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        yield b"".join(b'{"custom_id":"' + one + TAILS[at % POOL] for at, one in enumerate(part, start))


class Server(socketserver.ThreadingTCPServer):
    """Leaves no threads behind."""

    daemon_threads = True
    allow_reuse_address = True


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Connection) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
