"""The border to httpx: whatever it raises is ours on the other side, and the bytes handed over decide what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from dfbatch.backends import anthropic
from dfbatch.backends.anthropic import Anthropic
from dfbatch.backends.faults import check, translated
from dfbatch.errors import (
    Ambiguous,
    ApiError,
    DfbatchError,
    NotTheApi,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unreachable,
)
from tests.wire import BATCH, Peer, Wire, nobody, saying

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.requests import Body

    Ask = Callable[[Anthropic, Callable[[Anthropic], Any]], Any]


def every(kind: type[Exception]) -> list[type[Exception]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in every(child))]


def made(kind: type[Exception]) -> Exception:
    request = httpx.Request("POST", "http://127.0.0.1:1")
    if kind is httpx.HTTPStatusError:
        return httpx.HTTPStatusError("said", request=request, response=httpx.Response(500, request=request))
    return kind("said")


def create(url: str, body: Body, ask: Ask) -> Any:
    return ask(Anthropic(api_key="k", base_url=url), lambda backend: backend.submit(body, ()))


NEVER_SENT = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)  # ours to mend: waiting would not help


@pytest.mark.parametrize("kind", NEVER_SENT)
def test_a_request_that_cannot_be_made_is_no_matter_of_the_network(kind: type[Exception]) -> None:
    with pytest.raises(ApiError) as caught, translated("http://127.0.0.1:1", all_sent=lambda: False):
        raise made(kind)

    assert str(caught.value) == (
        f"this request cannot be made: {kind.__name__} at http://127.0.0.1:1: said\n"
        "nothing was accepted\n"
        "Hint: check base_url (it begins with https://) and betas"
    )
    assert not isinstance(caught.value, Unreachable)


@pytest.mark.parametrize("kind", [kind for kind in every(httpx.HTTPError) if kind not in NEVER_SENT])
def test_before_the_last_byte_every_error_of_httpx_means_that_nothing_was_accepted(kind: type[Exception]) -> None:
    with pytest.raises(Unreachable) as caught, translated("http://127.0.0.1:1", all_sent=lambda: False):
        raise made(kind)

    assert str(caught.value) == (
        f"cannot reach the API: {kind.__name__} at http://127.0.0.1:1: said\n"
        "nothing was accepted\n"
        "Hint: check the network, ANTHROPIC_BASE_URL and proxy settings, then go on"
    )
    assert not isinstance(caught.value, Ambiguous)


@pytest.mark.parametrize("kind", every(httpx.HTTPError))
def test_after_the_last_byte_every_error_of_httpx_is_in_doubt(kind: type[Exception]) -> None:
    with pytest.raises(Ambiguous) as caught, translated("http://127.0.0.1:1", all_sent=lambda: True):
        raise made(kind)

    assert str(caught.value) == (
        f"the request was sent, but no answer came: {kind.__name__} at http://127.0.0.1:1: said\n"
        "the server may have accepted it\n"
        "Hint: it is not sent again by itself: that could be paid twice"
    )


def test_refused_connections_are_certain(small: Body, ask: Ask) -> None:
    with pytest.raises(Unreachable) as caught:
        create(nobody(), small, ask)

    assert not isinstance(caught.value, Ambiguous)


def test_a_reset_before_the_body_is_read_is_certain(large: Body, ask: Ask) -> None:
    with Wire(Peer.reset) as wire, pytest.raises(Unreachable) as caught:
        create(wire.url, large, ask)

    assert not isinstance(caught.value, Ambiguous)


def test_a_reset_in_mid_body_is_certain(large: Body, ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        peer.head()
        peer.read(1 << 20)
        peer.reset()

    with Wire(serve) as wire, pytest.raises(Unreachable) as caught:
        create(wire.url, large, ask)

    assert not isinstance(caught.value, Ambiguous)


def test_a_reset_after_the_body_is_in_doubt(large: Body, ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        peer.call()
        peer.reset()

    with Wire(serve) as wire, pytest.raises(Ambiguous):
        create(wire.url, large, ask)

    assert len(wire.calls[0].body) == 32 << 20


def test_a_close_after_the_body_is_in_doubt(small: Body, ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        peer.call()
        peer.sock.close()

    with Wire(serve) as wire, pytest.raises(Ambiguous):
        create(wire.url, small, ask)


def test_half_an_answer_is_in_doubt(small: Body, ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        peer.call()
        peer.sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"id"')
        peer.sock.close()

    with Wire(serve) as wire, pytest.raises(Ambiguous):
        create(wire.url, small, ask)


def test_silence_after_the_body_is_in_doubt(small: Body, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anthropic, "_CREATE_TIMEOUT", 0.2)

    def serve(peer: Peer) -> None:
        peer.call()
        peer.say_nothing()

    with Wire(serve) as wire, pytest.raises(Ambiguous) as caught:
        create(wire.url, small, ask)

    assert "ReadTimeout" in str(caught.value)


def test_silence_in_mid_body_is_certain(large: Body, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anthropic, "_CREATE_TIMEOUT", 0.2)

    def serve(peer: Peer) -> None:
        peer.head()
        peer.say_nothing()

    with Wire(serve) as wire, pytest.raises(Unreachable) as caught:
        create(wire.url, large, ask)

    assert "WriteTimeout" in str(caught.value)
    assert not isinstance(caught.value, Ambiguous)


def test_an_early_refusal_is_read_although_the_body_was_not_taken(large: Body, ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        peer.head()
        peer.reply(413, {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}})
        peer.read(32 << 20)

    with Wire(serve) as wire, pytest.raises(TooLarge):
        create(wire.url, large, ask)


def test_a_page_instead_of_the_new_batch_is_in_doubt_and_says_what_came(small: Body, ask: Ask) -> None:
    page = b"<html><head><title>Sign in</title></head></html>"
    with Wire(saying(200, page)) as wire, pytest.raises(Ambiguous) as caught:
        create(wire.url, small, ask)

    assert str(caught.value) == (
        f"{wire.url}/v1/messages/batches answered 200 with text/html, which is not the Message Batches API\n"
        "something accepted the chunk, and it may have been the API\n"
        "Hint: it is not sent again by itself: that could be paid twice"
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_certain_and_not_followed(status: int, small: Body, ask: Ask) -> None:
    with Wire(saying(200, BATCH)) as elsewhere, Wire(saying(status, location=f"{elsewhere.url}/x")) as wire:
        with pytest.raises(NotTheApi) as caught:
            create(wire.url, small, ask)

        assert str(caught.value) == (
            f"{wire.url}/v1/messages/batches redirects to {elsewhere.url}/x\n"
            "redirects are not followed: the key would go along\n"
            "Hint: set base_url to the final address"
        )
        assert elsewhere.calls == []


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 413, 418, 422, 429, 451])
def test_refusals_of_a_create_are_certain(status: int, small: Body, ask: Ask) -> None:
    with Wire(saying(status, {"error": {"type": "some_error", "message": "no"}})) as wire:
        with pytest.raises(ApiError) as caught:
            create(wire.url, small, ask)

        assert not isinstance(caught.value, Ambiguous)
        assert caught.value.status == status


@pytest.mark.parametrize("status", [408, 409, 499, 500, 502, 503, 504, 520, 529])
def test_statuses_that_may_hide_an_accepted_batch_are_in_doubt(status: int, small: Body, ask: Ask) -> None:
    with Wire(saying(status, {"error": {"type": "some_error", "message": "hm"}}, request_id="req_9")) as wire:
        with pytest.raises(Ambiguous) as caught:
            create(wire.url, small, ask)

        assert str(caught.value) == (
            f"the API said {status} some_error: hm\n"
            "the server may have accepted the batch all the same\n"
            "request-id: req_9\n"
            "Hint: it is not sent again by itself: that could be paid twice"
        )


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after": "-3"}, 0.0),
        ({"retry_after": "1e300"}, 86_400.0),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Sun, 22 Nov 2026 10:01:30 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 90.0),
        ({"retry_after": "Sun, 22 Nov 2026 10:01:30 GMT"}, None),
    ],
)
def test_a_full_queue_is_certain_and_tells_when_to_come_back(
    told: dict[str, str], seconds: float | None, small: Body, ask: Ask
) -> None:
    with Wire(saying(429, {"error": {"type": "rate_limit_error", "message": "slow"}}, **told)) as wire:
        with pytest.raises(RateLimited) as caught:
            create(wire.url, small, ask)

        assert caught.value.retry_after == seconds


def test_a_spend_limit_says_that_waiting_does_not_help() -> None:
    error = {"type": "rate_limit_error", "message": "Limit.", "details": {"error_code": "enforced_spend_limit_reached"}}
    with pytest.raises(RateLimited) as caught:
        check(httpx.Response(429, json={"type": "error", "error": error}, headers={"request-id": "req_3"}))

    assert str(caught.value) == (
        "the API said 429 rate_limit_error: Limit.\n"
        "request-id: req_3\n"
        "Hint: raise the spend limit in the Claude Console: waiting does not help before it is renewed"
    )


@pytest.mark.parametrize(
    ("status", "kind", "hint"),
    [
        (400, ApiError, "the API refuses the batch as a whole: check params=, betas= and the address"),
        (401, Unauthorized, "check ANTHROPIC_API_KEY: it is missing, mistyped or revoked"),
        (402, ApiError, "check the credit balance in the Claude Console"),
        (403, Unauthorized, "this key may not do that: check its workspace and permissions"),
        (413, TooLarge, "use a smaller chunk_size="),
        (500, ApiError, "this may pass: try again in a while"),
        (529, ApiError, "this may pass: try again in a while"),
    ],
)
def test_every_refusal_carries_its_request_id_and_says_what_to_do(status: int, kind: type[ApiError], hint: str) -> None:
    body = {"type": "error", "error": {"type": "some_error", "message": "no."}}
    with pytest.raises(kind) as caught:
        check(httpx.Response(status, json=body, headers={"request-id": "req_1"}))

    assert str(caught.value) == f"the API said {status} some_error: no.\nrequest-id: req_1\nHint: {hint}"
    assert (caught.value.status, caught.value.type, caught.value.request_id) == (status, "some_error", "req_1")


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"<html><head><title>502 Bad&nbsp;Gateway</title></head>", "text/html", "502 Bad Gateway"),
        (b"<h1>Gone</h1>\n<p>for lunch</p>", "text/html", "Gone for lunch"),
        (b"upstream\n connect error", "text/plain", "upstream connect error"),
        (b"", "text/plain", "Bad Gateway"),
        (b'{"error": "plain"}', "application/json", '{"error": "plain"}'),
        (b"[1, 2]", "application/json", "[1, 2]"),
        (b"\xff\xfe\x00", "application/json", "\ufffd\ufffd\\x00"),
    ],
)
def test_answers_of_others_are_shown_in_one_line(content: bytes, kind: str, said: str) -> None:
    with pytest.raises(ApiError) as caught:
        check(httpx.Response(502, content=content, headers={"content-type": kind}))

    assert str(caught.value) == f"the API said 502: {said}\nHint: this may pass: try again in a while"


def test_nothing_but_our_errors_comes_through_the_border(small: Body, ask: Ask) -> None:
    """Answers that no API gives: rubbish, endless headers, a status that is none, a body cut short."""
    for rubbish in (
        b"\x00\x01\r\n\r\n",
        b"HTTP/1.1 99 What\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"X: " + b"y" * 200_000,
    ):

        def serve(peer: Peer, said: bytes = rubbish) -> None:
            if peer.call():
                peer.sock.sendall(said)
                peer.sock.close()

        with Wire(serve) as wire:
            with pytest.raises(DfbatchError):
                create(wire.url, small, ask)
            with pytest.raises(DfbatchError):
                ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())
