"""Taking in a request body as it comes, up to a size, in bounded memory.

Not here: what the body says (envelope.py, asks.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

_MOST_TAKEN_IN = 1 << 30


async def taken_in(request: Request, write: Callable[[bytes], object], *, most: int) -> bool:
    """Whether the body fits in `most` bytes, handed to `write`.

    One that does not is heard to its end, unheeded, so that the caller gets to read why it is refused.
    """
    fits = int(request.headers.get("content-length") or 0) <= most
    size = 0
    async for block in request.stream():
        size += len(block)
        fits = fits and size <= most
        if fits:
            write(block)
        elif size > _MOST_TAKEN_IN:
            break
    return fits
