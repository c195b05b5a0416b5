"""Backends in use by runs of this process: the last one out closes the connections. What is sent is not known here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dfbatch.backends import Backend


@dataclass(slots=True)
class _Use:
    """How many runs use a backend; the lock keeps a newcomer from connections that are being closed."""

    process: int = field(default_factory=os.getpid)
    runs: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


_uses: Final[weakref.WeakKeyDictionary[Backend, _Use]] = weakref.WeakKeyDictionary()


@contextlib.asynccontextmanager
async def in_use(backend: Backend) -> AsyncIterator[None]:
    """Keep a backend's connections open until no run on the I/O thread uses it."""
    use = _uses.get(backend)
    if use is None or use.process != os.getpid():  # a forked child has a loop of its own
        use = _uses[backend] = _Use()
    async with use.lock:
        use.runs += 1
    try:
        yield
    finally:
        async with use.lock:
            use.runs -= 1
            if not use.runs:
                await backend.close()
