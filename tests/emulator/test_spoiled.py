"""Batches, downloads and answers that faults have spoiled, as a client meets them; armed in each of the three ways.

Not here: faults of the wire, and how faults are written (test_faults.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .api import LABEL, ROUTE, Api, ask, refusal, with_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    Armed = Callable[..., Api]


def lines_of(api: Api, batch: Any) -> list[bytes]:
    return api.http.get(f"{ROUTE}/{batch['id']}/results").content.split(b"\n")


def spoiled(armed: Armed, fault: str, **more: Any) -> Any:
    """The message of one request under the fault."""
    return armed(faults=[fault]).message(ask(**with_schema(LABEL), **more))


def test_a_new_batch_is_not_found_for_a_while(armed: Armed) -> None:
    api = armed(faults=["404_after_create@retrieve:seconds=3600"], law=10)
    batch = api.create(ask())

    early = api.http.get(f"{ROUTE}/{batch['id']}")
    api.server.advance(3600)
    late = api.http.get(f"{ROUTE}/{batch['id']}")

    assert refusal(early)[:2] == (404, "not_found_error")
    assert late.status_code == 200


def test_a_batch_is_not_found_again_just_after_it_ended(armed: Armed) -> None:
    api = armed(faults=["404_after_end@results:seconds=3600"], law=10)
    batch = api.create(ask())
    path = f"{ROUTE}/{batch['id']}"

    api.server.advance(10)
    seen = [api.http.get(path).status_code, api.http.get(f"{path}/results").status_code]
    api.server.advance(3600)

    assert seen == [200, 404]
    assert api.http.get(f"{path}/results").status_code == 200


def test_a_batch_is_deleted_behind_our_back(armed: Armed) -> None:
    api = armed(faults=["deleted@retrieve:after=1,times=1"], law=10)
    batch = api.create(ask())

    statuses = [api.http.get(f"{ROUTE}/{batch['id']}").status_code for _ in range(3)]

    assert statuses == [200, 404, 404]
    assert api.http.get(ROUTE).json()["data"] == []


def test_a_batch_is_gone_when_its_results_are_asked_for(armed: Armed) -> None:
    api = armed(faults=["deleted@results"])
    batch = api.create(ask())

    assert api.ended(batch["id"])["processing_status"] == "ended"
    assert api.http.get(f"{ROUTE}/{batch['id']}/results").status_code == 404
    assert api.http.get(f"{ROUTE}/{batch['id']}").status_code == 404


def test_a_batch_may_never_end(armed: Armed) -> None:
    api = armed(faults=["never_ends"])
    batch = api.create(ask())

    api.server.advance(30 * 24 * 3600)

    assert api.get(batch["id"])["processing_status"] == "in_progress"


def test_a_batch_may_be_stuck_in_canceling(armed: Armed) -> None:
    api = armed(faults=["stuck_canceling"], law=10)
    batch = api.create(ask())

    api.http.post(f"{ROUTE}/{batch['id']}/cancel")
    api.server.advance(30 * 24 * 3600)

    assert api.get(batch["id"])["processing_status"] == "canceling"


def test_results_url_may_point_to_another_origin(armed: Armed) -> None:
    api = armed(faults=["foreign_results_url:to=http://127.0.0.2:9"])
    batch = api.create(ask())

    assert api.ended(batch["id"])["results_url"] == f"http://127.0.0.2:9{ROUTE}/{batch['id']}/results"


def test_a_truncated_download_ends_in_the_middle_of_a_line(armed: Armed) -> None:
    api = armed(faults=["truncated:share=0.5,times=1"])
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
def test_lines_are_blank_double_missing_or_foreign(armed: Armed, fault: str, count: int) -> None:
    api = armed(faults=[f"{fault}:every=3"])
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


def test_lines_end_in_crlf(armed: Armed) -> None:
    api = armed(faults=["crlf"])
    batch = api.create(ask(), ask("b"))
    api.ended(batch["id"])

    assert all(line.endswith(b"\r") for line in lines_of(api, batch)[:-1])


def test_a_download_begins_with_a_byte_order_mark(armed: Armed) -> None:
    api = armed(faults=["bom"])
    batch = api.create(ask(), ask("b"))
    api.ended(batch["id"])

    assert [line[:4] for line in lines_of(api, batch)] == [b"\xef\xbb\xbf{", b'{"cu', b""]


@pytest.mark.parametrize(("fault", "lines"), [("joined_lines", 2), ("stray_text", 3)])
def test_lines_are_joined_or_have_a_text_before_them(armed: Armed, fault: str, lines: int) -> None:
    api = armed(faults=[f"{fault}:every=2"])
    batch = api.create(*(ask(f"text {row}") for row in range(3)))
    api.ended(batch["id"])
    found = lines_of(api, batch)[:-1]

    assert len(found) == lines
    assert b"".join(found).count(b'"custom_id"') == 3
    assert (b"<!--" in b"".join(found)) == (fault == "stray_text")


@pytest.mark.parametrize(
    ("fault", "kinds", "stop"),
    [
        ("empty", [], "end_turn"),
        ("thoughts_only", ["thinking"], "end_turn"),
        ("tool_call:tool=f", ["tool_use"], "tool_use"),
    ],
)
def test_an_answer_holds_no_text_and_is_billed(armed: Armed, fault: str, kinds: list[str], stop: str) -> None:
    api = armed(faults=[fault])
    message = api.message(ask())

    assert ([block["type"] for block in message["content"]], message["stop_reason"]) == (kinds, stop)
    assert api.server.usage()["requests"] == 1


def test_a_result_is_of_a_type_no_client_knows(armed: Armed) -> None:
    api = armed(faults=["unknown_type:every=1"])
    batch = api.create(ask())
    api.ended(batch["id"])

    assert api.lines(batch["id"])[0]["result"]["type"] == "deferred"


def test_results_come_without_a_content_type(armed: Armed) -> None:
    api = armed(faults=["no_content_type"])
    batch = api.create(ask())
    api.ended(batch["id"])

    assert "content-type" not in api.http.get(f"{ROUTE}/{batch['id']}/results").headers


def test_a_refusal_is_a_succeeded_line_without_content_and_is_not_billed(armed: Armed) -> None:
    api = armed(faults=["refusal:category=bio"])
    message = api.message(ask())

    assert (message["stop_reason"], message["content"]) == ("refusal", [])
    assert message["stop_details"]["category"] == "bio"
    assert api.server.usage()["requests"] == 0


@pytest.mark.parametrize(("route", "refused"), [("create", [True, False]), ("messages", [False, True])])
def test_answers_are_spoiled_in_batches_or_in_direct_calls_alone(armed: Armed, route: str, refused: list[bool]) -> None:
    api = armed(faults=[f"refusal@{route}"])

    messages = [api.message(ask()), api.http.post("/v1/messages", json=ask()).json()]

    assert [message["stop_reason"] == "refusal" for message in messages] == refused


def test_a_refusal_in_the_middle_is_billed(armed: Armed) -> None:
    api = armed(faults=["refusal:late=1"])
    message = api.message(ask())

    assert message["stop_reason"] == message["stop_details"]["type"] == "refusal"
    assert message["content"][0]["text"]
    assert api.server.usage()["requests"] == 1


def test_an_answer_breaks_off_at_max_tokens(armed: Armed) -> None:
    message = spoiled(armed, "max_tokens")

    assert message["stop_reason"] == "max_tokens"
    with pytest.raises(json.JSONDecodeError):
        json.loads(message["content"][0]["text"])


def test_json_is_broken_though_a_schema_was_given(armed: Armed) -> None:
    message = spoiled(armed, "invalid_json")

    assert message["stop_reason"] == "end_turn"
    with pytest.raises(json.JSONDecodeError):
        json.loads(message["content"][0]["text"])


def test_enum_values_come_in_other_capitals(armed: Armed) -> None:
    answer = json.loads(spoiled(armed, "enum_case")["content"][0]["text"])

    assert answer["topic"] in {"SPORT", "TECH"}


def test_a_request_errs_though_it_is_good(armed: Armed) -> None:
    (result,) = armed(faults=["errored:kind=overloaded_error"]).run(ask())

    assert result["error"]["error"]["type"] == "overloaded_error"


def test_a_share_of_answers_is_spoiled_the_same_ones_each_time(armed: Armed) -> None:
    asked = [ask(f"text {row}") for row in range(40)]
    refused = [
        [result["message"]["stop_reason"] == "refusal" for result in armed(faults=["refusal:p=0.3"]).run(*asked)]
        for _ in range(2)
    ]

    assert refused[0] == refused[1]
    assert 4 < sum(refused[0]) < 24
