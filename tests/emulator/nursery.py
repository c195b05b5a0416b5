"""Emulators in processes of their own, quickly: one process loads everything once and forks for each.

As a script it reads orders as JSON, a line each: to start an emulator, to look after one, to end one and tell how it
ended. `Nursery` is the side of the test. An emulator may kill itself by SIGKILL at the n-th line of its code, in
whatever thread, counted from the first call of a function that the order names.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dfbatch.emulator.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ROOT = Path(__file__).parents[2]
CODE = str(ROOT / "dfbatch" / "emulator")
# what is counted, unless answering itself is to be killed: that would drown all else
KEEPING = ("batches", "uploads", "gate", "life", "store", "folder", "endings", "house", "server", "__main__")


class Nursery:
    """The process that forks; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.emulator.nursery"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(self, *options: str, begin: str = "", die_at: int = 0, tally: Path | None = None) -> int:
        """A new emulator's process id. With `begin` it counts its lines from that function on, and dies at `die_at`.

        If it ends by itself, it writes to `tally` how many there were.
        """
        order = {"options": options, "begin": begin, "die_at": die_at, "tally": str(tally or os.devnull)}
        return int(self._asked(order))

    def lives(self, pid: int) -> bool:
        """Whether it still runs, a little later."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.01)
        return self._asked({"look": pid}) is None

    def ended(self, pid: int, how: int = signal.SIGKILL) -> int:
        """Send it that signal, unless it is dead already; its exit code."""
        return int(self._asked({"end": pid, "how": how}))

    def _asked(self, order: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


# ------------------------------------------------------------------ the other process


def serve() -> None:
    codes: dict[int, int] = {}
    for text in sys.stdin:
        order = json.loads(text)
        if "options" in order:
            print(forked(**order), flush=True)
            continue
        pid = order.get("look") or order["end"]
        if "end" in order and pid not in codes:
            os.kill(pid, order["how"])  # not reaped yet, so the id is still its own
        if pid not in codes:
            found, status = os.waitpid(pid, os.WNOHANG if "look" in order else 0)
            if found:
                codes[pid] = os.waitstatus_to_exitcode(status)
        print(json.dumps(codes.get(pid)), flush=True)


def forked(options: list[str], begin: str, die_at: int, tally: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        count = watch(begin, die_at) if begin else lambda: 0
        main([*options, "--exit-with-parent", str(os.getppid())], standalone_mode=False)
        Path(tally).write_text(str(count()))
        code = 0
    finally:
        os._exit(code)


def watch(begin: str, die_at: int) -> Callable[[], int]:
    """Count the lines of the emulator's code from the first call of `begin` on, and die at one; the count so far."""
    lines = itertools.count(1)
    begun = False
    names = ("",) if begin.startswith("Processor") else tuple(f"{os.sep}{name}" for name in KEEPING)
    endings = tuple(f"{name}.py" for name in names)

    def called(frame: FrameType, _event: str, _given: Any) -> Any:
        nonlocal begun
        code = frame.f_code
        if not code.co_filename.startswith(CODE) or not code.co_filename.endswith(endings):
            return None
        begun = begun or code.co_qualname == begin
        return counted

    def counted(_frame: FrameType, event: str, _given: Any) -> Any:
        if begun and event == "line" and next(lines) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return counted

    threading.settrace(called)
    sys.settrace(called)
    return lambda: next(lines)


if __name__ == "__main__":
    importlib.import_module("dfbatch.emulator.engines.sample")
    serve()
