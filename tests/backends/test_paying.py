"""What costs money on the wire: sent once, on a connection of its own, and waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.backends.anthropic import Anthropic
from dfbatch.errors import Ambiguous, ApiError, NotFound, RateLimited, TooLarge, Unauthorized, Unreachable
from tests.wire import BATCH, Peer, Wire, nobody, saying

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from dfbatch.requests import Body

    Ask = Callable[[Anthropic, Callable[[Anthropic], Any]], Any]

PAGE = {"data": [], "has_more": False}
MESSAGE = {"type": "message", "content": []}


def test_a_create_waits_ten_minutes_for_its_reply_and_nothing_in_the_transport_repeats_it(
    monkeypatch: pytest.MonkeyPatch, small: Body, ask: Ask
) -> None:
    made: list[httpx.AsyncClient] = []
    usual = Anthropic._new_client

    def kept(backend: Anthropic, *, timeout: float) -> httpx.AsyncClient:
        made.append(usual(backend, timeout=timeout))
        return made[-1]

    monkeypatch.setattr(Anthropic, "_new_client", kept)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with Wire(saying(200, BATCH)) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.submit(small, ()))

    (client,) = made
    assert client.timeout.read is not None
    assert client.timeout.read >= 600
    transports = [client._transport, *filter(None, client._mounts.values())]
    assert [transport._pool._retries for transport in transports] == [0, 0]  # type: ignore[attr-defined]  # httpcore's


@pytest.mark.parametrize("end", [Peer.reset, lambda peer: peer.sock.close()])
def test_a_create_without_a_reply_was_sent_once_on_one_connection(
    end: Callable[[Peer], None], small: Body, ask: Ask
) -> None:
    def serve(peer: Peer) -> None:
        peer.call()
        end(peer)

    with Wire(serve) as wire:
        with pytest.raises(Ambiguous):
            ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.submit(small, ()))

        assert [call.method for call in wire.calls] == ["POST"]


def test_what_costs_money_never_goes_out_on_a_connection_that_was_used_before(small: Body, ask: Ask) -> None:
    ports: list[tuple[str, int]] = []

    def serve(peer: Peer) -> None:
        call = peer.call()
        if call:
            ports.append((call.method, peer.sock.getpeername()[1]))
            peer.reply(200, PAGE | BATCH | MESSAGE)

    async def whole(backend: Anthropic) -> None:
        await backend.probe()
        await backend.submit(small, ())
        await backend.submit(small, ())
        await backend.ask(b"{}", ())
        await backend.ask(b"{}", ())
        await backend.probe()

    with Wire(serve) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), whole)

    posts = [port for method, port in ports if method == "POST"]
    reads = [port for method, port in ports if method == "GET"]
    assert len(set(posts)) == 4
    assert len(set(reads)) == 1
    assert not set(posts) & set(reads)


# ask


def test_a_message_is_asked_for_and_comes_back_as_it_was_sent(ask: Ask) -> None:
    said = b'{ "type": "message", "content": [{"type": "new_kind", "x": 1}], "usage": {"input_tokens": 3} }'
    params = '{"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Füße"}]}'.encode()
    with Wire(saying(200, said)) as wire:
        told = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.ask(params, ("b-1", "b-2")))

    (call,) = wire.calls
    assert told == said
    assert (call.method, call.path, call.body) == ("POST", "/v1/messages", params)
    assert call.header("anthropic-beta") == "b-1,b-2"
    assert call.header("content-length") == str(len(params))
    assert call.header("x-api-key") == "k"


def asked(url: str, ask: Ask, **more: float) -> Any:
    return ask(Anthropic(api_key="k", base_url=url), lambda backend: backend.ask(b"{}", (), **more))


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        *(
            (status, ApiError, "the API refuses this request: check params=, betas= and the schema")
            for status in (400, 408, 409, 422, 499)
        ),
        (401, Unauthorized, "check ANTHROPIC_API_KEY: it is missing, mistyped or revoked"),
        (404, NotFound, "check model= and the address"),
        (413, TooLarge, "this request is too large to be asked at once: its prompt is longer than 32 MB"),
        (429, RateLimited, "too many calls or tokens a minute: wait, then go on"),
        *((status, ApiError, "this may pass: try again in a while") for status in (500, 502, 503, 504, 529)),
    ],
)
def test_every_refusal_of_a_message_is_an_answer(status: int, kind: type[ApiError], hint: str, ask: Ask) -> None:
    error = {"type": "error", "error": {"type": "some_error", "message": "no"}}
    with Wire(saying(status, error, request_id="req_5")) as wire, pytest.raises(kind) as caught:
        asked(wire.url, ask)

    assert str(caught.value) == f"the API said {status} some_error: no\nrequest-id: req_5\nHint: {hint}"
    assert not isinstance(caught.value, Ambiguous)
    assert len(wire.calls) == 1


def test_a_message_that_was_asked_for_and_never_came_is_in_doubt(ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        if peer.call():
            peer.say_nothing()

    with Wire(serve) as wire, pytest.raises(Ambiguous) as caught:
        asked(wire.url, ask, timeout=0.2)

    assert str(caught.value) == (
        f"the request was sent, but no answer came: ReadTimeout at {wire.url}\n"
        "the server may have accepted it\n"
        "Hint: it is not sent again by itself: that could be paid twice"
    )
    assert len(wire.calls) == 1


def test_a_message_that_nobody_was_there_to_hear_is_certain(ask: Ask) -> None:
    with pytest.raises(Unreachable) as caught:
        asked(nobody(), ask)

    assert not isinstance(caught.value, Ambiguous)
