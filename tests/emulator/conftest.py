from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.emulator import Server

from .api import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
