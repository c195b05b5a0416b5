"""Results: one line, what it means, and which of two lines counts."""

from __future__ import annotations

import functools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.results import (
    CODE,
    FINAL,
    OUTCOMES,
    Line,
    Meaning,
    Result,
    answer,
    better,
    content,
    error_text,
    lines_in,
    meaning,
    parse,
)

STOPS = ["end_turn", "stop_sequence", "tool_use", None, "refusal", "max_tokens", "pause_turn"]
STOPS += ["model_context_window_exceeded", "something_new"]


def line(kind: str = "succeeded", *, text: str = "sport", stop: str | None = "end_turn", **more: Any) -> bytes:
    """One line, as the API writes it."""
    result: dict[str, Any] = {"type": kind, **more}
    if kind == "succeeded":
        blocks = [{"type": "text", "text": text, "citations": None}]
        usage = {"input_tokens": 9, "output_tokens": 1, "cache_creation_input_tokens": None, "service_tier": "batch"}
        result["message"] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-haiku-4-5-20251001",
            "content": blocks,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        } | more
    return json.dumps({"custom_id": "d1", "result": result}).encode()


def read(raw: bytes) -> Line:
    found = parse(raw)
    assert found is not None
    return found


def meant(raw: bytes) -> Meaning:
    return meaning(read(raw).result)


def error(kind: str, message: str) -> dict[str, Any]:
    """Doubly nested, as the API does."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def test_the_codes_on_disk_never_move() -> None:
    first = ("pending", "succeeded", "refused", "truncated", "invalid")

    assert (*first, "errored", "expired", "canceled", "skipped", "missing") == OUTCOMES
    assert {outcome: OUTCOMES[code] for outcome, code in CODE.items()} == {outcome: outcome for outcome in OUTCOMES}


def test_what_was_paid_for_is_final() -> None:
    assert {"succeeded", "refused", "truncated", "invalid"} == FINAL


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        ("end_turn", Meaning("succeeded", "sport")),
        ("stop_sequence", Meaning("succeeded", "sport")),
        ("tool_use", Meaning("succeeded", "sport")),
        (None, Meaning("succeeded", "sport")),
        ("something_new", Meaning("succeeded", "sport")),
        ("refusal", Meaning("refused", "sport", "the model refused to answer")),
        ("max_tokens", Meaning("truncated", "sport", "cut short: max_tokens")),
        ("pause_turn", Meaning("truncated", "sport", "cut short: pause_turn")),
        ("model_context_window_exceeded", Meaning("truncated", "sport", "cut short: model_context_window_exceeded")),
    ],
)
def test_a_message_means_what_its_stop_reason_says(stop: str | None, expected: Meaning) -> None:
    assert meant(line(stop=stop)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            line("errored", error=error("invalid_request_error", "max_tokens: too large")),
            Meaning("errored", error="invalid_request_error: max_tokens: too large"),
        ),
        (line("errored", error=error("api_error", "")), Meaning("errored", error="api_error: ")),
        (line("errored", error=None), Meaning("errored", error="error without details")),
        (line("errored"), Meaning("errored", error="error without details")),
        (line("expired"), Meaning("expired", error="expired before it was processed")),
        (line("canceled"), Meaning("canceled", error="canceled before it was processed")),
        (line("postponed"), Meaning("errored", error="unknown result type 'postponed'")),
    ],
)
def test_a_line_without_a_message_means_what_its_type_says(raw: bytes, expected: Meaning) -> None:
    assert meant(raw) == expected


def test_a_success_without_a_message_is_an_error_that_says_so() -> None:
    found = meant(b'{"custom_id":"d1","result":{"type":"succeeded"}}')

    assert found.outcome == "errored"
    assert "unknown result type" not in found.error


def test_an_error_that_is_only_a_text_is_an_error_and_not_a_missing_line() -> None:
    assert meant(b'{"custom_id":"d1","result":{"type":"errored","error":"boom"}}').outcome == "errored"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (error("overloaded_error", "busy"), "overloaded_error: busy"),
        ({"type": "api_error", "message": "once"}, "api_error: once"),
        ({"error": {"error": {"type": "x", "message": "deep"}}}, "x: deep"),
        ({"error": "flat"}, "error: "),
        ({}, "error: "),
        (None, "error without details"),
    ],
)
def test_an_error_is_read_however_deep_it_is_nested(given: dict[str, Any] | None, text: str) -> None:
    assert error_text(given) == text


def test_an_answer_is_all_text_blocks_and_no_others() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "spo"},
        {"type": "something_new", "text": None, "data": [1]},
        {"type": "text", "text": "rt"},
        {"type": "text", "text": ""},
    ]
    message = read(line(content=blocks)).result.message
    assert message is not None

    assert answer(message) == "sport"


CALL = {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {"word": "goal"}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}


@pytest.mark.parametrize(
    ("blocks", "text", "error"),
    [
        ([], "", "the answer is empty"),
        ([{"type": "text", "text": ""}], "", "the answer is empty"),
        ([{"type": "text", "text": " \n"}], " \n", "the answer is empty: white space alone"),
        ([THOUGHT], "", "the answer is empty: the model thought, and wrote no text"),
        (
            [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": ""}],
            "",
            "the answer is empty: the model thought, and wrote no text",
        ),
    ],
)
def test_an_answer_in_which_nothing_is_written_is_invalid_and_worth_another_try(
    blocks: list[Any], text: str, error: str
) -> None:
    assert meant(line(content=blocks)) == Meaning("invalid", text, error, blank=True)


@pytest.mark.parametrize(
    ("blocks", "error"),
    [
        ([THOUGHT, CALL], "the model called tool 'lookup' and wrote no text; include=['message'] holds the call"),
        ([CALL, CALL], "the model called tool 'lookup' and wrote no text; include=['message'] holds the calls"),
        (
            [CALL, {"type": "tool_use", "name": "cite"}],
            "the model called tools 'lookup' and 'cite' and wrote no text; include=['message'] holds the calls",
        ),
        (
            [{"type": "server_tool_use", "name": "web_search"}, {"type": "web_search_tool_result", "content": []}],
            "the answer holds no text, only 'server_tool_use', 'web_search_tool_result'; include=['message'] holds it",
        ),
    ],
)
@pytest.mark.parametrize("stop", ["tool_use", "end_turn"])
def test_a_call_of_a_tool_alone_is_no_answer_and_not_worth_another_try(
    blocks: list[Any], error: str, stop: str
) -> None:
    assert meant(line(content=blocks, stop_reason=stop)) == Meaning("invalid", "", error)


def test_a_text_beside_a_call_is_the_answer() -> None:
    assert meant(line(content=[{"type": "text", "text": "sport"}, CALL], stop_reason="tool_use")).outcome == "succeeded"


def test_nothing_before_a_stop_sequence_of_the_users_is_an_answer() -> None:
    assert meant(line(content=[], stop_reason="stop_sequence")) == Meaning("succeeded", "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a\xffb", "a\ufffdb"),  # no UTF-8
        (rb"a\ud800b", "a\ufffdb"),  # half of a pair
        (b"a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb"),
        (b"a\x00\tb", "a\x00\tb"),  # control signs as they are
        (rb"\ud83d\ude00", "\U0001f600"),
        ("\u2028\x85".encode(), "\u2028\x85"),
    ],
)
def test_a_damaged_text_that_was_paid_for_is_read_as_far_as_it_can_be(before: bytes, after: str) -> None:
    raw = line(text="HERE").replace(b"HERE", before)

    assert meant(raw).text == after
    assert content(raw)["result"]["message"]["content"][0]["text"] == after


def test_numbers_that_are_no_json_lose_no_answer() -> None:
    raw = line(score=float("nan"), digits=0).replace(b'"digits": 0', b'"digits": ' + b"9" * 5000)

    assert meant(raw).text == "sport"
    assert content(raw)["result"]["message"]["score"] is None


def test_brackets_a_hundred_thousand_deep_are_no_line() -> None:
    raw = b'{"custom_id":"d1","result":{"type":"errored","error":' + b"[" * 100_000

    assert parse(raw) is None
    assert parse(raw + b"]" * 100_000 + b"}}") is None


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"   ",
        b"{",
        line()[:-20],
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"custom_id":"d1"}',
        b'{"custom_id":1,"result":{"type":"expired"}}',
        b'{"custom_id":"d1","result":{}}',
    ],
)
def test_a_blank_torn_or_foreign_line_is_no_line(raw: bytes) -> None:
    assert parse(raw) is None


@given(st.binary(max_size=60))
def test_no_bytes_make_parsing_fail(raw: bytes) -> None:
    assert parse(raw) is None or raw
    assert lines_in(raw) == []


LINES = st.lists(
    st.one_of(
        st.builds(line, text=st.sampled_from(["", "a", "b", "é"]), stop=st.sampled_from(STOPS)),
        st.builds(line, st.sampled_from(["errored", "expired", "canceled", "postponed"])),
    ),
    min_size=2,
    max_size=6,
    unique=True,
)


def is_better(one: bytes, other: bytes) -> bool:
    return better(one, read(one).result, other, read(other).result)


@given(LINES, st.randoms(use_true_random=False))
def test_whatever_the_order_of_lines_the_same_one_counts(lines: list[bytes], shuffled: Any) -> None:
    def winner(raws: list[bytes]) -> bytes:
        return functools.reduce(lambda taken, new: new if is_better(new, taken) else taken, raws)

    again = lines.copy()
    shuffled.shuffle(again)

    assert winner(lines) == winner(again)


@given(LINES)
def test_of_two_different_lines_exactly_one_is_better_and_none_is_better_than_itself(lines: list[bytes]) -> None:
    one, other, *_ = lines

    assert is_better(one, other) != is_better(other, one)
    assert not is_better(one, one)


@given(LINES)
def test_an_answer_counts_first_then_what_else_was_paid_for_then_the_smaller_bytes(lines: list[bytes]) -> None:
    best = functools.reduce(lambda taken, new: new if is_better(new, taken) else taken, lines)
    succeeded = [raw for raw in lines if meant(raw).outcome == "succeeded"]
    paid_for = [raw for raw in lines if meant(raw).outcome in FINAL]

    assert best == min(succeeded or paid_for or lines)


def test_tokens_that_the_server_leaves_out_are_nothing_and_unknown_fields_are_no_harm() -> None:
    message = read(line(usage={"output_tokens": 3, "server_tool_use": {"web_search_requests": 1}})).result.message
    assert message is not None

    assert msgspec.to_builtins(message.usage) == {
        "input_tokens": 0,
        "output_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": None,
        "inference_geo": None,
    }


def test_a_result_made_of_nothing_but_a_type_is_read() -> None:
    assert read(b'{"custom_id":"d1","result":{"type":"canceled"},"more":1}').result == Result("canceled")
