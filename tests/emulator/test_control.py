from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from .api import ROUTE, Api, ask, refusal

if TYPE_CHECKING:
    from collections.abc import Callable


def digest(params: dict[str, Any]) -> str:
    """Over canonical JSON, as any client can compute it."""
    text = json.dumps(params, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def test_health_tells_who_answers(api: Api) -> None:
    health = api.http.get("/_emulator/health").json()

    assert {key: health[key] for key in ("engine", "model_digest", "seed", "version")} == {
        "engine": "sample",
        "model_digest": None,
        "seed": 0,
        "version": "1",
    }


def test_usage_counts_what_was_billed_by_digest(api: Api) -> None:
    one, two = ask("hé \u2028 llo", system="x\n"), ask("b", stop_sequences=["§"])
    api.run(one, two, one, ask(model="nope"))
    api.http.post("/v1/messages", json=two)

    usage = api.http.get("/_emulator/usage").json()
    (workspace,) = usage["workspaces"].values()

    assert usage["billed_by_digest"] == {digest(one): 2, digest(two): 2}
    assert workspace["billed_by_digest"] == usage["billed_by_digest"]
    assert (usage["requests"], usage["batches_created"], usage["requests_accepted"]) == (4, 1, 4)
    assert usage["calls"] == {
        "POST /v1/messages/batches": 1,
        "GET /v1/messages/batches/{id}": 1,
        "GET /v1/messages/batches/{id}/results": 1,
        "POST /v1/messages": 1,
    }


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        *(("1e15", "1000000000000000.0"), ("1E+16", "1e16"), ("1.50", "1.5"), ("2.0", "2.0"), ("2", "2")),
        *(("0.000010", "0.00001"), ("0.00000010", "1e-7"), ("-0.0", "-0.0"), ("1" + "0" * 30, "1" + "0" * 30)),
    ],
)
def test_digests_are_of_numbers_in_their_shortest_form(api: Api, written: str, canonical: str) -> None:
    tools = [{"input_schema": {"properties": {"a": {"default": "HERE"}}, "type": "object"}, "name": "t"}]
    params = json.dumps(ask(tools=tools), sort_keys=True, separators=(",", ":"))

    reply = api.http.post("/v1/messages", content=params.replace('"HERE"', written))
    digest = hashlib.sha256(params.replace('"HERE"', canonical).encode()).hexdigest()

    assert reply.status_code == 200, reply.text
    assert [*api.server.usage()["billed_by_digest"]] == [digest]


def test_usage_can_leave_digests_out(api: Api) -> None:
    api.run(ask())

    usage = api.http.get("/_emulator/usage?digests=0").json()

    assert "billed_by_digest" not in usage
    assert usage["requests"] == 1


def test_usage_is_kept_apart_by_workspace(api: Api) -> None:
    with Api(api.server, key="key-b") as other:
        api.run(ask("a"))
        other.run(ask("b"), ask("c"))

    workspaces = api.http.get("/_emulator/usage").json()["workspaces"]

    assert sorted(entry["requests"] for entry in workspaces.values()) == [1, 2]


def test_a_batch_pays_half_of_a_direct_call(api: Api) -> None:
    api.run(ask("same"))
    batch = api.server.usage()["dollars"]
    api.http.post("/v1/messages", json=ask("same"))

    assert api.server.usage()["dollars"] == pytest.approx(batch * 3)


def test_work_in_the_us_costs_a_tenth_more_and_long_prompts_of_haiku_5_5_more_too(api: Api) -> None:
    us = ask("same", model="claude-opus-5", inference_geo="us")
    long = ask("word " * 100_000, model="claude-haiku-5-5")
    api.run(us, {**us, "inference_geo": "global"}, long)

    rates = api.server.usage()["by_rate"]
    near, far = rates["batch claude-opus-5 us"], rates["batch claude-opus-5 global"]
    figures = rates["batch claude-haiku-5-5+long global"]

    assert near["dollars"] / (near["input_tokens"] * 5 + near["output_tokens"] * 25) == pytest.approx(
        1.1 * far["dollars"] / (far["input_tokens"] * 5 + far["output_tokens"] * 25)
    )
    assert figures["dollars"] == pytest.approx(
        (figures["input_tokens"] * 0.5 + figures["output_tokens"] * 2.5) / 1e6 / 2
    )


def test_the_clock_moves_forward_only(api: Api) -> None:
    assert api.http.post("/_emulator/clock", json={"advance_seconds": 90}).json()["advanced_seconds"] == 90
    assert api.http.get("/_emulator/clock").json()["advanced_seconds"] == 90
    for bad in (-1, "x", None, True, 1e12):
        assert refusal(api.http.post("/_emulator/clock", json={"advance_seconds": bad}))[0] == 400
    assert refusal(api.http.post("/_emulator/clock", content=b"[1]"))[0] == 400


def test_reset_forgets_everything_but_the_clock(serve: Callable[..., Api]) -> None:
    api = serve(law=10, tier="start")
    api.create(ask())
    api.server.advance(20)
    api.create(ask("open"))
    api.http.post("/_emulator/faults", json={"faults": ["500@list"]})

    api.http.post("/_emulator/reset")
    usage = api.server.usage()

    assert api.http.get(ROUTE).json()["data"] == []
    assert (usage["requests"], usage["billed_by_digest"], usage["batches_created"]) == (0, {}, 0)
    assert usage["calls"] == {}
    assert api.http.get("/_emulator/clock").json()["advanced_seconds"] == 20
    assert api.create(ask())["processing_status"] == "in_progress"


def test_control_calls_need_no_key_and_are_not_counted(api: Api) -> None:
    api.http.headers.clear()

    assert api.http.get("/_emulator/health").status_code == 200
    assert api.http.get("/_emulator/usage").json()["calls"] == {}
