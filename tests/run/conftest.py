"""What tests of the run layer stand on: frames of both libraries, a plain server beside the emulator, no leaks."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch import run as run_layer
from dfbatch.emulator import Server

from .plain_server import PlainServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "sk-ant-secret-of-this-test"


@pytest.fixture(params=["pandas", "polars"])
def new(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], Any]:
    """Make a frame of columns, in each library."""
    return pd.DataFrame if request.param == "pandas" else pl.DataFrame


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
def nothing_left(ledger_home: Path) -> Iterator[None]:
    """After each test: no thread but the I/O thread, no socket more than before, only private files."""
    before = _sockets()
    yield
    run_layer.close_ledgers()
    gc.collect()
    names = {thread.name for thread in threading.enumerate()} - {"MainThread", "dfbatch-io"}

    assert {name for name in names if not name.startswith(("asyncio_", "ThreadPoolExecutor", "emulator", "Any"))} == set()
    assert _sockets() <= before | _of_the_io_thread()
    for path in [ledger_home, *ledger_home.rglob("*")] if ledger_home.exists() else []:
        mode = path.stat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))


def _sockets() -> set[str]:
    """The sockets of this process by inode."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def _of_the_io_thread() -> set[str]:
    return set()
