"""Clocks that tests move: what is paused is what passes, here and, where asked, at the emulator."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfbatch.emulator import Server


class MovingClock:
    """Time moves by what is paused, or by `stride` times that; `behind` is how far it is from the server's."""

    def __init__(self, server: Server | None = None, *, behind: float = 0.0, stride: float = 1.0) -> None:
        self.moved = 0.0
        self._server = server
        self._behind = behind
        self._stride = stride

    def now(self) -> float:
        return time.time() + self.moved - self._behind

    async def pause(self, seconds: float, unless: asyncio.Event) -> None:
        seconds *= self._stride
        self.moved += seconds
        if self._server is not None:
            self._server.advance(seconds)
        await asyncio.sleep(0)
        unless.clear()
