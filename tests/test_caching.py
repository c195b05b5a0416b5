"""The prompt cache is used where it pays, marked where it counts, and is no part of what a request is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dfbatch.caching import Caching, decide
from dfbatch.models import Models
from dfbatch.requests import marked, prefix_bytes, shared

HAIKU = Models().find("claude-haiku-4-5")
MARK = {"type": "ephemeral", "ttl": "1h"}
TURNS = [{"role": "user", "content": "whisk"}, {"role": "assistant", "content": "kitchen"}]
TOOL = {"name": "look", "input_schema": {"type": "object"}}


def made(**parts: Any) -> Any:
    given = {"system": None, "turns": [], "params": {}, "wire": None, "judged": None, "betas": (), "who": "x"} | parts
    return shared(model="claude-haiku-4-5", max_tokens=5, **given)


def sent(whole: Any) -> dict[str, Any]:
    params: dict[str, Any] = json.loads(whole.head + b'{"role":"user","content":"row"}' + whole.tail)
    return params


@pytest.mark.parametrize(
    ("said", "size", "requests", "lifetime"),
    [
        ("auto", 40_000, 10_000, "1h"),
        ("auto", 40_000, 2, ""),
        ("auto", 40_000, 8, ""),
        ("auto", 40_000, 60, "1h"),
        ("auto", 15_000, 10_000, ""),
        (None, 40_000, 10_000, ""),
        ("5m", 40_000, 3, "5m"),
        ("1h", 40_000, 10_000, "1h"),
    ],
)
def test_it_is_used_where_it_pays_or_is_asked_for(said: Any, size: int, requests: int, lifetime: str) -> None:
    told = decide(said, HAIKU, shared_bytes=size, requests=requests, users=False)

    assert (told.lifetime, told.leads) == (lifetime, bool(lifetime) and (said == "auto" or requests >= 100))


def test_a_model_that_is_not_known_is_not_cached_by_itself() -> None:
    assert decide("auto", None, shared_bytes=10**6, requests=10**5, users=False) == Caching()


def test_marks_of_the_user_are_left_alone_and_those_that_do_nothing_are_told() -> None:
    told = decide("auto", HAIKU, shared_bytes=400, requests=1000, users=True)

    assert (told.lifetime, told.leads) == ("", False)
    assert told.warning == "about 100 tokens are shared, and this model caches 4,096 or more: the mark does nothing"
    assert decide("auto", HAIKU, shared_bytes=20_000, requests=1000, users=True) == Caching()


def test_the_mark_is_at_the_end_of_what_is_shared() -> None:
    turns = sent(marked(made(system="Be brief.", turns=TURNS, params={"tools": [TOOL]}), "1h"))
    system = sent(marked(made(system="Be brief.", params={"tools": [TOOL]}), "1h"))
    tools = sent(marked(made(params={"tools": [TOOL, TOOL]}), "1h"))

    assert turns["messages"][1]["content"] == [{"type": "text", "text": "kitchen", "cache_control": MARK}]
    assert (turns["system"], turns["messages"][-1]["content"]) == ("Be brief.", "row")
    assert system["system"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    assert tools["tools"] == [TOOL, {**TOOL, "cache_control": MARK}]


def test_of_several_blocks_the_last_one_is_marked() -> None:
    blocks = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]

    assert sent(marked(made(system=blocks), "1h"))["system"] == [blocks[0], {**blocks[1], "cache_control": MARK}]


def test_where_nothing_is_shared_nothing_is_marked() -> None:
    whole = made(wire={"type": "object"})

    assert marked(whole, "1h") == whole
    assert prefix_bytes(whole) == 0


@pytest.mark.parametrize("parts", [{"system": "x"}, {"turns": TURNS}, {"params": {"tools": [TOOL], "top_k": 5}}])
def test_a_mark_is_no_part_of_what_a_request_is(parts: dict[str, Any]) -> None:
    whole = made(**parts)
    told = sent(marked(whole, "5m"))

    assert marked(whole, "5m").digest == whole.digest
    assert {name: told[name] for name in ("model", "max_tokens")} == {"model": "claude-haiku-4-5", "max_tokens": 5}
    assert "cache_control" in json.dumps(told)
    assert "cache_control" not in json.dumps(sent(whole))
