"""Each fault as a client meets it on the wire."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from dfbatch.emulator import Fault
from dfbatch.emulator.faults import KINDS

from .api import LABEL, ROUTE, Api, ask, refusal, with_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    Serve = Callable[..., Api]

BODY = {"requests": [{"custom_id": "a", "params": ask()}]}


def lines_of(api: Api, batch: Any) -> list[bytes]:
    return api.http.get(f"{ROUTE}/{batch['id']}/results").content.split(b"\n")


def spoiled(serve: Serve, fault: str, **more: Any) -> Any:
    """The message of one request under the fault."""
    return serve(faults=[fault]).message(ask(**with_schema(LABEL), **more))


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
def test_a_status_is_answered_in_the_apis_shape(serve: Serve, fault: str, status: int, kind: str) -> None:
    api = serve(faults=[f"{fault}@create"])

    assert refusal(api.http.post(ROUTE, json=BODY))[:2] == (status, kind)
    assert api.http.get(ROUTE).json()["data"] == []


def test_a_429_says_when_to_come_back_or_not(serve: Serve) -> None:
    api = serve(faults=["429@create:retry_after=7,times=1", "429_bare@create:times=1", "spend_limit@create"])

    replies = [api.http.post(ROUTE, json=BODY) for _ in range(3)]

    assert [refusal(reply)[:2] for reply in replies] == [(429, "rate_limit_error")] * 3
    assert [reply.headers.get("retry-after") for reply in replies] == ["7", None, None]
    assert replies[2].json()["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}


def test_cloudflares_413_has_no_type_and_no_request_id(serve: Serve) -> None:
    reply = serve(faults=["413@create"]).http.post(ROUTE, json=BODY)

    assert reply.status_code == 413
    assert reply.json() == {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}
    assert "request-id" not in reply.headers


def test_a_proxy_answers_html(serve: Serve) -> None:
    api = serve(faults=["502@create", "html@list", "redirect@retrieve"])

    bad, page = api.http.post(ROUTE, json=BODY), api.http.get(ROUTE)
    elsewhere = api.http.get(f"{ROUTE}/msgbatch_x")

    assert (bad.status_code, bad.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert (page.status_code, page.text.startswith("<html>")) == (200, True)
    assert (elsewhere.status_code, elsewhere.headers["location"]) == (307, "http://127.0.0.1:9/elsewhere")


def test_a_reset_comes_before_the_body_is_read(serve: Serve) -> None:
    api = serve(faults=["reset@create:times=1"])

    with pytest.raises((httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)):
        api.http.post(ROUTE, content=b"x" * 5_000_000)

    assert api.http.get(ROUTE).json()["data"] == []


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_lost_reply_leaves_an_accepted_batch(serve: Serve, how: str) -> None:
    api = serve(faults=[f"lost_reply:times=1,how={how}"])

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        api.http.post(ROUTE, json=BODY)
    (batch,) = api.http.get(ROUTE).json()["data"]

    assert batch["request_counts"]["processing"] + batch["request_counts"]["succeeded"] == 1
    assert api.server.usage()["batches_created"] == 1


def test_connections_are_refused_for_a_while_and_then_taken_again(serve: Serve) -> None:
    api = serve(faults=["refuse@list:times=1,seconds=0.3"])
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


def test_a_slow_body_arrives_whole_and_late(serve: Serve) -> None:
    api = serve(faults=["slow@list:seconds=0.2,times=1"])
    began = time.monotonic()

    reply = api.http.get(ROUTE)

    assert time.monotonic() - began >= 0.2
    assert reply.json()["data"] == []


def test_a_new_batch_is_not_found_for_a_while(serve: Serve) -> None:
    now = 1_700_000_000.0
    api = serve(faults=["404_after_create@retrieve:seconds=2"], law=10, clock=lambda: now)
    batch = api.create(ask())

    early = api.http.get(f"{ROUTE}/{batch['id']}")
    now += 2
    late = api.http.get(f"{ROUTE}/{batch['id']}")

    assert refusal(early)[:2] == (404, "not_found_error")
    assert late.status_code == 200


def test_a_batch_is_not_found_again_just_after_it_ended(serve: Serve) -> None:
    api = serve(faults=["404_after_end@results:seconds=2"], law=10, clock=lambda: 1_700_000_000.0)
    batch = api.create(ask())
    path = f"{ROUTE}/{batch['id']}"

    api.server.advance(10)
    seen = [api.http.get(path).status_code, api.http.get(f"{path}/results").status_code]
    api.server.advance(2)

    assert seen == [200, 404]
    assert api.http.get(f"{path}/results").status_code == 200


def test_a_batch_is_deleted_behind_our_back(serve: Serve) -> None:
    api = serve(faults=["deleted@retrieve:after=1,times=1"], law=10)
    batch = api.create(ask())

    statuses = [api.http.get(f"{ROUTE}/{batch['id']}").status_code for _ in range(3)]

    assert statuses == [200, 404, 404]
    assert api.http.get(ROUTE).json()["data"] == []


def test_a_batch_may_never_end(serve: Serve) -> None:
    api = serve(faults=["never_ends"])
    batch = api.create(ask())

    api.server.advance(30 * 24 * 3600)

    assert api.get(batch["id"])["processing_status"] == "in_progress"


def test_a_batch_may_be_stuck_in_canceling(serve: Serve) -> None:
    api = serve(faults=["stuck_canceling"], law=10)
    batch = api.create(ask())

    api.http.post(f"{ROUTE}/{batch['id']}/cancel")
    api.server.advance(30 * 24 * 3600)

    assert api.get(batch["id"])["processing_status"] == "canceling"


def test_results_url_may_point_to_another_origin(serve: Serve) -> None:
    api = serve(faults=["foreign_results_url:to=http://127.0.0.2:9"])
    batch = api.create(ask())

    assert api.ended(batch["id"])["results_url"] == f"http://127.0.0.2:9{ROUTE}/{batch['id']}/results"


def test_a_truncated_download_ends_in_the_middle_of_a_line(serve: Serve) -> None:
    api = serve(faults=["truncated:share=0.5,times=1"])
    batch = api.create(*(ask(f"text {row}") for row in range(40)))
    api.ended(batch["id"])
    got: list[bytes] = []

    with (
        api.http.stream("GET", f"{ROUTE}/{batch['id']}/results") as reply,
        pytest.raises(httpx.RemoteProtocolError, match="incomplete"),
    ):
        got.extend(reply.iter_raw())
    whole = api.http.get(f"{ROUTE}/{batch['id']}/results").content

    assert reply.status_code == 200
    assert whole.startswith(b"".join(got))
    assert 0.4 < len(b"".join(got)) / len(whole) < 0.6
    assert got[-1][-1:] != b"\n"


@pytest.mark.parametrize(
    ("fault", "count"), [("blank_lines", 12), ("duplicate_lines", 12), ("missing_lines", 6), ("foreign_ids", 12)]
)
def test_lines_are_blank_double_missing_or_foreign(serve: Serve, fault: str, count: int) -> None:
    api = serve(faults=[f"{fault}:every=3"])
    batch = api.create(*(ask(f"text {row}") for row in range(9)))
    api.ended(batch["id"])

    lines = lines_of(api, batch)[:-1]
    ids = [json.loads(line)["custom_id"] for line in lines if line]
    ours = [name for name in ids if name.startswith("r")]

    assert len(lines) == count
    assert (fault == "blank_lines") == (b"" in lines)
    assert (fault == "duplicate_lines") == (len(set(ours)) < len(ours))
    assert (fault == "missing_lines") == (len(set(ours)) < 9)
    assert (fault == "foreign_ids") == any(name.startswith("foreign-") for name in ids)


def test_lines_end_in_crlf(serve: Serve) -> None:
    api = serve(faults=["crlf"])
    batch = api.create(ask(), ask("b"))
    api.ended(batch["id"])

    assert all(line.endswith(b"\r") for line in lines_of(api, batch)[:-1])


def test_a_result_is_of_a_type_no_client_knows(serve: Serve) -> None:
    api = serve(faults=["unknown_type:every=1"])
    batch = api.create(ask())
    api.ended(batch["id"])

    assert api.lines(batch["id"])[0]["result"]["type"] == "deferred"


def test_results_come_without_a_content_type(serve: Serve) -> None:
    api = serve(faults=["no_content_type"])
    batch = api.create(ask())
    api.ended(batch["id"])

    assert "content-type" not in api.http.get(f"{ROUTE}/{batch['id']}/results").headers


def test_a_refusal_is_a_succeeded_line_without_content_and_is_not_billed(serve: Serve) -> None:
    api = serve(faults=["refusal:category=bio"])
    message = api.message(ask())

    assert (message["stop_reason"], message["content"]) == ("refusal", [])
    assert message["stop_details"]["category"] == "bio"
    assert api.server.usage()["requests"] == 0


def test_a_refusal_in_the_middle_is_billed(serve: Serve) -> None:
    api = serve(faults=["refusal:late=1"])
    message = api.message(ask())

    assert message["stop_reason"] == message["stop_details"]["type"] == "refusal"
    assert message["content"][0]["text"]
    assert api.server.usage()["requests"] == 1


def test_an_answer_breaks_off_at_max_tokens(serve: Serve) -> None:
    message = spoiled(serve, "max_tokens")

    assert message["stop_reason"] == "max_tokens"
    with pytest.raises(json.JSONDecodeError):
        json.loads(message["content"][0]["text"])


def test_json_is_broken_though_a_schema_was_given(serve: Serve) -> None:
    message = spoiled(serve, "invalid_json")

    assert message["stop_reason"] == "end_turn"
    with pytest.raises(json.JSONDecodeError):
        json.loads(message["content"][0]["text"])


def test_enum_values_come_in_other_capitals(serve: Serve) -> None:
    answer = json.loads(spoiled(serve, "enum_case")["content"][0]["text"])

    assert answer["topic"] in {"SPORT", "TECH"}


def test_a_request_errs_though_it_is_good(serve: Serve) -> None:
    (result,) = serve(faults=["errored:kind=overloaded_error"]).run(ask())

    assert result["error"]["error"]["type"] == "overloaded_error"


def test_a_share_of_calls_is_hit_and_the_seed_says_which(serve: Serve) -> None:
    hit = []
    for seed in (1, 1, 2):
        api = serve(faults=["529@list:p=0.5"], seed=seed)
        hit.append([api.http.get(ROUTE).status_code for _ in range(40)])

    assert hit[0] == hit[1] != hit[2]
    assert 8 < hit[0].count(529) < 32


def test_a_share_of_answers_is_spoiled_the_same_ones_each_time(serve: Serve) -> None:
    asked = [ask(f"text {row}") for row in range(40)]
    refused = [
        [result["message"]["stop_reason"] == "refusal" for result in serve(faults=["refusal:p=0.3"]).run(*asked)]
        for _ in range(2)
    ]

    assert refused[0] == refused[1]
    assert 4 < sum(refused[0]) < 24


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
        ("429@moon", "unknown route 'moon'"),
        ("429:colour=red", "cannot read colour='red'"),
        ("429:times=often", "cannot read times='often'"),
    ],
)
def test_an_unknown_fault_is_refused_with_what_is_known(api: Api, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Fault.parse(text)
    assert words in refusal(api.http.post("/_emulator/faults", json={"faults": [text]}))[2]


def test_every_kind_of_fault_can_be_written_and_told() -> None:
    for name in KINDS:
        assert Fault.parse(f"{name}:p=0.5,times=2,after=1").told()["name"] == name
