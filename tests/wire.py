"""A server on a real socket that does what a test says, down to the reset in the middle of a body.

What the API answers when all is well is the emulator's; this is for what goes wrong between the two.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_RESET = struct.pack("ii", 1, 0)  # linger for no time: close() sends RST
BATCH = {"id": "msgbatch_01", "processing_status": "in_progress", "created_at": "2026-11-22T10:00:00Z"}


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it came."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The one value of a header; None where it was not sent. Sent twice, it is an error."""
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1, found
        return found[0] if found else None


@dataclass(slots=True)
class Peer:
    """The client, seen from the server."""

    sock: socket.socket
    calls: list[Call] = field(repr=False)
    ended: threading.Event
    _held: bytes = b""

    def head(self) -> Call | None:
        """Read a call up to its body; None where the client has gone."""
        while b"\r\n\r\n" not in self._held:
            block = self.sock.recv(65536)
            if not block:
                return None
            self._held += block
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = [line.partition(": ") for line in lines]
        call = Call(method, path, [(name.lower(), value) for name, _, value in pairs])
        self.calls.append(call)
        return call

    def read(self, size: int) -> bytes:
        """So many bytes of the body."""
        held = bytearray(self._held)
        while len(held) < size and (block := self.sock.recv(1 << 20)):
            held += block
        self._held = bytes(held[size:])
        return bytes(held[:size])

    def call(self) -> Call | None:
        """Read a whole call."""
        head = self.head()
        if head is None:
            return None
        self.calls[-1] = Call(head.method, head.path, head.headers, self.read(int(head.header("content-length") or 0)))
        return self.calls[-1]

    def reply(self, status: int, body: Any = b"", **headers: str) -> None:
        """Answer; what is not bytes becomes JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"content_type": "text/html" if isinstance(body, bytes) else "application/json", **headers}
        lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in told.items()]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    def reset(self) -> None:
        """Break the connection off."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def say_nothing(self) -> None:
        """Keep the client waiting until the test ends."""
        self.ended.wait(30)


@dataclass(slots=True)
class Wire:
    """`with Wire(serve) as wire:` calls `serve(peer)` for each connection, again and again until it is closed."""

    serve: Callable[[Peer], object]
    calls: list[Call] = field(default_factory=list, repr=False)  # they hold keys
    url: str = ""
    _sock: socket.socket = field(default_factory=socket.socket)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(64)
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}"
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: Callable[..., None], *given: Any) -> None:
        thread = threading.Thread(target=work, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._converse, self._sock.accept()[0])

    def _converse(self, sock: socket.socket) -> None:
        peer = Peer(sock, self.calls, self._ended)
        sock.settimeout(10)
        with sock, contextlib.suppress(OSError):
            while not self._ended.is_set() and sock.fileno() >= 0:
                before = len(self.calls)
                self.serve(peer)
                if len(self.calls) == before:
                    return


def saying(status: int, body: Any = b"", **headers: str) -> Callable[[Peer], None]:
    """Read each call whole and answer the same."""

    def serve(peer: Peer) -> None:
        if peer.call():
            peer.reply(status, body, **headers)

    return serve


def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"
