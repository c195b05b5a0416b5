"""Cells in processes of their own, quickly: one process loads everything once and forks for each cell.

As a script it reads lists of cells as JSON, a line each, and tells of each when it begins and how it ended. `Cells` is
the side of the test. A cell may die by SIGKILL at its n-th step: a file opened to write, renamed or removed, a folder
made, a connection begun, a row written, a transaction begun or committed.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

AT_ONCE = 3
WRITES = ("INSERT", "UPDATE", "DELETE", "BEGIN", "COMMIT")
EVENTS = ("os.rename", "os.remove", "os.mkdir", "socket.connect")


class Cells:
    """The process that forks; a context manager."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.run.cells"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(self, *cells: dict[str, Any]) -> list[int]:
        """Begin these at once; their process ids."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(cells) + "\n")
        self._process.stdin.flush()
        return [self._line()["pid"] for _ in cells[:AT_ONCE]]

    def ended(self, count: int) -> list[dict[str, Any]]:
        """How so many cells ended, in the order they were given."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            line = self._line()
            if "status" in line:
                found.append(line)
        return sorted(found, key=lambda line: int(line["cell"]))

    def run(self, *cells: dict[str, Any]) -> list[dict[str, Any]]:
        """Begin these and wait for their ends."""
        self.start(*cells)
        return self.ended(len(cells))

    def killed(self, pid: int) -> dict[str, Any]:
        """SIGKILL for the one that runs; how it ended."""
        os.kill(pid, signal.SIGKILL)
        return self.ended(1)[0]

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


# ------------------------------------------------------------------ the other process


def serve() -> None:
    """Fork for each cell, a few at once."""
    for text in sys.stdin:
        waiting = list(enumerate(json.loads(text)))
        running: dict[int, tuple[int, Path]] = {}
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                number, cell = waiting.pop(0)
                out = Path(cell["home"]).with_suffix(f".{number}.out")
                pid = os.fork()
                if not pid:
                    live(cell, out)
                running[pid] = number, out
                tell({"cell": number, "pid": pid})
            pid, status = os.wait()
            number, out = running.pop(pid)
            told = json.loads(out.read_text()) if out.exists() else {}
            out.unlink(missing_ok=True)
            tell({"cell": number, "status": os.waitstatus_to_exitcode(status), **told})


def tell(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def live(cell: dict[str, Any], out: Path) -> None:
    """One cell, in the forked process; never returns."""
    steps = itertools.count(1)
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.environ["DFBATCH_HOME"] = cell["home"]
        watch(cell["home"], steps, cell.get("die_at"))
        told = {"steps": 0, **ask(cell)}
        told["steps"] = next(steps) - 1
        out.with_suffix(".part").write_text(json.dumps(told))
        out.with_suffix(".part").replace(out)
        leave(cell)
    except BaseException:  # noqa: BLE001 - whatever it is, the forked process ends here
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def leave(cell: dict[str, Any]) -> None:
    import threading

    if cell.get("leave"):
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does first when it ends


def watch(home: str, steps: Iterable[int], die_at: int | None) -> None:
    """Count steps, and die at one of them."""
    counted = iter(steps)

    def step(*_: object) -> None:
        if next(counted) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(statement: str) -> None:
        if statement.startswith(WRITES):
            step()

    def heard(event: str, args: Sequence[Any]) -> None:
        if (
            event == "open" and str(args[0]).startswith(home) and args[2] & (os.O_WRONLY | os.O_RDWR)
        ) or event in EVENTS:
            step()

    def connected(*args: Any, **settings: Any) -> sqlite3.Connection:
        link: sqlite3.Connection = connect(*args, **settings)
        link.set_trace_callback(traced)
        return link

    sys.addaudithook(heard)
    connect, sqlite3.connect = sqlite3.connect, connected  # type: ignore[assignment]


def ask(cell: dict[str, Any]) -> dict[str, Any]:
    """What the cell says, and what came of it."""
    import pandas as pd

    import dfbatch
    from dfbatch.errors import DfbatchError

    backend = dfbatch.Anthropic(api_key="sk-ant-secret-of-this-test", base_url=cell["url"])
    frame = pd.DataFrame({"text": cell["texts"]})
    os.environ["ANTHROPIC_API_KEY"] = "sk-ant-secret-of-this-test"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dfbatch.RowsFailedWarning)
        try:
            if cell.get("open"):
                run = dfbatch.open(cell["open"])
                answers = run.answers()["answer"].tolist()
                return {"answers": answers, "joined": run.join(frame)["answer"].tolist(), "run": run.id}
            more = {"chunk_size": cell["chunk_size"]} if cell.get("chunk_size") else {}
            if cell.get("until"):
                run = frame.claude.submit("{text}", backend=backend, progress=False, **more)
                return {"run": run.id, "status": run.status}
            out = frame.claude.batch("{text}", backend=backend, progress=False, **more)
            return {"answers": [None if pd.isna(cell) else cell for cell in out["answer"]]}
        except (DfbatchError, dfbatch.Detached) as error:
            notes = getattr(error, "__notes__", [])
            return {"error": type(error).__name__, "text": "\n".join([str(error), *notes])}


def preload() -> None:
    """Everything a cell imports."""
    import asyncio  # noqa: F401
    import concurrent.futures.thread  # noqa: F401

    import httpx
    import pandas as pd  # noqa: F401

    import dfbatch.run
    from dfbatch import schemas  # noqa: F401

    del httpx, dfbatch


if __name__ == "__main__":
    preload()
    serve()
