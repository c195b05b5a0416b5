"""What tests of routes stand on: a body to post, and one loop for one question."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from dfbatch.backends.anthropic import Anthropic
    from dfbatch.requests import Body


class Blocks:
    """A body as the wire sees one: a length, and blocks that can be read again."""

    def __init__(self, *blocks: bytes) -> None:
        self.length = sum(map(len, blocks))
        self._blocks = blocks

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)


@pytest.fixture
def small() -> Body:
    """A body that fits into any socket's buffer."""
    return cast("Body", Blocks(b'{"requests":[', b"]}"))


@pytest.fixture
def large() -> Body:
    """A body that fits into none: 32 MB."""
    return cast("Body", Blocks(*[b"x" * (1 << 20)] * 32))


@pytest.fixture
def ask() -> Callable[[Anthropic, Callable[[Anthropic], Awaitable[Any]]], Any]:
    """One question to a backend on a loop of its own; its connections are closed afterwards."""

    def asked(backend: Anthropic, question: Callable[[Anthropic], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            try:
                return await question(backend)
            finally:
                await backend.close()

        return asyncio.run(whole())

    return asked
