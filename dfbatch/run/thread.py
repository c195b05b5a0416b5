"""The one I/O thread with its own event loop: it works beside a running loop, in any kernel, and in plain scripts.

What runs on it is in `loop.py`. Evidence for a thread instead of a patched loop: a blocked cell, uvloop and marimo
all refuse or break `nest_asyncio`, and none of them minds a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Future

T = TypeVar("T")

_guard = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a forked child starts its own
_leaving: list[Callable[[], None]] = []


def start(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Run on the I/O thread; the future can be waited for from any other thread."""
    return asyncio.run_coroutine_threadsafe(work, _loop())


def call(function: Callable[[], None]) -> None:
    """Run a function on the I/O thread soon."""
    _loop().call_soon_threadsafe(function)


def on_leaving(function: Callable[[], None]) -> Callable[[], None]:
    """Call this when the process is left, while the I/O thread still works; returns what takes it back."""
    _leaving.append(function)

    def forget() -> None:
        with contextlib.suppress(ValueError):
            _leaving.remove(function)

    return forget


def _loop() -> asyncio.AbstractEventLoop:
    with _guard:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = asyncio.SelectorEventLoop()
            threading.Thread(target=_serve, args=(loop,), name="dfbatch-io", daemon=True).start()
            _loops[os.getpid()] = loop
        return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _leave() -> None:
    for function in [*_leaving]:
        function()


# Before the interpreter stops accepting work for thread pools, which plain atexit is too late for.
threading._register_atexit(_leave)  # type: ignore[attr-defined] # noqa: SLF001 - as concurrent.futures itself does
