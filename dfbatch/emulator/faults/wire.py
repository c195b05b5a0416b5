"""Faults of the wire: what a call meets before the API sees it, or on the way back.

Not here: which call is hit (Faults.strike), the bytes of results (stream.py).
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from dfbatch.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.types import Message, Send

    from dfbatch.emulator.faults import Fault

_PAGE = "<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>\n"
_PIECES = 10
_AT_ONCE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # the two fields of Windows are shorter
_TICK = 0.01
_PATIENCE = 3_000  # ticks
_TEXTS = {
    401: "invalid x-api-key",
    403: "Your API key does not have permission to use the specified resource.",
    404: "Not found",
    413: "Request exceeds the maximum size",
    500: "Internal server error",
    529: "Overloaded",
}


def reply(fault: Fault) -> Response | ApiError | None:
    """What is answered instead of the API's answer; None for faults that do something else."""
    special = _REPLIES.get(fault.name)
    if special is not None:
        return special(fault.options)
    if not fault.name.isdigit():
        return None
    return ApiError(_TEXTS.get(int(fault.name), "Refused by the emulator, on demand."), status=int(fault.name))


def _page(title: str, status: int) -> Response:
    return HTMLResponse(_PAGE.format(title=title), status_code=status)


def _limited(options: dict[str, Any]) -> ApiError:
    headers = {"retry-after": f"{options['retry_after']:g}"} if "retry_after" in options else {}
    return ApiError("This request would exceed your organization's rate limit.", status=429, headers=headers)


def _spent(_options: dict[str, Any]) -> ApiError:
    """The tier's spend cap: no retry-after, since waiting is futile (reference §1.8)."""
    details = {"error_code": "enforced_spend_limit_reached"}
    return ApiError("You have reached your tier's spend limit for this month.", status=429, details=details)


def too_large() -> Response:
    """As Cloudflare answers before the API sees the call: no `type`, no request id (reference §1.8)."""
    error = {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}
    return JSONResponse(error, status_code=413)


async def cut(transport: asyncio.Transport | None, *, how: str = "reset") -> None:
    """End the connection now, by a reset or by a plain close, with nothing more sent."""
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if how == "reset" and sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    transport.abort()
    for _ in range(3):  # until the server has noticed, or it would try to answer
        await asyncio.sleep(0)


def losing(transport: asyncio.Transport | None, *, how: str) -> Send:
    """A `send` that cuts the connection where the reply would begin."""
    gone = False

    async def lose(message: Message) -> None:
        nonlocal gone
        if not gone:
            gone = True
            await cut(transport, how=how)
        del message

    return lose


async def broken_off(
    pieces: AsyncIterator[bytes], cut: int, transport: asyncio.Transport | None
) -> AsyncIterator[bytes]:
    """The first `cut` bytes, after which the connection is closed as if the body had gone on."""
    async for piece in pieces:
        if cut > 0:
            yield piece[:cut]
            cut -= len(piece)
    if transport is not None:
        transport.close()
        for _ in range(_PATIENCE):  # what is still buffered goes out first, and nothing may follow it
            if transport.get_extra_info("socket").fileno() < 0:
                return
            await asyncio.sleep(_TICK)


async def unheard(message: Message) -> None:
    """A `send` that lets nothing through: something else is answered."""
    del message


def overloaded() -> ApiError:
    """What the API says when it has too much to do."""
    return ApiError(_TEXTS[529], status=529)


def slowed(send: Send, seconds: float) -> Send:
    """A `send` that lets a body through in pieces, with pauses adding up to `seconds`."""
    left = _PIECES

    async def slow(message: Message) -> None:
        nonlocal left
        if message["type"] != "http.response.body":
            await send(message)
            return
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        size = max(1, -(-len(body) // max(1, left)))
        for at in range(0, len(body), size):
            if left > 0:
                left -= 1
                await asyncio.sleep(seconds / _PIECES)
            await send(_piece(body[at : at + size], more=True))
        await send(_piece(b"", more=more))

    return slow


def _piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


_REPLIES: dict[str, Callable[[dict[str, Any]], Response | ApiError]] = {
    "413": lambda _options: too_large(),
    "429": _limited,
    "429_bare": _limited,
    "spend_limit": _spent,
    "502": lambda _options: _page("502 Bad Gateway", 502),
    "html": lambda _options: _page("Sign in to continue", 200),
    "redirect": lambda options: RedirectResponse(str(options["to"]), status_code=307),
}
