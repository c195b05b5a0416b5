"""Replies read within bounds: whatever a server sends, and however it packed it, no more than that is held in memory.

What a reply means is not known here (`faults.py`, `pages.py`); how much of the results is too much is their reader's.
"""

from __future__ import annotations

import contextlib
import email.utils
import zlib
from datetime import UTC
from typing import TYPE_CHECKING, Final, TypeVar

import httpx
import msgspec

from dfbatch.backends.faults import not_the_api
from dfbatch.errors import NotTheApi

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

MEGABYTE: Final = 1 << 20
WHOLE: Final = 64 * MEGABYTE  # a page of 1,000 batches is about 0.5 MB, the longest message (128k tokens) about 1 MB
REFUSAL: Final = MEGABYTE  # an error body; the API's own have a few hundred bytes
ACCEPTED: Final = "gzip"  # what we unpack ourselves: httpx unpacks a block whole, and packings of packings too
_GZIP: Final = 16 + zlib.MAX_WBITS  # with a header and a checksum

# What a JSON decoder raises: text that is none, a shape that is another, and brackets nested a hundred thousand deep.
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)

_Shape = TypeVar("_Shape", bound=msgspec.Struct)


async def whole(response: httpx.Response) -> httpx.Response:
    """A streamed reply, read to its end and plain; one that is longer than its bound is not the API's."""
    bound = WHOLE if response.is_success else REFUSAL
    held = bytearray()
    async for block in blocks(response):
        held += block
        if len(held) > bound:
            raise _strange(response, f"with more than {bound // MEGABYTE} MB", "no reply of the API is that long")
    return httpx.Response(
        response.status_code,
        headers=[(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"],
        content=bytes(held),
        request=response.request,
        extensions={"reason_phrase": response.reason_phrase.encode("ascii", "ignore")},
    )


async def blocks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body of a streamed reply, unpacked, in blocks of at most a megabyte."""
    packing = response.headers.get("content-encoding", "").strip().lower()
    if packing in ("", "identity"):
        async for block in response.aiter_raw():
            yield block
    elif packing in ("gzip", "x-gzip"):
        async for block in _unpacked(response):
            yield block
    else:
        raise _strange(response, f"packed as {packing[:80]!r}", f"asked for was {ACCEPTED} or nothing")


async def _unpacked(response: httpx.Response) -> AsyncIterator[bytes]:
    told, unpacker = 0, zlib.decompressobj(_GZIP)
    try:
        async for packed in response.aiter_raw():
            if response.num_bytes_downloaded > told + WHOLE:  # members without content, a name that never ends
                raise _strange(response, "packed to more than it holds", "no reply of the API is that long")
            while packed:
                if unpacker.eof:  # another member follows
                    unpacker = zlib.decompressobj(_GZIP)
                block = unpacker.decompress(packed, MEGABYTE)
                packed = unpacker.unconsumed_tail or unpacker.unused_data  # noqa: PLW2901 - the rest of it
                told += len(block)
                yield block
        yield unpacker.flush()
    except zlib.error as error:
        raise httpx.DecodingError(f"the gzip stream is damaged: {error}") from error
    if not unpacker.eof and response.num_bytes_downloaded:
        raise httpx.DecodingError("the gzip stream ends before its end")


def shaped(response: httpx.Response, shape: type[_Shape]) -> _Shape:
    """A reply as the struct it should be."""
    try:
        return msgspec.json.decode(response.content, type=shape)
    except UNREADABLE as error:
        raise not_the_api(response) from error


def server_time(response: httpx.Response) -> float | None:
    """The second of the server's clock in which it answered, since 1970; None where it does not tell."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        told = email.utils.parsedate_to_datetime(response.headers.get("date", ""))
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    return None


def peek(url: str, *, timeout: float, verify: ssl.SSLContext | bool) -> bytes:
    """What an address of this machine says, no proxy between: the beginning of it, where it is long."""
    held = bytearray()
    with (
        httpx.Client(
            trust_env=False, timeout=timeout, verify=verify, headers={"accept-encoding": "identity"}
        ) as client,
        client.stream("GET", url) as response,
    ):
        for block in response.iter_raw():
            held += block
            if len(held) > REFUSAL:
                break
    return bytes(held)


def _strange(response: httpx.Response, how: str, why: str) -> NotTheApi:
    return NotTheApi(
        f"{response.url} answered {response.status_code} {how}",
        why,
        hint="check ANTHROPIC_BASE_URL and what stands between here and the API",
        status=response.status_code,
        request_id=response.headers.get("request-id"),
    )
