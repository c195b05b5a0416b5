from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.emulator import tokens
from dfbatch.emulator.models import catalogue

from .api import ask, refusal
from .made import document, image, pdf, text

if TYPE_CHECKING:
    from .api import Api

MESSAGE = {
    *("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details"),
    *("container", "diagnostics", "usage"),
}
USAGE = {
    *("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation"),
    *("output_tokens_details", "server_tool_use", "service_tier", "inference_geo", "speed"),
}


@pytest.mark.parametrize("batched", [True, False])
def test_a_message_has_all_its_fields(api: Api, *, batched: bool) -> None:
    params = ask()
    message = api.message(params) if batched else api.http.post("/v1/messages", json=params).json()

    assert set(message) == MESSAGE
    assert set(message["usage"]) == USAGE
    assert message["usage"]["service_tier"] == ("batch" if batched else "standard")
    assert message["id"].startswith("msg_01")
    assert message["model"] == "claude-haiku-4-5"


def test_two_direct_calls_are_two_messages_with_one_answer(api: Api) -> None:
    first, second = (api.http.post("/v1/messages", json=ask()).json() for _ in range(2))

    assert first["content"] == second["content"]
    assert first["id"] != second["id"]


def test_streaming_is_refused_and_said(api: Api) -> None:
    reply = api.http.post("/v1/messages", json=ask(stream=True))

    assert refusal(reply) == (400, "invalid_request_error", "stream: the emulator does not stream")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_a_direct_body_beyond_32_mb_is_too_large(api: Api, path: str) -> None:
    assert api.http.post(path, content=b" " * 32_000_001).status_code == 413


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a":', b'{"model":"\xff"}', b"[" * 100_000])
def test_a_direct_body_that_is_no_object_is_refused(api: Api, content: bytes) -> None:
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        assert refusal(api.http.post(path, content=content))[0] == 400


def test_a_count_takes_a_thinking_budget_without_max_tokens(api: Api) -> None:
    params = ask("text", max_tokens=None, thinking={"type": "enabled", "budget_tokens": 1_024})

    assert api.http.post("/v1/messages/count_tokens", json=params).status_code == 200
    assert api.http.post("/v1/messages", json=params | {"max_tokens": 1_024}).status_code == 400


def test_a_count_is_an_estimate_within_five_percent(api: Api) -> None:
    counts, real = [], []
    for row in range(40):
        params = ask(f"text number {row} " * 100, max_tokens=None)
        counts.append(api.http.post("/v1/messages/count_tokens", json=params).json()["input_tokens"])
        real.append(api.http.post("/v1/messages", json={**params, "max_tokens": 1}).json()["usage"]["input_tokens"])
    shares = [count / exact for count, exact in zip(counts, real, strict=True)]

    assert all(0.949 < share < 1.051 for share in shares)
    assert max(shares) - min(shares) > 0.05
    assert api.http.post("/v1/messages/count_tokens", json=ask("a", max_tokens=None)).json().keys() == {"input_tokens"}


def test_counting_takes_no_max_tokens_and_costs_nothing(api: Api) -> None:
    reply = api.http.post("/v1/messages/count_tokens", json=ask())

    assert refusal(reply)[2] == "max_tokens: Extra inputs are not permitted"
    assert api.server.usage()["requests"] == 0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("abcd" * 10, 10),
        ("abcde", 2),
        ("é" * 4, 2),
        ([text("abcd"), text("ab")], 2),
        ([image(100, 75)], 10),
        ([image(4000, 4000)], 1_600),
        ([pdf(3)], 3 * 1_800),
        ([document("abcd" * 5, title="abcd")], 6),
    ],
)
def test_tokens_are_counted_by_one_stated_rule(api: Api, content: Any, expected: int) -> None:
    message = api.message(ask(messages=[{"role": "user", "content": content}]))

    assert message["usage"]["input_tokens"] == tokens.PER_MESSAGE + expected


def test_newer_models_count_thirty_percent_more(api: Api) -> None:
    old, new = (api.message(ask("abcd" * 100, model=name))["usage"] for name in ("claude-opus-4-6", "claude-opus-4-7"))

    assert (old["input_tokens"], new["input_tokens"]) == (104, 134)


def test_an_answer_is_cut_at_max_tokens(api: Api) -> None:
    message = api.message(ask(max_tokens=3))

    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["output_tokens"] == 3
    assert len(message["content"][0]["text"]) == 12


def test_an_answer_ends_before_a_stop_sequence(api: Api) -> None:
    whole = api.message(ask())["content"][0]["text"]
    word = whole.split()[1]
    params = ask(stop_sequences=["nowhere", word])

    message = api.message(params)

    assert (message["stop_reason"], message["stop_sequence"]) in {("stop_sequence", word), ("end_turn", None)}
    assert word not in message["content"][0]["text"]


def test_a_prompt_that_fills_the_context_leaves_no_room_for_the_answer(api: Api) -> None:
    message = api.message(ask("abcd" * 199_990))

    assert message["stop_reason"] == "model_context_window_exceeded"
    assert message["usage"]["output_tokens"] <= 6


def test_models_are_listed_newest_first_and_paged(api: Api) -> None:
    whole = api.http.get("/v1/models", params={"limit": 1000}).json()
    first = api.http.get("/v1/models", params={"limit": 5}).json()
    after = api.http.get("/v1/models", params={"limit": 5, "after_id": first["last_id"]}).json()
    before = api.http.get("/v1/models", params={"limit": 2, "before_id": after["first_id"]}).json()
    names = [model["id"] for model in whole["data"]]

    today = dt.datetime.now(dt.UTC).date().isoformat()

    assert len(names) == len([model for model in catalogue().models if not model.is_retired(today)])
    assert [model["id"] for model in after["data"]] == names[5:10]
    assert [model["id"] for model in before["data"]] == names[3:5]
    assert (first["has_more"], whole["has_more"]) == (True, False)


def test_retired_models_are_listed_when_asked_for(api: Api) -> None:
    retired = api.http.get("/v1/models", params={"lifecycle[]": "retired"}).json()["data"]

    assert "claude-sonnet-4-5-20250929" in {model["id"] for model in retired}
    assert {model["lifecycle"] for model in retired} == {"retired"}
    assert refusal(api.http.get("/v1/models", params={"lifecycle[]": "unborn"}))[0] == 400


def test_a_model_answers_until_the_end_of_its_last_day_and_not_after_it(api: Api) -> None:
    opus = catalogue().find("claude-opus-4-5")
    assert opus is not None

    assert [opus.is_retired(day) for day in ("2026-12-01", "2027-01-22", "2027-01-23")] == [False, False, True]
    assert refusal(api.http.post("/v1/messages", json=ask(model="claude-sonnet-4-5")))[:2] == (404, "not_found_error")


def test_a_model_is_found_by_alias_with_its_limits(api: Api) -> None:
    model = api.http.get("/v1/models/claude-haiku-4-5").json()

    assert (model["id"], model["max_input_tokens"], model["max_tokens"]) == (
        "claude-haiku-4-5-20251001",
        200_000,
        64_000,
    )
    assert model["capabilities"]["batch"] == {"supported": True}
    assert model["capabilities"]["thinking"]["types"]["adaptive"] == {"supported": False}
    assert refusal(api.http.get("/v1/models/claude-nope")) == (404, "not_found_error", "model: claude-nope")


def test_a_model_tells_every_capability_and_only_its_own_kinds_of_thinking(api: Api) -> None:
    """Keys as in §5 of the reference, kinds as in its matrix (§3.2)."""
    kinds = {
        "claude-fable-5-2": {"adaptive"},
        "claude-opus-5-5": {"adaptive"},
        "claude-sonnet-5-5": {"adaptive", "between_tools"},
        "claude-haiku-5-5": {"adaptive", "disabled"},
        "claude-opus-4-6": {"adaptive", "enabled", "disabled"},
        "claude-haiku-4-5": {"enabled", "disabled"},
    }
    told = {name: api.http.get(f"/v1/models/{name}").json()["capabilities"] for name in kinds}

    for able in told.values():
        assert set(able) == {
            *("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs"),
            *("effort", "thinking", "context_management", "server_tools"),
        }
        assert set(able["thinking"]) == {"supported", "types"}
        assert set(able["thinking"]["types"]) == {"adaptive", "enabled", "disabled", "between_tools"}
        assert set(able["effort"]) == {"supported", "low", "medium", "high", "xhigh", "max"}
        assert set(able["server_tools"]) >= {"web_search", "code_execution"}
    assert {
        name: {kind for kind, can in able["thinking"]["types"].items() if can["supported"]}
        for name, able in told.items()
    } == kinds


@pytest.mark.parametrize("model", catalogue().models, ids=lambda model: model.id)
def test_prices_follow_the_rules_of_caching(model: Any) -> None:
    for price in filter(None, (model.price, model.long and model.long.price)):
        assert math.isclose(price.write_5m, 1.25 * price.input)
        assert math.isclose(price.write_1h, 2 * price.input)
        assert math.isclose(price.output, 5 * price.input)
        assert price.read <= price.input / 10 + 1e-9
    assert model.created is None or dt.date.fromisoformat(model.created) is not None
