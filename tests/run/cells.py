"""Cells in processes of their own, quickly: one process loads everything once and forks for each cell.

As a script it reads lists of cells as JSON, a line each, and tells of each when it begins and how it ended. `Cells` is
the side of the test. A cell may die by SIGKILL on its way (`deaths.py`), and may have a clock that moves its server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .deaths import Death, watch

if TYPE_CHECKING:
    import pandas as pd

AT_ONCE = 3
TICK = 0.01  # seconds that a pause really takes, at most
LEAP = 60.0  # seconds: a pause of so many or more is for something to happen, and moves no clock
LONGEST = 100  # seconds after which a cell that does not end is killed by SIGALRM


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
    death = Death(cell["home"], cell.get("die_at"), cell.get("die"), cell.get("time", 1), cell.get("graves"))
    signal.alarm(LONGEST)
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.environ["DFBATCH_HOME"] = cell["home"]
        os.environ["ANTHROPIC_API_KEY"] = "sk-ant-secret-of-this-test"
        clock = hasten(cell["clock"], death) if cell.get("clock") else None
        watch(death)
        told = ask(cell) | {"steps": next(death.steps) - 1, "reached": death.reached}
        if clock is not None:
            told["moved"] = clock.moved
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


class Hasty:
    """A clock whose pauses take a moment, and move it and the server's as far as they were meant to take.

    While a POST is under way it is like the clock on the wall.
    """

    def __init__(self, control: str, death: Death) -> None:
        self.moved = 0.0
        self._posting = death.posting
        host, self._path = control.removeprefix("http://").split("/", 1)
        self._server = http.client.HTTPConnection(host)
        self._server.connect()  # now, so that it is no step

    def now(self) -> float:
        return time.time() + self.moved

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(unless.wait(), min(seconds, TICK))
            seconds = 0.0
        unless.clear()
        if 0 < seconds < LEAP and not self._posting:
            self._advance(seconds)

    def _advance(self, seconds: float) -> None:
        self.moved += seconds
        self._server.request("POST", f"/{self._path}", json.dumps({"advance_seconds": seconds}))
        assert self._server.getresponse().read()


def hasten(control: str, death: Death) -> Hasty:
    """Let this process go by a clock that moves the server's too, by posts to its control."""
    import dfbatch.run.clock

    clock = dfbatch.run.clock.wall = Hasty(control, death)
    return clock


def ask(cell: dict[str, Any]) -> dict[str, Any]:
    """What the cell says, and what came of it."""
    import pandas as pd

    import dfbatch
    from dfbatch.errors import DfbatchError

    backend = dfbatch.Anthropic(base_url=cell["url"])
    frame = pd.DataFrame({"text": cell["texts"]})
    more = cell.get("options", {}) | ({"chunk_size": cell["chunk_size"]} if cell.get("chunk_size") else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dfbatch.RowsFailedWarning)
        try:
            if cell.get("open"):
                run = dfbatch.open(cell["open"]) if cell["open"] != "last" else dfbatch.last_run()
                run._progress = False
                if cell.get("resume"):
                    run.resume()
                answers = run.answers()["answer"].tolist()
                out = run.join(frame)
                return {"answers": answers, "joined": out["answer"].tolist(), "run": run.id, "frame": whole(out)}
            if cell.get("until"):
                run = frame.claude.submit("{text}", backend=backend, progress=False, **more)
                return {"run": run.id, "status": run.status}
            if cell.get("preview"):
                frame.claude.preview("{text}", rows=cell["preview"], backend=backend, progress=False, **more)
            out = frame.claude.batch("{text}", backend=backend, progress=False, **more)
            return {"answers": [None if pd.isna(cell) else cell for cell in out["answer"]], "frame": whole(out)}
        except (DfbatchError, dfbatch.Detached) as error:
            notes = getattr(error, "__notes__", [])
            return {"error": type(error).__name__, "text": "\n".join([str(error), *notes])}


def whole(frame: pd.DataFrame) -> dict[str, Any]:
    """All of a frame: index, columns in order, their types and cells."""
    cells = frame.astype(object).where(frame.notna(), None)
    return {"dtypes": [f"{name}: {kind}" for name, kind in frame.dtypes.items()], **cells.to_dict(orient="split")}


def preload() -> None:
    """Everything a cell imports, on its way too."""
    import asyncio  # noqa: F401
    import concurrent.futures.thread  # noqa: F401

    import anyio._backends._asyncio
    import httpcore  # noqa: F401
    import pandas as pd

    import dfbatch.frames.pandas
    import dfbatch.run.shelf
    from dfbatch import options, schemas  # noqa: F401

    pd.DataFrame({"text": ["a"]}).to_dict(orient="split")
    del anyio, dfbatch
    gc.collect()
    gc.freeze()  # what all cells share is looked at no more


if __name__ == "__main__":
    preload()
    serve()
