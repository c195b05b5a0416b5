"""What a server tells for nothing, tokens and models: how it is asked, and what comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.backends.anthropic import Anthropic
from dfbatch.backends.counting import COUNTED
from dfbatch.backends.local import Local
from dfbatch.emulator import Server
from dfbatch.errors import ApiError, NotFound, RateLimited, Unauthorized
from tests.backends.advice import COUNT, INFO, MODEL, PAGE, counting, describing, encoded, told
from tests.wire import Peer, Wire, saying

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.backends.advice import Ask, Question

TAKEN: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Füße, \U0001f9a6"}],
    "system": "Be brief.",
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "disabled"},
    "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "cache_control": {"type": "ephemeral"},
    "speed": "standard",
    "mcp_servers": [],
    "context_management": None,
    "compaction": None,
    "billing_policy": None,
}
LEFT: dict[str, Any] = {
    "max_tokens": 100,
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.5,
    "metadata": {"user_id": "u"},
    "stop_sequences": ["."],
    "service_tier": "standard_only",
    "inference_geo": "us",
    "stream": False,
    "container": "c",
    "user_profile_id": "p",
    "a_key_of_tomorrow": 1,
}


# what is sent


def test_a_count_sends_what_counts_and_leaves_out_the_rest(ask: Ask) -> None:
    with Wire(saying(200, COUNT)) as wire:
        params = json.dumps(LEFT | TAKEN, ensure_ascii=False).encode()
        tokens = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.count(params, ("b-1", "b-2")))

    (call,) = wire.calls
    assert tokens == 12
    assert (call.method, call.path) == ("POST", "/v1/messages/count_tokens")
    assert json.loads(call.body) == TAKEN
    assert set(TAKEN) == COUNTED
    assert call.header("anthropic-beta") == "b-1,b-2"
    assert call.header("content-type") == "application/json"
    assert call.header("content-length") == str(len(call.body))
    assert call.header("anthropic-version") == "2023-06-01"
    assert call.header("x-api-key") == "k"


def test_what_counts_goes_out_byte_for_byte(ask: Ask) -> None:
    messages = (
        b'[ {"role":"user", "content":"\\u00fc\\ud83e\\udda6 1.0 \xc3\xbc"},{"n":1.00, "b":12345678901234567890123} ]'
    )
    with Wire(saying(200, COUNT)) as wire:
        params = b'{"max_tokens":1,"model":"m","messages":' + messages + b"}"
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.count(params, ()))

    assert wire.calls[0].body == b'{"model":"m","messages":' + messages + b"}"
    assert wire.calls[0].header("anthropic-beta") is None


def test_keys_further_in_are_nobodys_business_here(ask: Ask) -> None:
    inner = {"role": "user", "content": [{"type": "text", "text": "a", "max_tokens": 1, "metadata": {}}]}
    with Wire(saying(200, COUNT)) as wire:
        params = encoded(messages=[inner])
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.count(params, ()))

    assert json.loads(wire.calls[0].body) == {"model": MODEL, "messages": [inner]}


def test_a_model_is_asked_for_without_a_body(ask: Ask) -> None:
    with Wire(saying(200, INFO)) as wire:
        info = ask(Anthropic(api_key="k", base_url=f"{wire.url}/anthropic/"), describing)

    (call,) = wire.calls
    assert info == INFO
    assert (call.method, call.path, call.body) == ("GET", f"/anthropic/v1/models/{MODEL}", b"")
    assert call.header("content-type") is None
    assert call.header("x-api-key") == "k"


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("org/model", "org%2Fmodel"),
        ("a\\b", "a%5Cb"),
        ("claude-3.5", "claude-3.5"),
        ("...", "..."),
        ("a?limit=1#x", "a%3Flimit%3D1%23x"),
        ("50%", "50%25"),
        ("%2e%2e%2fmessages", "%252e%252e%252fmessages"),
        ("模型 ü", "%E6%A8%A1%E5%9E%8B%20%C3%BC"),
        ("anthropic.claude:1@x", "anthropic.claude%3A1%40x"),
    ],
)
def test_a_name_stays_one_part_of_the_path(model: str, sent: str, ask: Ask) -> None:
    with Wire(saying(200, INFO)) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.describe(model))

    assert [call.path for call in wire.calls] == [f"/v1/models/{sent}"]


@pytest.mark.parametrize(
    "model",
    ["", ".", "..", "../messages/batches", "a/../b", "a/..", "./a", "..\\a", "a\nb", "a\x00", "\ud800", "a\u2028b"],
)
def test_a_name_that_may_lead_elsewhere_is_not_asked_for(model: str, ask: Ask) -> None:
    with Wire(saying(200, INFO)) as wire:
        info = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.describe(model))

    assert info is None
    assert wire.calls == []


def test_what_is_free_shares_one_connection(ask: Ask) -> None:
    ports: set[int] = set()

    def serve(peer: Peer) -> None:
        if peer.call():
            ports.add(peer.sock.getpeername()[1])
            peer.reply(200, COUNT | INFO)

    async def whole(backend: Anthropic) -> None:
        for _ in range(3):
            await backend.count(encoded(), ())
            await backend.describe(MODEL)

    with Wire(serve) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), whole)

        assert len(wire.calls) == 6
    assert len(ports) == 1


def test_a_refusal_leaves_the_connection_usable(ask: Ask) -> None:
    ports: set[int] = set()

    def serve(peer: Peer) -> None:
        if peer.call():
            ports.add(peer.sock.getpeername()[1])
            peer.reply(404, PAGE)

    async def whole(backend: Anthropic) -> list[object]:
        return [await backend.count(encoded(), ()), await backend.describe(MODEL)]

    with Wire(serve) as wire:
        answers = ask(Anthropic(api_key="k", base_url=wire.url), whole)

    assert answers == [None, None]
    assert len(ports) == 1


# what comes back


@pytest.mark.parametrize(
    "tokens",
    [b'"12"', b"12.0", b"12.5", b"true", b"null", b"-1", b"[12]", b"{}", b"9" * 30, b"9" * 5000, b"1e3", b"NaN"],
)
def test_what_is_no_count_is_none(tokens: bytes, ask: Ask) -> None:
    assert told(ask, counting, 200, b'{"input_tokens":' + tokens + b"}") is None


@pytest.mark.parametrize("tokens", [0, 1, 1_000_000, 1 << 53])
def test_a_count_may_be_any_number_and_more_may_be_told(tokens: int, ask: Ask) -> None:
    more = {"context_management": {"original_input_tokens": 1}, "later": [{}]}

    assert told(ask, counting, 200, {"input_tokens": tokens} | more) == tokens


@pytest.mark.parametrize(
    "other",
    [
        {"type": None},
        {"type": "model_group"},
        {"id": None},
        {"id": ""},
        {"id": 1},
        {"max_input_tokens": "200000"},
        {"max_tokens": [1]},
        {"max_tokens": 1.5},
        {"capabilities": []},
        {"capabilities": "all"},
    ],
)
def test_what_is_no_model_is_none(other: dict[str, Any], ask: Ask) -> None:
    assert told(ask, describing, 200, INFO | other) is None


@pytest.mark.parametrize(
    "body",
    [
        {"object": "model", "id": MODEL, "owned_by": "somebody"},  # as other servers describe theirs
        {"data": [INFO], "has_more": False},
        {"data": [], "has_more": False},
        [INFO],
    ],
)
def test_another_shape_that_holds_a_model_is_none(body: Any, ask: Ask) -> None:
    assert told(ask, describing, 200, body) is None


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"max_input_tokens": None, "max_tokens": None, "capabilities": None},
        {"capabilities": {"batch": {"supported": True}, "flying": ["of", {"a": 1}], "x": None}},
        {"line": "haiku", "lifecycle": "active", "later": {"a": [1.5, None, "ü"]}},
    ],
)
def test_all_that_is_told_of_a_model_comes_back(more: dict[str, Any], ask: Ask) -> None:
    assert told(ask, describing, 200, {"type": "model", "id": "m"} | more) == {"type": "model", "id": "m"} | more


# the emulator


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def asked(server: Server, ask: Ask, question: Question) -> Any:
    return ask(Anthropic(api_key="k", base_url=server.url), question)


def test_the_emulator_counts_whole_requests(server: Server, ask: Ask) -> None:
    fine = {"temperature": 0.5, "metadata": {"user_id": "u"}, "stop_sequences": ["."], "service_tier": "auto"}
    short, long = (encoded(**fine, system="word " * count) for count in (10, 1000))

    assert 5 < asked(server, ask, lambda backend: backend.count(short, ())) < 50
    assert 500 < asked(server, ask, lambda backend: backend.count(long, ())) < 2000
    assert server.usage()["calls"]["POST /v1/messages/count_tokens"] == 2


def test_the_emulator_takes_a_beta_with_its_key(server: Server, ask: Ask) -> None:
    params = encoded(context_management={"edits": []})
    beta = "context-management-2025-06-27"

    assert asked(server, ask, lambda backend: backend.count(params, (beta,))) > 0
    with pytest.raises(ApiError, match="context_management: Extra inputs are not permitted"):
        asked(server, ask, lambda backend: backend.count(params, ()))


def test_the_emulator_describes_a_model_by_id_and_by_alias(server: Server, ask: Ask) -> None:
    by_id, by_alias = (
        asked(server, ask, lambda backend, name=name: backend.describe(name))  # type: ignore[misc]
        for name in ("claude-haiku-4-5-20251001", "claude-haiku-4-5")
    )

    assert by_id == by_alias
    assert by_id["type"] == "model"
    assert by_id["max_input_tokens"] > by_id["max_tokens"] > 0
    assert by_id["capabilities"]["batch"] == {"supported": True}


@pytest.mark.parametrize("model", ["claude-of-tomorrow", "模型", "50%", "%2e%2e", "a b", "a?b#c", "...", "x" * 200])
def test_the_emulator_knows_no_such_model(model: str, server: Server, ask: Ask) -> None:
    for question in (
        lambda backend: backend.describe(model),
        lambda backend: backend.count(encoded(model=model), ()),
    ):
        with pytest.raises(NotFound) as caught:
            asked(server, ask, question)

        assert str(caught.value).startswith(f"the API said 404 not_found_error: model: {model}\n")


@pytest.mark.parametrize("model", ["org/model", "a%2F..%2Fb/c", "messages/batches"])
def test_the_emulator_takes_a_slash_for_another_route_and_none_is_reached(model: str, server: Server, ask: Ask) -> None:
    assert asked(server, ask, lambda backend: backend.describe(model)) is None


def test_an_address_with_another_path_has_no_such_routes(server: Server, ask: Ask) -> None:
    for question in (counting, describing):
        assert ask(Anthropic(api_key="k", base_url=f"{server.url}/elsewhere"), question) is None


def test_the_emulator_refuses_as_the_api_does(ask: Ask) -> None:
    faults = ["429@count_tokens:times=1,retry_after=3", "529@model:times=1"]
    with Server(keys={"right": "team"}, faults=faults) as server:
        right = Anthropic(api_key="right", base_url=server.url)
        for question, kind in ((counting, RateLimited), (describing, ApiError)):
            with pytest.raises(kind) as caught:
                ask(right, question)
            with pytest.raises(Unauthorized):
                ask(Anthropic(api_key="wrong", base_url=server.url), question)

            assert caught.value.retry_after == (3.0 if question is counting else None)
            assert ask(right, question) is not None


def test_a_request_that_is_wrong_is_refused_in_a_count_too(server: Server, ask: Ask) -> None:
    with pytest.raises(ApiError) as caught:
        asked(server, ask, lambda backend: backend.count(encoded(messages=[]), ()))

    assert caught.value.status == 400
    assert str(caught.value).endswith("Hint: the API refuses this request: check params=, betas= and the schema")


def test_a_model_on_this_machine_counts_and_describes_through_its_child(tmp_path: Path, ask: Ask) -> None:
    backend = Local("sample")
    backend.ready(tmp_path)

    async def whole(backend: Anthropic) -> list[Any]:
        return [await backend.count(encoded(), ()), await backend.describe(MODEL), await backend.describe("org/model")]

    tokens, info, none = ask(backend, whole)
    with pytest.raises(NotFound):
        ask(backend, lambda backend: backend.describe("claude-of-tomorrow"))
    assert backend._child
    backend._child.terminate()
    backend._child.wait(30)
    assert backend._child.stdout
    backend._child.stdout.close()

    assert tokens > 0
    assert info["id"] == "claude-haiku-4-5-20251001"
    assert none is None
