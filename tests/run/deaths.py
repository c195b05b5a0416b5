"""Where a process dies by SIGKILL: at its n-th step, or at a step that has a name; production code knows nothing of it.

A step is a file opened to write, renamed or removed, a folder made, a connection begun, a row written, a transaction
begun or committed. Names are read off what passes by: SQL, files, and what goes over sockets.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WRITES: Final = ("INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT")
EVENTS: Final = ("os.rename", "os.remove", "os.mkdir", "socket.connect")
ROUTE: Final = rb"/v1/messages/batches"
CLOSING: Final = b"]}"  # of a create's body
HEAD_END: Final = b"\r\n\r\n"
SIP: Final = 64  # bytes of results that are read at one time, until some have come
ASKING: Final = (  # (first line of a call, what it is)
    (re.compile(rb"POST " + ROUTE + rb" HTTP"), "create"),
    (re.compile(rb"GET " + ROUTE + rb"\?limit=1 "), "probe"),
    (re.compile(rb"GET " + ROUTE + rb"\?limit=1000[ &]"), "search"),
    (re.compile(rb"GET " + ROUTE + rb"/[^/ ]+/results "), "results"),
    (re.compile(rb"GET " + ROUTE + rb"[/?]"), "poll"),
)
FILES: Final = {".jsonl": "results", "found.npy": "found", ".spool": "spool", "map.npy": "map"}
CHUNK_STATE: Final = re.compile(r"UPDATE chunks SET state = '([a-z]+)'")
RUN_STATUS: Final = re.compile(r"UPDATE runs SET status = '([a-z]+)'")


@dataclass
class Death:
    """When it is: at step `number`, or when the step `name` is reached for the `time`-th time.

    Of the processes that share `graves`, names of files, only as many die.
    """

    home: str
    number: int | None = None
    name: str | None = None
    time: int = 1
    graves: Sequence[str] | None = None
    steps: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    reached: Counter[str] = field(default_factory=Counter)
    posting: set[int] = field(default_factory=set)  # sockets through which a POST is under way
    _passed: list[str] = field(default_factory=list)  # told at the next step: only then are they surely behind us

    def step(self) -> None:
        """One more step."""
        self.go_on()
        if next(self.steps) == self.number:
            self.now()

    def at(self, name: str) -> bool:
        """A step with a name: dies here, if it is the one; whether it is, where the caller has a word to say first."""
        self.reached[name] += 1
        return name == self.name and self.reached[name] == self.time

    def before(self, name: str) -> None:
        """Just before something is done."""
        if self.at(f"before {name}"):
            self.now()

    def after(self, name: str) -> None:
        """What is done by the time of the next step, whatever that is."""
        self._passed.append(f"after {name}")

    def go_on(self) -> None:
        """The step before this one is behind us."""
        passed, self._passed = self._passed, []
        for name in passed:
            if self.at(name):
                self.now()

    def now(self) -> None:
        """Kill this process, with no chance to say anything."""
        if self.graves is None or any(map(_is_new, self.graves)):
            os.kill(os.getpid(), signal.SIGKILL)


def _is_new(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def watch(death: Death) -> None:
    """See all that passes by in this process."""
    _watch_files(death)
    _watch_tables(death)
    _watch_sockets(death)


def _watch_files(death: Death) -> None:
    def heard(event: str, args: Sequence[Any]) -> None:
        if event == "open" and str(args[0]).startswith(death.home):
            death.go_on()
            if args[2] & (os.O_WRONLY | os.O_RDWR):
                death.step()
            elif str(args[0]).endswith(".jsonl"):
                death.before("judging")
        elif event in EVENTS:
            death.step()
            path = str(args[1] if event == "os.rename" else args[0])
            what = next((what for ending, what in FILES.items() if path.endswith(ending)), "other file")
            death.before(f"{event} of {what}")
            death.after(f"{event} of {what}")

    sys.addaudithook(heard)


def _watch_tables(death: Death) -> None:
    def connected(*args: Any, **settings: Any) -> sqlite3.Connection:
        link: sqlite3.Connection = connect(*args, **settings)
        changes: list[str] = []

        def traced(statement: str) -> None:
            death.go_on()
            if statement.startswith(WRITES):
                death.step()
            if told := CHUNK_STATE.match(statement) or RUN_STATUS.match(statement):
                changes.append(told[1])
                death.before(told[1])
            elif "INTO written" in statement:
                death.before("join")
            elif statement.startswith("COMMIT"):
                for change in changes:
                    death.before(f"commit of {change}")
                    death.after(change)
                changes.clear()

        link.set_trace_callback(traced)
        return link

    connect, sqlite3.connect = sqlite3.connect, connected  # type: ignore[assignment]


def _watch_sockets(death: Death) -> None:
    """Calls are known by their first line; a reply's first bytes are read before the process dies of it."""
    asked: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()
    heard: WeakKeyDictionary[socket.socket, bytes] = WeakKeyDictionary()
    send: Callable[..., int] = socket.socket.send
    recv: Callable[..., bytes] = socket.socket.recv

    def sends(sock: socket.socket, data: Any, *flags: int) -> int:
        block = bytes(data)
        if what := next((what for line, what in ASKING if line.match(block)), ""):
            asked[sock], heard[sock] = what, b""
            death.posting |= {sock.fileno()} if what == "create" else set()
        last = not what and asked.get(sock) == "create" and block.endswith(CLOSING)
        if last and death.at("mid-POST"):
            half = send(sock, block[: len(block) // 2])
            death.now()
            return half
        count = send(sock, data, *flags)
        if last:
            death.before("waiting for the reply")
        return count

    def receives(sock: socket.socket, size: int, *flags: int) -> bytes:
        what = asked.get(sock, "")
        block = recv(sock, min(size, SIP) if what == "results" else size, *flags)
        if block and what:
            death.posting.discard(sock.fileno())
            if not heard[sock]:
                death.before(f"reply to {what}")
            begun = heard[sock].partition(HEAD_END)[2]
            heard[sock] += block
            if what == "results" and begun:
                asked[sock] = "the rest"
                death.before("the rest of results")
        return block

    socket.socket.send, socket.socket.recv = sends, receives  # type: ignore[method-assign,assignment]
