"""What tests of the run layer stand on: frames of both libraries, a plain server beside the emulator, no leaks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch import run as run_layer
from dfbatch.emulator import Server
from dfbatch.options import Options
from dfbatch.run import thread, tries
from dfbatch.run.clock import WallClock

from .plain_server import PlainServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACE = 0.1
OF_LOOPS = ("dfbatch-io", "asyncio_")  # the I/O thread, and the pool in which it reads files
KEY = "sk-ant-secret-of-this-test"


@pytest.fixture(params=["pandas", "polars"])
def new(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], Any]:
    """Make a frame of columns, in each library."""
    return pd.DataFrame if request.param == "pandas" else pl.DataFrame


@pytest.fixture
def haiku_4_5(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that name no model ask Claude Haiku 4.5: by its prices and limits some tests were computed."""
    defaults = Options.__init__.__kwdefaults__
    assert defaults is not None

    monkeypatch.setitem(defaults, "model", "claude-haiku-4-5")


@pytest.fixture
def plain() -> Iterator[PlainServer]:
    """The independent server."""
    with PlainServer() as server:
        yield server


@pytest.fixture
def claude(plain: PlainServer) -> dfbatch.Anthropic:
    """The backend that asks it."""
    return dfbatch.Anthropic(api_key=KEY, base_url=plain.url)


@pytest.fixture
def emulator() -> Iterator[Server]:
    """An emulator that answers every prompt with its own last line, so that an answer in the wrong row shows."""
    with Server(engine=lambda params: "answer to " + str(params["messages"][-1]["content"])) as server:
        yield server


@pytest.fixture
def local(emulator: Server) -> dfbatch.Anthropic:
    """The backend that asks it."""
    return dfbatch.Anthropic(api_key=KEY, base_url=emulator.url)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock on the wall, ten times as fast: pauses are a tenth as long."""
    pause, began = WallClock.pause, time.time()
    monkeypatch.setattr(tries, "PAUSES", tuple(PACE * pause for pause in tries.PAUSES))
    monkeypatch.setattr(WallClock, "now", lambda _: began + (time.time() - began) / PACE)
    monkeypatch.setattr(WallClock, "pause", lambda clock, seconds, unless: pause(clock, PACE * seconds, unless))


@pytest.fixture(autouse=True)
def nothing_left(ledger_home: Path) -> Iterator[None]:
    """After each test: no thread but the I/O thread, no socket more than before, only private files."""
    thread.start(asyncio.sleep(0)).result()  # the loop's own two sockets are not a leak
    before = _sockets()
    yield
    run_layer.close_ledgers()
    if _sockets() - before:
        gc.collect()
    for one in threading.enumerate():
        if "process_request" in one.name or "AnyIO" in one.name:  # a server's, on its way out
            one.join(10.0)
    names = {one.name for one in threading.enumerate()}

    assert {name for name in names if not name.startswith(OF_LOOPS)} == {"MainThread"}
    assert _sockets() <= before
    for path in [ledger_home, *ledger_home.rglob("*")] if ledger_home.exists() else []:
        mode = path.stat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))


def _sockets() -> set[str]:
    """The sockets of this process by inode."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the folder's own handle is gone by now
            found.add(str(link.readlink()))
    return {name for name in found if name.startswith("socket:")}
