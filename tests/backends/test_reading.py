"""Replies within bounds: no server, gateway or login page makes us hold more than a bound, however it packs it."""

from __future__ import annotations

import asyncio
import functools
import gzip
import json
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfbatch.backends import reading
from dfbatch.backends.anthropic import Anthropic
from dfbatch.backends.reading import MEGABYTE, peek, server_time, whole
from dfbatch.errors import Ambiguous, ApiError, DfbatchError, NotTheApi, Unreachable
from tests.wire import BATCH, Peer, Wire, saying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from dfbatch.requests import Body

    Ask = Callable[[Anthropic, Callable[[Anthropic], Any]], Any]

PAGE = b'{"data": [], "has_more": false}'
MESSAGE = b'{"type": "message", "content": []}'


async def result_blocks(backend: Anthropic) -> list[bytes]:
    return [block async for block in backend.results("b")]


def verbs(body: Body) -> dict[str, Callable[[Anthropic], Awaitable[Any]]]:
    return {
        "probe": lambda backend: backend.probe(),
        "find": lambda backend: backend.find(0.0),
        "submit": lambda backend: backend.submit(body, ()),
        "ask": lambda backend: backend.ask(b"{}", ()),
        "retrieve": lambda backend: backend.poll(["b"]),
        "list": lambda backend: backend.poll(["b", "c"]),
        "cancel": lambda backend: backend.cancel("b"),
        "delete": lambda backend: backend.delete("b"),
        "results": result_blocks,
    }


VERBS = ["probe", "find", "submit", "ask", "retrieve", "list", "cancel", "delete", "results"]


@functools.cache
def zeros(size: int, *, layers: int = 1) -> bytes:
    """A bomb: so many zeros, packed so many times."""
    packer = zlib.compressobj(9, wbits=31)
    packed = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(size // MEGABYTE)) + packer.flush()
    for _ in range(layers - 1):
        packed = gzip.compress(packed, 9)
    return packed


def endless(status: int) -> Callable[[Peer], None]:
    """A reply of unknown length that goes on until the client has had enough."""

    def serve(peer: Peer) -> None:
        if peer.call():
            peer.sock.sendall(f"HTTP/1.1 {status} Said\r\ntransfer-encoding: chunked\r\n\r\n".encode())
            while True:
                peer.sock.sendall(b"100000\r\n" + b" " * MEGABYTE + b"\r\n")

    return serve


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("submit", "results")])
def test_no_answer_is_read_past_its_bound(verb: str, small: Body, ask: Ask) -> None:
    with Wire(endless(200)) as wire, pytest.raises(NotTheApi) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), verbs(small)[verb])

    what, *rest = str(caught.value).splitlines()
    assert what.startswith(f"{wire.url}/v1/messages")
    assert what.endswith(" answered 200 with more than 64 MB")
    assert rest == [
        "no reply of the API is that long",
        "Hint: check ANTHROPIC_BASE_URL and what stands between here and the API",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_no_refusal_is_read_past_its_bound(verb: str, small: Body, ask: Ask) -> None:
    with Wire(endless(400)) as wire, pytest.raises(NotTheApi) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), verbs(small)[verb])

    assert str(caught.value).splitlines()[0].endswith(" answered 400 with more than 1 MB")
    assert caught.value.status == 400


@pytest.mark.parametrize(("status", "bound"), [(200, "64 MB"), (500, "1 MB"), (409, "1 MB")])
def test_an_endless_reply_to_a_create_is_in_doubt_unless_its_status_is_certain(
    status: int, bound: str, small: Body, ask: Ask
) -> None:
    with Wire(endless(status)) as wire, pytest.raises(Ambiguous) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.submit(small, ()))

    assert str(caught.value) == (
        f"{wire.url}/v1/messages/batches answered {status} with more than {bound}\n"
        "something accepted the chunk, and it may have been the API\n"
        "Hint: it is not sent again by itself: that could be paid twice"
    )


@pytest.mark.parametrize("verb", ["probe", "ask", "retrieve"])
def test_a_packed_bomb_counts_as_what_it_unpacks_to(verb: str, small: Body, ask: Ask) -> None:
    bomb = zeros(256 * MEGABYTE)
    with Wire(saying(200, bomb, content_encoding="gzip")) as wire, pytest.raises(NotTheApi) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), verbs(small)[verb])

    assert len(bomb) < MEGABYTE
    assert str(caught.value).splitlines()[0].endswith(" answered 200 with more than 64 MB")


def test_results_that_are_a_bomb_come_in_blocks_that_their_reader_can_count(ask: Ask) -> None:
    async def whole(backend: Anthropic) -> int:
        total = 0
        async for block in backend.results("b"):
            assert len(block) <= MEGABYTE
            total += len(block)
        return total

    with Wire(saying(200, zeros(256 * MEGABYTE), content_encoding="gzip")) as wire:
        tracemalloc.start()
        total = ask(Anthropic(api_key="k", base_url=wire.url), whole)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert total == 256 * MEGABYTE
    assert peak < 8 * MEGABYTE


@pytest.mark.parametrize("verb", ["retrieve", "results"])
def test_a_packing_that_never_comes_to_its_content_is_not_waited_out(verb: str, small: Body, ask: Ask) -> None:
    endless_name = gzip.compress(b"")[:3] + b"\x08" + bytes(6)

    def serve(peer: Peer) -> None:
        if peer.call():
            peer.sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + endless_name)
            while True:
                peer.sock.sendall(b"x" * MEGABYTE)

    with Wire(serve) as wire, pytest.raises(NotTheApi) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), verbs(small)[verb])

    assert str(caught.value).splitlines()[0].endswith(" answered 200 packed to more than it holds")


@pytest.mark.parametrize("packing", ["gzip, gzip", "br", "zstd", "deflate", "rot13"])
@pytest.mark.parametrize("verb", ["probe", "results", "ask"])
def test_what_was_not_asked_for_is_not_unpacked(packing: str, verb: str, small: Body, ask: Ask) -> None:
    bomb = zeros(64 * MEGABYTE, layers=2)
    with Wire(saying(200, bomb, content_encoding=packing)) as wire, pytest.raises(NotTheApi) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), verbs(small)[verb])

    what, known, _ = str(caught.value).splitlines()
    assert what.endswith(f" answered 200 packed as {packing!r}")
    assert known == "asked for was gzip or nothing"
    assert {call.header("accept-encoding") for call in wire.calls} == {"gzip"}


def test_a_header_of_the_user_does_not_ask_for_another_packing(ask: Ask) -> None:
    with Wire(saying(200, PAGE)) as wire:
        backend = Anthropic(api_key="k", base_url=wire.url, headers={"Accept-Encoding": "br"})
        ask(backend, lambda backend: backend.probe())

    assert wire.calls[0].header("accept-encoding") == "gzip"


def test_refusals_are_unpacked_before_they_are_quoted(ask: Ask) -> None:
    said = gzip.compress(b'{"error": {"type": "billing_error", "message": "no credit"}}')
    with Wire(saying(402, said, content_encoding="gzip")) as wire, pytest.raises(ApiError) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())

    assert str(caught.value).splitlines()[0] == "the API said 402 billing_error: no credit"


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
@pytest.mark.parametrize("verb", ["retrieve", "results"])
def test_a_packed_reply_that_ends_early_is_no_reply(cut: int, verb: str, small: Body, ask: Ask) -> None:
    packed = gzip.compress(b'{"id": "b", "processing_status": "ended"}' * 3)
    with Wire(saying(200, packed[:-cut], content_encoding="gzip")) as wire, pytest.raises(Unreachable) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), verbs(small)[verb])

    assert "DecodingError" in str(caught.value)
    assert "the gzip stream ends before its end" in str(caught.value)


@pytest.mark.parametrize("verb", ["retrieve", "results"])
def test_a_packed_reply_that_is_damaged_is_no_reply(verb: str, small: Body, ask: Ask) -> None:
    packed = bytearray(gzip.compress(b'{"id": "b", "processing_status": "ended"}'))
    packed[-6] ^= 1  # the checksum
    with Wire(saying(200, bytes(packed), content_encoding="gzip")) as wire, pytest.raises(Unreachable) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), verbs(small)[verb])

    assert "the gzip stream is damaged: " in str(caught.value)


def test_nothing_packed_is_nothing(ask: Ask) -> None:
    with Wire(saying(200, b"", content_encoding="gzip")) as wire:
        told = ask(Anthropic(api_key="k", base_url=wire.url), result_blocks)

    assert b"".join(told) == b""


class _Pieces(httpx.AsyncByteStream):
    """A body as the network cuts it."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


@settings(deadline=None, max_examples=50)
@given(
    members=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
    size=st.integers(1, 50),
    more=st.sampled_from([0, 2]),
)
def test_however_it_was_packed_and_cut_the_reply_is_what_it_was(members: list[bytes], size: int, more: int) -> None:
    members = [member + bytes(more * MEGABYTE) for member in members]
    packed = b"".join(map(gzip.compress, members))
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    request = httpx.Request("GET", "http://127.0.0.1:1")
    reply = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=_Pieces(pieces), request=request)

    assert asyncio.run(whole(reply)).content == b"".join(members)


@pytest.mark.parametrize(
    "said",
    [
        b'{"data": [], "x": ' + b"[" * 200_000,
        b"[" * 200_000,
        b'{"id": "\xff", "data": [{"id": "\xff"}], "content": "\xff"}',
        b'{"id": "", "data": [{"id": ""}], "content": ""}',
        b'{"id": "..", "data": [{"id": ".."}], "content": {}}',
        b'{"type": "error", "error": {"type": "api_error", "message": "no"}}',
        b"null",
        b"",
    ],
)
@pytest.mark.parametrize("verb", ["probe", "find", "submit", "ask", "retrieve", "list", "cancel"])
def test_what_is_no_reply_of_the_api_is_said_to_be_none(said: bytes, verb: str, small: Body, ask: Ask) -> None:
    with Wire(saying(200, said)) as wire, pytest.raises(DfbatchError) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), verbs(small)[verb])

    assert isinstance(caught.value, Ambiguous if verb == "submit" else NotTheApi)
    assert "which is not the Message Batches API" in str(caught.value)


@pytest.mark.parametrize("said", [b"[" * 200_000, b'{"error": {"type": {}, "details": {"error_code": []}}}'])
def test_a_refusal_of_any_shape_is_a_refusal(said: bytes, ask: Ask) -> None:
    with Wire(saying(429, said)) as wire, pytest.raises(ApiError) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())

    assert caught.value.status == 429
    assert len(str(caught.value)) < 1000


def test_a_page_in_a_charset_of_pythons_own_is_read_as_plain_text(ask: Ask) -> None:
    page = zlib.compress(b"x" * 100)
    with Wire(saying(500, page, content_type="text/html; charset=zip")) as wire, pytest.raises(ApiError) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())

    assert str(caught.value).startswith("the API said 500: x\ufffd")


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Sun, 22 Nov 2026 10:00:00 GMT", 1_795_341_600.0),
        ("Sun, 22 Nov 2026 10:00:00 -0000", 1_795_341_600.0),
        ("Sun, 22 Nov 2026 12:00:00 +0200", 1_795_341_600.0),
        ("Sun, 22 Nov 99999 10:00:00 GMT", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_the_servers_time_is_read_or_not_told(date: str, seconds: float | None) -> None:
    assert server_time(httpx.Response(200, headers={"date": date})) == seconds


def test_a_neighbour_that_never_stops_talking_is_heard_for_a_moment() -> None:
    with Wire(endless(200)) as wire:
        said = peek(wire.url, timeout=2.0, verify=False)
        backend = Anthropic(api_key="k", base_url=wire.url)

        assert len(said) <= 2 * reading.REFUSAL
        assert backend.who == f"anthropic {wire.url} 2023-06-01"


def test_a_whole_create_reply_is_read_packed_or_not(small: Body, ask: Ask) -> None:
    packed = gzip.compress(json.dumps(BATCH).encode())
    with Wire(saying(200, packed, content_encoding="gzip", request_id="req_1")) as wire:
        accepted = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.submit(small, ()))

    assert (accepted.batch.id, accepted.request_id) == ("msgbatch_01", "req_1")
