"""Requests: the bytes that are posted are the JSON that was meant, their length is known, equal ones are recognized."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.requests import (
    ID_WIDTH,
    REQUEST,
    Body,
    Digester,
    Shared,
    body_length,
    custom_ids,
    part,
    parts,
    shared,
)

NONCE = "d123456789"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # lone surrogates are cleaned before they come here
BLOCKS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}), min_size=1, max_size=3)
TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXT | BLOCKS}),
    min_size=1,
    max_size=3,
)
CONTENT = TEXT | BLOCKS | TURNS
COMMON: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 64,
    "system": None,
    "turns": (),
    "params": {},
    "wire": None,
    "judged": None,
    "betas": (),
    "who": "anthropic https://api.anthropic.com",
}


def digest(**changes: Any) -> str:
    return shared(**{**COMMON, **changes}).digest


def numbered(digests: list[bytes], positions: list[int] | None = None) -> np.ndarray[Any, Any]:
    requests = np.empty(len(digests), REQUEST)
    requests["position"] = range(len(digests)) if positions is None else positions
    requests["digest"] = digests
    return requests


def body_of(common: Shared, contents: list[Any]) -> Body:
    lines = parts(contents)
    requests = numbered([Digester(common.digest).one(line) for line in lines])
    length = body_length(common, sum(map(len, lines)), len(lines))
    return Body(length, common, custom_ids(NONCE, requests).tolist(), lines)


def messages(content: Any) -> list[Any]:
    return content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]


@given(
    contents=st.lists(CONTENT, min_size=1, max_size=8),
    system=st.none() | TEXT | BLOCKS,
    turns=st.just([]) | TURNS,
    params=st.dictionaries(st.sampled_from(["temperature", "stop_sequences", "metadata"]), TEXT),
    wire=st.none() | st.just({"type": "object", "properties": {"ä{}": {"type": "string"}}}),
)
def test_a_body_is_the_json_of_its_requests_and_as_long_as_it_said(
    contents: list[Any], system: Any, turns: list[Any], params: dict[str, Any], wire: Any
) -> None:
    body = body_of(shared(**{**COMMON, "system": system, "turns": turns, "params": params, "wire": wire}), contents)
    sent = b"".join(body)
    common = {"model": "claude-haiku-4-5", "max_tokens": 64, **params}
    common |= {} if system is None else {"system": system}
    common |= {} if wire is None else {"output_config": {"format": {"type": "json_schema", "schema": wire}}}

    assert len(sent) == body.length
    assert json.loads(sent) == {
        "requests": [
            {"custom_id": custom_id.decode(), "params": {**common, "messages": [*turns, *messages(content)]}}
            for custom_id, content in zip(body.ids, contents, strict=True)
        ]
    }


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 102, 200, 201, 1000])
def test_a_body_is_whole_wherever_its_blocks_end(count: int) -> None:
    body = body_of(shared(**COMMON), [f"row {at}" for at in range(count)])
    sent = b"".join(body)
    read = json.loads(sent)["requests"]

    assert len(sent) == body.length
    assert [one["params"]["messages"][0]["content"] for one in read] == [f"row {at}" for at in range(count)]


def test_a_body_can_be_read_again() -> None:
    body = body_of(shared(**COMMON), ["a", "b", "c"])

    assert list(body) == list(body)


def test_a_text_of_a_megabyte_of_emoji_and_escapes_has_its_exact_length() -> None:
    text = '😀"\\\n\t\x00é\u2028' * 80_000
    body = body_of(shared(**COMMON), [text, "b"])
    sent = b"".join(body)

    assert len(sent) == body.length > 1_000_000
    assert json.loads(sent)["requests"][0]["params"]["messages"][0]["content"] == text


def test_a_request_alone_is_the_element_of_the_body() -> None:
    common = shared(**COMMON)
    body = body_of(common, ["only"])
    alone = common.request(body.ids[0], part("only"))

    assert b"".join(body) == b'{"requests":[' + alone + b"]}"
    assert len(alone) + 1 == common.overhead + len(part("only"))


@given(st.lists(CONTENT | st.none(), max_size=6))
def test_many_parts_are_the_parts_of_each_and_none_is_empty(contents: list[Any]) -> None:
    assert parts(contents) == [b"" if content is None else part(content) for content in contents]


@given(CONTENT)
def test_a_part_is_one_line(content: Any) -> None:
    assert b"\n" not in part(content)


def test_an_output_config_of_the_user_is_kept_beside_the_schema() -> None:
    common = shared(**{**COMMON, "params": {"output_config": {"effort": "low"}}, "wire": {"type": "object"}})
    [request] = json.loads(b"".join(body_of(common, ["a"])))["requests"]

    assert request["params"]["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": {"type": "object"}},
    }


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_max_tokens_does_not_change_the_digest(one: int, other: int) -> None:
    assert digest(max_tokens=one) == digest(max_tokens=other)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "claude-opus-4-5"},
        {"system": "Be brief."},
        {"system": [{"type": "text", "text": "Be brief."}]},
        {"system": ""},
        {"turns": [{"role": "user", "content": "a"}]},
        {"params": {"temperature": 0.0}},
        {"wire": {"type": "object"}},
        {"judged": {"type": "object"}},
        {"judged": {"type": "object", "maximum": 5}},
        {"betas": ("a-2026-01-01",)},
        {"who": "local smollm2 abc 0"},
        {"who": "anthropic https://api.anthropic.com 2024-01-01"},
    ],
    ids=str,
)
def test_what_changes_the_answer_changes_the_digest(changes: dict[str, Any]) -> None:
    assert digest(**changes) != digest()


def test_digests_of_all_differences_differ_from_each_other() -> None:
    text = "x"
    made = [digest(system=text), digest(who=text), digest(model=text), digest(betas=(text,)), digest(judged={text: 1})]

    assert len(set(made)) == len(made)


def test_the_order_of_params_and_betas_does_not_change_the_digest() -> None:
    one = digest(params={"temperature": 0, "metadata": {"a": 1, "b": 2}}, betas=("a", "b"))
    other = digest(params={"metadata": {"b": 2, "a": 1}, "temperature": 0}, betas=("b", "a"))

    assert one == other


def test_the_order_of_properties_in_a_schema_does_change_what_is_sent() -> None:
    one = shared(**{**COMMON, "wire": {"properties": {"a": {}, "b": {}}}})
    other = shared(**{**COMMON, "wire": {"properties": {"b": {}, "a": {}}}})

    assert one.head != other.head


@given(st.lists(CONTENT, min_size=2, max_size=6))
def test_equal_contents_have_equal_digests_and_others_differ(contents: list[Any]) -> None:
    digester = Digester(digest())
    made = [digester.one(line) for line in parts(contents)]

    assert {len(one) for one in made} == {16}
    assert all(
        (made[a] == made[b]) == (json.dumps(messages(contents[a])) == json.dumps(messages(contents[b])))
        for a in range(len(contents))
        for b in range(len(contents))
    )


def test_each_occurrence_has_a_digest_of_its_own_and_the_first_is_the_plain_one() -> None:
    digester = Digester(digest())
    line = part("again")
    made = [digester.one(line, occurrence) for occurrence in range(50)]

    assert len(set(made)) == 50
    assert made[0] == digester.one(line)


@given(st.lists(st.tuples(st.integers(0, 10**10 - 1), st.binary(min_size=16, max_size=16)), unique_by=lambda p: p[0]))
def test_custom_ids_are_of_one_width_letters_and_digits_and_sorted_by_position(rows: list[tuple[int, bytes]]) -> None:
    rows = sorted(rows)
    ids = custom_ids(NONCE, numbered([digest for _, digest in rows], [at for at, _ in rows])).tolist()

    assert ids == sorted(set(ids))
    assert all(re.fullmatch(rb"[a-z][a-zA-Z0-9]{23}", one) for one in ids)
    assert [one[10:] for one in ids] == [b"%010d" % at + digest[:2].hex().encode() for at, digest in rows]
    assert ID_WIDTH == 24


def test_a_custom_id_keeps_the_zero_bytes_of_a_digest() -> None:
    requests = numbered([bytes(16), b"\x00\x01" + bytes(14)], [3, 4])

    assert custom_ids(NONCE, requests).tolist() == [b"d12345678900000000030000", b"d12345678900000000040001"]
