"""Each fault as a client meets it on the wire, armed by the constructor, by the command, by the control endpoint."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from dfbatch.emulator import Fault, Server
from dfbatch.emulator.faults import KINDS, ROUTES

from .api import ROUTE, Api, ask, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    Armed = Callable[..., Api]

BODY = {"requests": [{"custom_id": "a", "params": ask()}]}


def everywhere(api: Api, batch_id: str) -> dict[str, httpx.Response]:
    """A call of every route that disturbs none of the others."""
    http, path = api.http, f"{ROUTE}/{batch_id}"
    return {
        "create": http.post(ROUTE, json=BODY),
        "list": http.get(ROUTE),
        "retrieve": http.get(path),
        "cancel": http.post(f"{path}/cancel"),
        "results": http.get(f"{path}/results"),
        "messages": http.post("/v1/messages", json=ask()),
        "count_tokens": http.post("/v1/messages/count_tokens", json=ask(max_tokens=None)),
        "models": http.get("/v1/models"),
        "model": http.get("/v1/models/claude-haiku-4-5"),
        "delete": http.delete(path),
    }


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("400", 400, "invalid_request_error"),
        ("401", 401, "authentication_error"),
        ("402", 402, "billing_error"),
        ("403", 403, "permission_error"),
        ("404", 404, "not_found_error"),
        ("408", 408, "invalid_request_error"),
        ("409", 409, "conflict_error"),
        ("500", 500, "api_error"),
        ("503", 503, "api_error"),
        ("504", 504, "timeout_error"),
        ("529", 529, "overloaded_error"),
    ],
)
def test_a_status_is_answered_in_the_apis_shape(armed: Armed, fault: str, status: int, kind: str) -> None:
    api = armed(faults=[f"{fault}@create"])

    assert refusal(api.http.post(ROUTE, json=BODY))[:2] == (status, kind)
    assert api.http.get(ROUTE).json()["data"] == []


@pytest.mark.parametrize("route", ROUTES)
def test_a_fault_strikes_the_route_it_is_aimed_at_alone(armed: Armed, route: str) -> None:
    api = armed(faults=[f"529@{route}:after={int(route == 'create')}"])
    batch = api.create(ask())
    assert api.server.wait_idle()

    statuses = {name: reply.status_code for name, reply in everywhere(api, batch["id"]).items()}

    assert set(statuses) == set(ROUTES)
    assert {name for name, status in statuses.items() if status == 529} == {route}


def test_a_429_says_when_to_come_back_or_not(armed: Armed) -> None:
    api = armed(faults=["429@create:retry_after=7,times=1", "429_bare@create:times=1", "spend_limit@create"])

    replies = [api.http.post(ROUTE, json=BODY) for _ in range(3)]

    assert [refusal(reply)[:2] for reply in replies] == [(429, "rate_limit_error")] * 3
    assert [reply.headers.get("retry-after") for reply in replies] == ["7", None, None]
    assert replies[2].json()["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}


def test_cloudflares_413_has_no_type_and_no_request_id(armed: Armed) -> None:
    reply = armed(faults=["413@create"]).http.post(ROUTE, json=BODY)

    assert reply.status_code == 413
    assert reply.json() == {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}
    assert "request-id" not in reply.headers


def test_a_proxy_answers_html(armed: Armed) -> None:
    api = armed(faults=["502@create", "html@list", "redirect@retrieve"])

    bad, page = api.http.post(ROUTE, json=BODY), api.http.get(ROUTE)
    elsewhere = api.http.get(f"{ROUTE}/msgbatch_x")

    assert (bad.status_code, bad.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert (page.status_code, page.text.startswith("<html>")) == (200, True)
    assert (elsewhere.status_code, elsewhere.headers["location"]) == (307, "http://127.0.0.1:9/elsewhere")


def test_a_reset_comes_before_the_body_is_read(armed: Armed) -> None:
    api = armed(faults=["reset@create:times=1"])

    with socket.create_connection(("127.0.0.1", httpx.URL(api.server.url).port or 0)) as wire:
        wire.sendall(f"POST {ROUTE} HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n".encode())
        with pytest.raises(ConnectionResetError):  # though not one byte of the body was sent
            wire.recv(1)

    assert api.http.get(ROUTE).json()["data"] == []


@pytest.mark.parametrize(("how", "seen"), [("reset", httpx.ReadError), ("close", httpx.RemoteProtocolError)])
def test_a_lost_reply_leaves_an_accepted_batch(armed: Armed, how: str, seen: type[httpx.TransportError]) -> None:
    api = armed(faults=[f"lost_reply:times=1,how={how}"])

    with pytest.raises(seen):
        api.http.post(ROUTE, json=BODY)
    (batch,) = api.http.get(ROUTE).json()["data"]

    assert batch["request_counts"]["processing"] + batch["request_counts"]["succeeded"] == 1
    assert api.server.usage()["batches_created"] == 1


def test_connections_are_refused_for_a_while_and_then_taken_again(armed: Armed) -> None:
    api = armed(faults=["refuse@list:times=1,seconds=0.3"])
    refused = 0

    with pytest.raises(httpx.TransportError):
        api.http.get(ROUTE)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            reply = api.http.get(ROUTE)
            break
        except httpx.ConnectError:
            refused += 1

    assert refused > 0
    assert reply.status_code == 200


def test_calls_of_open_connections_are_refused_once_for_both(armed: Armed) -> None:
    api = armed(faults=["refuse@list:times=2,seconds=0.2"])
    with Api(api.server) as other:
        for one in (api, other):
            assert one.http.get("/v1/models").status_code == 200
        for one in (api, other):  # the second finds nobody listening any more
            with pytest.raises(httpx.TransportError):
                one.http.get(ROUTE)
    end = time.monotonic() + 10
    reply = None
    while reply is None and time.monotonic() < end:
        with suppress(httpx.ConnectError):
            reply = api.http.get(ROUTE)

    assert reply is not None
    assert reply.status_code == 200


def test_a_slow_body_arrives_whole_and_late(armed: Armed) -> None:
    api = armed(faults=["slow@list:seconds=0.2,times=1"])
    began = time.monotonic()

    reply = api.http.get(ROUTE)

    assert time.monotonic() - began >= 0.2
    assert reply.json()["data"] == []


def test_a_share_of_calls_is_hit_and_the_seed_says_which(armed: Armed) -> None:
    hit = []
    for seed in (1, 1, 2):
        api = armed(faults=["529@list:p=0.5"], seed=seed)
        hit.append([api.http.get(ROUTE).status_code for _ in range(40)])

    assert hit[0] == hit[1] != hit[2]
    assert 8 < hit[0].count(529) < 32


def test_faults_are_armed_told_and_disarmed_by_the_control_endpoint(api: Api) -> None:
    def arm(body: dict[str, Any]) -> list[str]:
        told = api.http.post("/_emulator/faults", json=body).json()["faults"]
        return [fault["name"] for fault in told]

    armed = [arm({"faults": ["500@list:times=1"]}), arm({"add": ["529@list"]})]
    statuses = [api.http.get(ROUTE).status_code for _ in range(2)]
    told = api.http.get("/_emulator/faults").json()["faults"]
    api.http.delete("/_emulator/faults")

    assert armed == [["500"], ["500", "529"]]
    assert statuses == [500, 529]
    assert [fault["fired"] for fault in told] == [1, 1]
    assert api.http.get(ROUTE).status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("earthquake", "unknown fault 'earthquake'"),
        ("429@moon", "unknown route 'moon' of fault '429'. Known are create, retrieve, list"),
        ("truncated@list", "unknown route 'list' of fault 'truncated'. Known are results and *"),
        ("never_ends@cancel", "unknown route 'cancel' of fault 'never_ends'. Known are create and *"),
        ("429:p=1.5", "cannot read p='1.5'"),
        ("429:times=-1", "cannot read times='-1'"),
        ("slow:seconds=inf", "cannot read seconds='inf'"),
        ("truncated:share=nan", "cannot read share='nan'"),
        (
            "lost_reply:how=softly",
            "cannot read how='softly' in fault 'lost_reply:how=softly'. Keys are p, times, after, how",
        ),
        ("429:colour=red", "cannot read colour='red'"),
        ("429:times=often", "cannot read times='often'"),
    ],
)
def test_an_unknown_fault_is_refused_with_what_is_known(api: Api, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fault.parse(text)
    assert words in refusal(api.http.post("/_emulator/faults", json={"faults": [text]}))[2]


def test_a_fault_can_be_made_of_its_parts(api: Api) -> None:
    with Server(faults=[Fault("429", "list", times=1), Fault("slow", options={"seconds": 0.0})]) as server:
        replies = [httpx.get(server.url + ROUTE, headers=api.http.headers) for _ in range(2)]
    with pytest.raises(ValueError, match=r"unknown fault 'earthquake'\. Known are 400, 401"):
        Fault("earthquake")

    assert [reply.status_code for reply in replies] == [429, 200]
    assert replies[0].headers["retry-after"] == "1"


def test_every_fault_can_be_armed_in_each_of_the_three_ways(armed: Armed) -> None:
    texts = [f"{name}:p=0.5,times=2,after=1" for name in KINDS]

    told = armed(faults=texts).http.get("/_emulator/faults").json()["faults"]

    assert [f"{fault['name']}:p={fault['p']},times={fault['times']},after={fault['after']}" for fault in told] == texts
