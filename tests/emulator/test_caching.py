from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dfbatch.emulator.asks import Asks, Terms
from dfbatch.emulator.caching import PromptCache
from dfbatch.emulator.clock import SECOND

from .api import Api, ask

if TYPE_CHECKING:
    from collections.abc import Callable

LONG = "Instructions. " * 2_000  # 7,000 tokens on Haiku 4.5, whose minimum is 4,096
HOUR = {"type": "ephemeral", "ttl": "1h"}


def marked(text: str, *, system: str = LONG, ttl: str = "1h", **more: Any) -> dict[str, Any]:
    block = {"type": "text", "text": system, "cache_control": {"type": "ephemeral", "ttl": ttl}}
    return ask(text, system=[block], **more)


def cached(message: Any) -> tuple[int, int, int]:
    """(read, written for 5 minutes, written for an hour)."""
    usage = message["usage"]
    made = usage["cache_creation"]

    assert usage["cache_creation_input_tokens"] == sum(made.values())
    return usage["cache_read_input_tokens"], made["ephemeral_5m_input_tokens"], made["ephemeral_1h_input_tokens"]


def test_a_prefix_is_written_once_and_read_after(api: Api) -> None:
    first, second = api.message(marked("a")), api.message(marked("b"))
    whole = api.message(ask("b", system=LONG))["usage"]["input_tokens"]

    assert cached(first) == (0, 0, 7_000)
    assert cached(second) == (7_000, 0, 0)
    assert second["usage"]["input_tokens"] == whole - 7_000


def test_a_lifetime_is_counted_from_the_last_use(api: Api) -> None:
    seen: list[tuple[int, int, int]] = []
    for pause in (0, 200, 200, 301):
        api.server.advance(pause)
        seen.append(cached(api.message(marked(f"text {len(seen)}", ttl="5m"))))

    assert seen == [(0, 7_000, 0), (7_000, 0, 0), (7_000, 0, 0), (0, 7_000, 0)]


def test_an_hour_is_an_hour(api: Api) -> None:
    api.message(marked("a"))
    api.server.advance(3599)
    kept = cached(api.message(marked("b")))
    api.server.advance(3601)

    assert kept == (7_000, 0, 0)
    assert cached(api.message(marked("c"))) == (0, 0, 7_000)


def test_requests_that_run_together_all_write(serve: Callable[..., Api]) -> None:
    api = serve(law="fixed:10", lanes=3)
    batch = api.create(*(marked(f"text {row}") for row in range(5)))

    api.server.advance(60)
    kinds = sorted(cached(result["message"]) for result in api.results(batch["id"]).values())

    assert kinds == [(0, 0, 7_000)] * 3 + [(7_000, 0, 0)] * 2


def test_another_workspace_reads_nothing_of_it(api: Api) -> None:
    first = cached(api.message(marked("a")))
    with Api(api.server, key="key-b") as other:
        stranger = cached(other.message(marked("b")))

    assert first == stranger == (0, 0, 7_000)
    assert cached(api.message(marked("c"))) == (7_000, 0, 0)


def test_a_prefix_is_looked_for_twenty_blocks_back(api: Api) -> None:
    def talk(count: int) -> dict[str, Any]:
        words = [{"type": "text", "text": LONG if row == 0 else f"block {row}"} for row in range(count)]
        return ask(messages=[{"role": "user", "content": [*words[:-1], {**words[-1], "cache_control": HOUR}]}])

    reads = [cached(api.message(talk(count)))[0] > 0 for count in (2, 21, 41)]

    assert reads == [False, True, False]


def test_a_prefix_written_again_is_kept_from_then_on(api: Api) -> None:
    cache = PromptCache(seed=0)
    unlucky = PromptCache(seed=0, hit_rate=0.0)
    prompt = Asks().read(msgspec.json.encode(marked("a", ttl="5m")), Terms("2023-06-01", batch=True))

    for of in (cache, unlucky):
        of.bill(prompt, pool="p", start=0, finish=0)
        of.bill(prompt, pool="p", start=200 * SECOND, finish=200 * SECOND)
    unlucky._hit_rate = 1.0

    assert [of.bill(prompt, pool="p", start=400 * SECOND, finish=400 * SECOND).read for of in (cache, unlucky)] == [
        7_000,
        7_000,
    ]


def test_a_short_prefix_is_silently_left_uncached(api: Api) -> None:
    short = "Instructions. " * 600  # 2,100 tokens by the old tokenizer

    assert cached(api.message(marked("a", system=short))) == (0, 0, 0)
    assert cached(api.message(marked("a", system=short, model="claude-sonnet-4-6"))) == (0, 0, 2_100)


def test_a_direct_call_does_not_warm_a_batch(api: Api) -> None:
    direct = [cached(api.http.post("/v1/messages", json=marked(text)).json()) for text in ("a", "b")]

    assert direct == [(0, 0, 7_000), (7_000, 0, 0)]
    assert cached(api.message(marked("c"))) == (0, 0, 7_000)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-haiku-5-5"])
def test_a_direct_call_for_no_tokens_warms_the_cache_and_says_nothing(api: Api, model: str) -> None:
    warming, after = (
        api.http.post("/v1/messages", json=marked("a", model=model, max_tokens=most)).json() for most in (0, 20)
    )

    assert (warming["content"], warming["stop_reason"], warming["usage"]["output_tokens"]) == ([], "max_tokens", 0)
    assert cached(after)[0] == cached(warming)[2] > 0


@pytest.mark.parametrize("change", [{"model": "claude-sonnet-4-6"}, {"thinking": {"type": "disabled"}}])
def test_another_model_or_setting_is_another_prefix(api: Api, change: dict[str, Any]) -> None:
    api.message(marked("a"))

    assert cached(api.message(marked("b", **change)))[0] == 0


def test_the_automatic_mark_takes_in_the_whole_prompt(api: Api) -> None:
    params = ask("word " * 4_000, cache_control={"type": "ephemeral"})
    first, second = api.message(params), api.message({**params, "max_tokens": 65})

    assert cached(first) == (0, 5_000, 0)
    assert cached(second) == (5_000, 0, 0)


def test_a_longer_conversation_reads_what_a_shorter_one_wrote(api: Api) -> None:
    def talk(count: int) -> dict[str, Any]:
        mark = {"type": "ephemeral", "ttl": "1h"}
        content = [{"type": "text", "text": f"{row} " + "word " * 2_000} for row in range(count)]
        return ask(messages=[{"role": "user", "content": [*content[:-1], {**content[-1], "cache_control": mark}]}])

    short, longer = api.message(talk(3)), api.message(talk(4))

    assert cached(longer)[0] == cached(short)[2] > 0
    assert cached(longer)[2] > 0


def test_hits_can_be_made_as_unsure_as_in_life(serve: Callable[..., Api]) -> None:
    api = serve(cache_hit=0.5)
    messages = [result["message"] for result in api.run(*(marked(f"text {row}") for row in range(60)))]
    reads = sum(cached(message)[0] > 0 for message in messages)
    writes = sum(cached(message)[2] > 0 for message in messages)

    assert reads + writes == 60
    assert 15 < reads < 45


def test_usage_prices_reads_and_writes(api: Api) -> None:
    api.run(marked("abcd"), marked("efgh"))

    usage = api.server.usage()
    (figures,) = usage["by_rate"].values()
    expected = (7_000 * 2 + 7_000 * 0.1 + figures["input_tokens"] * 1 + figures["output_tokens"] * 5) / 1e6 / 2

    assert usage["cache_read_input_tokens"] == usage["cache_creation_input_tokens"] == 7_000
    assert figures["cache_write_1h_tokens"] == 7_000
    assert usage["dollars"] == pytest.approx(expected)
