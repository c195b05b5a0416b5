"""What one cell does to files, tables and sockets, in the order in which it is done: durable first, then sent.

As a script it carries a cell out and tells the order, as this process sees it. `traced` reads the same from what the
system saw, by strace, where there is one. Both know these things:

    ["folder", path]       a folder was made
    ["synced", path]       a file or a folder is on disk
    ["named", path, part]  a file took its name
    ["state", chunk, it]   a chunk's state is committed (for strace: and its page of the log is on disk)
    ["sent", text, sock]   bytes of a body leave: the beginning of them, and through which socket
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
TEXTS: Final = ["a", "b", "c"]
SIZE: Final = 2
HEAD: Final = re.compile(r"(POST|GET) /")
STATE: Final = re.compile(r"UPDATE chunks SET state = '([a-z]+)'.* WHERE id = '([^']+)'", re.DOTALL)
CALLS: Final = "mkdir,mkdirat,rename,renameat,renameat2,fsync,fdatasync,pwrite64,sendto"
SHOWN: Final = 300  # characters of what was sent


@cache
def can_trace() -> bool:
    """Whether this machine lets us look."""
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "true"], check=False).returncode == 0


def order(url: str, home: Path, *, package: Path = ROOT, trace: bool = False) -> list[list[str]]:
    """Carry a cell out in a process of its own, with the dfbatch in this folder; what it did, in order."""
    log = home.parent.with_suffix(".strace")
    command = [sys.executable, "-W", "error", "-m", "tests.run.orders", url, str(home)]
    if trace:
        command = ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log), *command]
    paths = os.pathsep.join([str(package), str(ROOT)])
    told = subprocess.run(
        command, cwd=package, env=os.environ | {"PYTHONPATH": paths}, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(told.stdout)
    assert found["package"] == str(package / "dfbatch")
    return traced(log.read_text()) if trace else found["order"]


# ---------------------------------------------------------------- as the system saw it


def traced(log: str) -> list[list[str]]:
    """What strace wrote, as the same order: a call counts when it has come back."""
    begun: dict[str, str] = {}
    seen: list[list[str]] = []
    logged: dict[str, list[list[str]]] = {}  # states in pages of the log that are not on disk yet
    for line in log.splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.startswith("sendto("):
            seen += _sent(call)
        elif call.endswith("<unfinished ...>"):
            begun[pid] = call.removesuffix("<unfinished ...>")
            continue
        elif told := re.match(r"<\.\.\. \w+ resumed>", call):
            call = begun.pop(pid, "") + call[told.end() :]
        if not re.search(r"\)\s+= \d+", call):
            continue
        name, _, rest = call.partition("(")
        texts = re.findall(r'"((?:[^"\\]|\\.)*)"', rest)
        path = (re.match(r"\d+<([^>]*)>", rest) or [""] * 2)[1]
        if name.startswith("mkdir"):
            seen.append(["folder", texts[0]])
        elif name.startswith("rename"):
            seen.append(["named", texts[1], texts[0]])
        elif name == "pwrite64" and path.endswith("-wal"):
            logged.setdefault(path, []).extend(_states(texts[0]))
        elif name.endswith("sync"):
            seen += [["synced", path], *logged.pop(path, [])]
    return seen


def _sent(call: str) -> list[list[str]]:
    found = re.match(r'sendto\((\d+)<[^>]*>, "((?:[^"\\]|\\.)*)"', call)
    text = found[2].replace('\\"', '"') if found else ""
    return [["sent", text[:SHOWN], found[1]]] if found and not HEAD.match(text) else []


def _states(page: str) -> list[list[str]]:
    """Chunks and their states, as they stand side by side in a page of the table: id, run, ordinal, state."""
    found = re.findall(
        r"(([0-9a-f]{8})-\d+-d[0-9a-f]+)\2(?:\\\d{1,3}|\\.|.)?(submitting|submitted|ended|collected)", page
    )
    return [["state", chunk, state] for chunk, _, state in found]


# --------------------------------------------------------------- as the process sees it


def record(seen: list[list[str]]) -> None:
    """From now on note what is done."""
    _record_files(seen)
    _record_states(seen)
    send: Callable[..., int] = socket.socket.send

    def sends(sock: socket.socket, data: Any, *flags: int) -> int:
        text = bytes(data[: 2 * SHOWN]).decode("latin-1")
        if not HEAD.match(text):
            seen.append(["sent", text[:SHOWN], str(sock.fileno())])
        return send(sock, data, *flags)

    socket.socket.send = sends  # type: ignore[method-assign,assignment]


def _record_files(seen: list[list[str]]) -> None:
    real_open, real_sync, real_replace, real_mkdir = os.open, os.fsync, os.replace, os.mkdir
    paths: dict[int, str] = {}

    def opened(path: Any, *args: Any, **settings: Any) -> int:
        handle = real_open(path, *args, **settings)
        paths[handle] = str(path)
        return handle

    def synced(handle: int) -> None:
        real_sync(handle)
        seen.append(["synced", paths[handle]])

    def replaced(part: Any, path: Any, **settings: Any) -> None:
        real_replace(part, path, **settings)
        seen.append(["named", str(path), str(part)])

    def made(path: Any, *args: Any, **settings: Any) -> None:
        real_mkdir(path, *args, **settings)
        seen.append(["folder", str(path)])

    os.open, os.fsync, os.replace, os.mkdir = opened, synced, replaced, made  # type: ignore[assignment]


def _record_states(seen: list[list[str]]) -> None:
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connected(*args: Any, **settings: Any) -> sqlite3.Connection:
        link = connect(*args, **settings)
        changed: list[list[str]] = []
        durable: list[str] = []

        def heard(statement: str) -> None:
            if told := STATE.match(statement):
                changed.append(["state", told[2], told[1]])
            elif statement.startswith("PRAGMA synchronous="):
                durable[:] = [statement.partition("=")[2]]
            elif statement == "COMMIT":
                seen.extend(changed if durable == ["FULL"] else [])
                changed.clear()

        link.set_trace_callback(heard)
        return link

    sqlite3.connect = connected  # type: ignore[assignment]


def main(url: str, home: str) -> None:
    import pandas as pd

    import dfbatch

    os.environ["DFBATCH_HOME"] = home
    seen: list[list[str]] = []
    record(seen)
    backend = dfbatch.Anthropic(api_key="sk-ant-secret-of-this-test", base_url=url)
    frame: Any = pd.DataFrame({"text": TEXTS})
    out = frame.claude.batch("{text}", backend=backend, progress=False, chunk_size=SIZE)
    assert out["answer"].notna().all()
    print(json.dumps({"package": str(Path(dfbatch.__file__).parent), "order": seen}))


if __name__ == "__main__":
    main(*sys.argv[1:])
