"""The route to the API: what goes over the wire, and what is read off it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import dfbatch
from dfbatch.backends.anthropic import Anthropic
from dfbatch.errors import NoBackend, NotTheApi, OptionError, Unreachable
from tests.wire import BATCH, Peer, Wire, saying

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dfbatch.requests import Body

    Ask = Callable[[Anthropic, Callable[[Anthropic], Any]], Any]

PAGE = {"data": [], "has_more": False, "first_id": None, "last_id": None}


def probed(ask: Ask, **settings: Any) -> dict[str, str]:
    """The headers of one list call."""
    with Wire(saying(200, PAGE)) as wire:
        ask(Anthropic(**{"base_url": wire.url, **settings}), lambda backend: backend.probe())
    return dict(wire.calls[0].headers)


def test_the_key_goes_as_x_api_key_by_default(ask: Ask) -> None:
    headers = probed(ask, api_key="sk-1")

    assert (headers["x-api-key"], headers.get("authorization")) == ("sk-1", None)
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["user-agent"] == f"dfbatch/{dfbatch.__version__}"


def test_the_key_goes_as_bearer_where_asked(ask: Ask) -> None:
    headers = probed(ask, api_key="sk-1", auth="bearer", version="2026-10-21")

    assert (headers["authorization"], headers.get("x-api-key")) == ("Bearer sk-1", None)
    assert headers["anthropic-version"] == "2026-10-21"


def test_a_token_goes_as_bearer(ask: Ask) -> None:
    headers = probed(ask, auth_token="t-1")

    assert (headers["authorization"], headers.get("x-api-key")) == ("Bearer t-1", None)


def test_a_pasted_key_loses_its_line_end(ask: Ask) -> None:
    assert probed(ask, api_key=" sk-1\n")["x-api-key"] == "sk-1"


def test_headers_of_the_user_go_along_once_and_do_not_replace_the_key(ask: Ask) -> None:
    headers = probed(ask, api_key="sk-1", headers={"X-Team": "blue", "X-API-Key": "other"})

    assert (headers["x-team"], headers["x-api-key"]) == ("blue", "sk-1")


def test_the_environment_is_read_as_the_sdk_reads_it(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with Wire(saying(200, PAGE)) as wire:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"{wire.url}/")
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "t-env")
        ask(Anthropic(), lambda backend: backend.probe())
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-env")
        ask(Anthropic(), lambda backend: backend.probe())
        ask(Anthropic(api_key="sk-said"), lambda backend: backend.probe())
        ask(Anthropic(auth_token="t-said"), lambda backend: backend.probe())

    shown = [(call.header("x-api-key"), call.header("authorization")) for call in wire.calls]
    assert shown == [(None, "Bearer t-env"), ("sk-env", None), ("sk-said", None), (None, "Bearer t-said")]


@pytest.mark.parametrize("prefix", ["", "/", "/anthropic", "/anthropic/", "/a/b"])
def test_base_urls_may_have_a_path_and_a_last_slash(prefix: str, ask: Ask, small: Body) -> None:
    with Wire(saying(200, PAGE | BATCH)) as wire:
        backend = Anthropic(api_key="k", base_url=wire.url + prefix)
        ask(backend, lambda backend: backend.probe())
        ask(backend, lambda backend: backend.submit(small, ()))
        ask(backend, lambda backend: backend.cancel("msgbatch_01"))

    lead = prefix.rstrip("/")
    assert [f"{call.method} {call.path}" for call in wire.calls] == [
        f"GET {lead}/v1/messages/batches?limit=1",
        f"POST {lead}/v1/messages/batches",
        f"POST {lead}/v1/messages/batches/msgbatch_01/cancel",
    ]


@pytest.mark.parametrize(
    "url",
    ["api.anthropic.com", "ftp://api.anthropic.com", "http://", "http://[::1", "http://h:x", "https://h/?a=1", " "],
)
def test_an_address_that_cannot_be_asked_is_refused_at_once(url: str) -> None:
    with pytest.raises(OptionError) as caught:
        Anthropic(api_key="k", base_url=url)

    assert str(caught.value) == (
        f"not a usable address: base_url={url.strip()!r}\n"
        "nothing was sent\n"
        "Hint: check ANTHROPIC_BASE_URL; an address looks like https://api.anthropic.com or"
        " https://gateway.example/anthropic"
    )


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(OptionError) as caught:
        Anthropic(api_key="k", base_url="https://me:hunter2@gateway.example")

    assert str(caught.value) == (
        "base_url holds a user name or a password\n"
        "addresses are kept in the ledger and shown in messages, secrets are not\n"
        'Hint: give them as headers={"authorization": …}'
    )


@pytest.mark.parametrize("key", ["sk 1", "sk-1\nx", "“sk-1”", "sk-\x001"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(OptionError) as caught:
        Anthropic(api_key=key)

    assert str(caught.value) == (
        "api_key holds a character that no key has: a space, a line break or a typographic sign\n"
        "nothing was sent\n"
        "Hint: copy the key again, whole and alone (ANTHROPIC_API_KEY)"
    )


def test_without_a_key_both_ways_out_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoBackend) as caught:
        Anthropic().ready(tmp_path)

    assert str(caught.value) == (
        "no API key: neither ANTHROPIC_API_KEY nor ANTHROPIC_AUTH_TOKEN is set, and no backend was named\n"
        "nothing was sent\n"
        'Hint: set ANTHROPIC_API_KEY to ask Claude, or pass backend="local" for a small model on this machine'
    )


def test_a_gateway_may_take_a_credential_of_its_own(tmp_path: Path) -> None:
    Anthropic(headers={"Authorization": "Basic abc"}).ready(tmp_path)


def test_a_create_has_a_length_and_is_never_chunked(ask: Ask, large: Body) -> None:
    with Wire(saying(200, BATCH)) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.submit(large, ("b-1", "b-2")))

    call = wire.calls[0]
    assert call.header("content-length") == str(32 << 20)
    assert call.header("transfer-encoding") is None
    assert call.header("content-type") == "application/json"
    assert call.header("anthropic-beta") == "b-1,b-2"
    assert len(call.body) == 32 << 20


def test_what_a_create_tells_is_kept(ask: Ask, small: Body) -> None:
    told = {"request_id": "req_7", "anthropic_organization_id": "org-1", "anthropic_workspace_id": "wrk-1"}
    with Wire(saying(200, BATCH | {"new_field": {"x": 1}}, **told)) as wire:
        accepted = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.submit(small, ()))

    assert (accepted.batch.id, accepted.request_id) == ("msgbatch_01", "req_7")
    assert (accepted.organization, accepted.workspace, accepted.base_url) == ("org-1", "wrk-1", wire.url)


def test_one_batch_is_retrieved(ask: Ask) -> None:
    with Wire(saying(200, BATCH)) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.poll(["msgbatch_01"]))

    assert [call.path for call in wire.calls] == ["/v1/messages/batches/msgbatch_01"]


def test_several_batches_are_found_with_one_list_call(ask: Ask) -> None:
    ids = [f"msgbatch_{at:02}" for at in range(30)]
    strangers = [BATCH | {"id": f"stranger_{at}"} for at in range(5)]
    page = PAGE | {"data": [*strangers, *(BATCH | {"id": batch_id} for batch_id in ids)]}
    with Wire(saying(200, page)) as wire:
        told = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.poll(ids))

    assert list(told) == ids
    assert [call.path for call in wire.calls] == ["/v1/messages/batches?limit=80"]


def test_a_batch_that_the_list_lacks_is_retrieved_and_one_that_is_gone_is_none(ask: Ask) -> None:
    def serve(peer: Peer) -> None:
        call = peer.call()
        if call and "?" in call.path:
            peer.reply(200, PAGE | {"data": [BATCH | {"id": "a"}]})
        elif call and call.path.endswith("/b"):
            peer.reply(200, BATCH | {"id": "b"})
        elif call:
            peer.reply(404, {"error": {"type": "not_found_error", "message": "no"}})

    with Wire(serve) as wire:
        told = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.poll(["a", "b", "c"]))

    assert {batch_id: batch and batch.id for batch_id, batch in told.items()} == {"a": "a", "b": "b", "c": None}


def test_results_come_from_our_own_address_whatever_a_reply_names(ask: Ask) -> None:
    async def whole(backend: Anthropic) -> bytes:
        await backend.poll(["msgbatch_01"])
        return b"".join([block async for block in backend.results("msgbatch_01")])

    with Wire(saying(200, b"stolen")) as elsewhere:
        ended = BATCH | {"processing_status": "ended", "results_url": f"{elsewhere.url}/r"}

        def serve(peer: Peer) -> None:
            call = peer.call()
            if call:
                peer.reply(200, b'{"line": 1}\n' if call.path.endswith("/results") else ended)

        with Wire(serve) as wire:
            told = ask(Anthropic(api_key="k", base_url=wire.url), whole)

        assert told == b'{"line": 1}\n'
        assert elsewhere.calls == []


def test_results_that_break_off_are_no_end_of_the_file(ask: Ask) -> None:
    async def whole(backend: Anthropic) -> bytes:
        return b"".join([block async for block in backend.results("msgbatch_01")])

    def serve(peer: Peer) -> None:
        if peer.call():
            peer.sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"line": 1}\n')
            peer.sock.close()

    with Wire(serve) as wire, pytest.raises(Unreachable):
        ask(Anthropic(api_key="k", base_url=wire.url), whole)


def test_an_id_cannot_lead_to_another_route(ask: Ask) -> None:
    with Wire(saying(200, BATCH)) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.poll(["../../models?x#"]))

    assert [call.path for call in wire.calls] == ["/v1/messages/batches/..%2F..%2Fmodels%3Fx%23"]


def test_deleting_what_is_gone_already_is_fine(ask: Ask) -> None:
    with Wire(saying(404, {"error": {"type": "not_found_error", "message": "no"}})) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.delete("msgbatch_01"))

    assert [call.method for call in wire.calls] == ["DELETE"]


def test_an_api_without_the_batch_route_is_named(ask: Ask) -> None:
    error = {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}}
    with Wire(saying(404, error, request_id="req_2")) as wire, pytest.raises(NotTheApi) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())

    assert str(caught.value) == (
        f"{wire.url} has no route /v1/messages/batches\n"
        "the API said 404 not_found_error: Not found\n"
        "request-id: req_2\n"
        "Hint: check ANTHROPIC_BASE_URL; some proxies lack the batch route"
    )


def test_json_of_another_shape_is_not_the_api(ask: Ask) -> None:
    with Wire(saying(200, {"models": []})) as wire, pytest.raises(NotTheApi):
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())


def test_certificates_that_cannot_be_read_are_our_error(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bad.pem"))

    with pytest.raises(Unreachable) as caught:
        ask(Anthropic(api_key="k", base_url="https://127.0.0.1:9"), lambda backend: backend.probe())

    assert str(caught.value).startswith("cannot use the certificates of this machine: ")
    assert str(caught.value).endswith("\nnothing was sent\nHint: check SSL_CERT_FILE and SSL_CERT_DIR")


def test_no_proxy_stands_between_us_and_an_address_it_must_not_see(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with Wire(saying(200, PAGE)) as proxy, Wire(saying(200, PAGE)) as wire:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())

        assert [call.path for call in proxy.calls] == [f"{wire.url}/v1/messages/batches?limit=1"]
        assert len(wire.calls) == 1


@pytest.mark.parametrize("wrong", [{"auth": "cookie"}, {"version": "1999"}])
def test_settings_that_the_api_does_not_know_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="Hint: "):
        Anthropic(api_key="k", **wrong)


def test_a_probe_tells_the_servers_time_where_the_server_does(ask: Ask) -> None:
    def probe(**told: str) -> float | None:
        with Wire(saying(200, PAGE, **told)) as wire:
            when: float | None = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.probe())
        return when

    assert probe(date="Sun, 22 Nov 2026 10:00:00 GMT") == 1_795_341_600.0
    assert probe() is None
    assert probe(date="later") is None


def test_a_second_close_and_a_question_meanwhile_meet_no_closing_connection(ask: Ask) -> None:
    async def whole(backend: Anthropic) -> None:
        await backend.probe()
        for _ in range(20):
            await asyncio.gather(backend.close(), backend.close(), backend.probe(), backend.poll(["msgbatch_01"]))

    with Wire(saying(200, PAGE | BATCH)) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), whole)

    assert len(wire.calls) == 41


def test_a_call_whose_connection_is_closed_under_it_ends_as_a_lost_one(ask: Ask) -> None:
    async def whole(backend: Anthropic) -> None:
        call = asyncio.create_task(backend.probe())
        await asyncio.to_thread(asked.wait, 10)
        await backend.close()
        await call

    asked = threading.Event()

    def serve(peer: Peer) -> None:
        if peer.call():
            asked.set()
            peer.say_nothing()

    with Wire(serve) as wire, pytest.raises(Unreachable):
        ask(Anthropic(api_key="k", base_url=wire.url), whole)
