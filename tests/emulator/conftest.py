from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from dfbatch.emulator import Server
from dfbatch.emulator.__main__ import _opened, main

from .api import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLAIN = {"engine": "sample", "port": 0, "law": 0, "speed": 1, "tier": "none"}  # the command's defaults are life's
OF_THE_PROCESS = ("ready_file", "exit_with_parent", "quiet")


@pytest.fixture
def serve() -> Iterator[Callable[..., Api]]:
    """Starts emulators with any options; the Api of each holds its server."""
    with ExitStack() as stack:

        def start(**options: Any) -> Api:
            return stack.enter_context(Api(stack.enter_context(Server(**options))))

        yield start


@pytest.fixture
def api(serve: Callable[..., Api]) -> Api:
    """One emulator with the sample engine."""
    return serve()


def by_constructor(faults: list[str], **options: Any) -> Server:
    return Server(faults=faults, **options).start()


def by_command(faults: list[str], **options: Any) -> Server:
    words = [f"--{name}={value}" for name, value in {**PLAIN, **options}.items()]
    given = main.make_context("emulate", [*words, *(f"--fault={fault}" for fault in faults)]).params
    return _opened({name: value for name, value in given.items() if name not in OF_THE_PROCESS})


def by_control(faults: list[str], **options: Any) -> Server:
    server = Server(**options).start()
    assert httpx.post(f"{server.url}/_emulator/faults", json={"faults": faults}).status_code == 200
    return server


@pytest.fixture(params=[by_constructor, by_command, by_control])
def armed(request: pytest.FixtureRequest) -> Iterator[Callable[..., Api]]:
    """Starts emulators with faults, armed in each of the three ways."""
    with ExitStack() as stack:

        def start(*, faults: list[str], **options: Any) -> Api:
            return stack.enter_context(Api(stack.enter_context(request.param(faults, **options))))

        yield start
