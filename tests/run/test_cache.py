"""The prompt cache in a run: written once, ahead; read by the others; and the dollars are the server's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server

from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = "You sort what people write into drawers, and say nothing else about it. " * 300

pytestmark = [
    pytest.mark.usefixtures("haiku_4_5"),
    pytest.mark.filterwarnings("ignore:claude-opus-5 thinks before it answers"),
]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(engine="sample") as serving:
        yield serving


def begin(server: Server, count: int = 200, **options: Any) -> dfbatch.Run:
    frame: Any = pl.DataFrame({"text": [f"text {at}" for at in range(count)]})
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    run: dfbatch.Run = frame.claude.submit("{text}", backend=backend, progress=False, **options)
    return run.wait()


def kinds(run: dfbatch.Run) -> list[tuple[str, int]]:
    return [(chunk.kind, chunk.requests) for chunk in run._ledger.chunks(run.id)]


def test_one_request_goes_ahead_to_write_it_and_the_others_read_it(server: Server) -> None:
    run = begin(server, system=SYSTEM)
    tokens = run.cost.tokens
    assert run.cost.saved is not None

    assert kinds(run) == [("preflight", 1), ("warm", 1), ("", 198)]
    assert tokens.cache_read == 198 * tokens.cache_write_1h
    assert run.cost.saved.cache > 0
    assert run.cost.spent == pytest.approx(server.usage()["dollars"], rel=1e-9)
    assert set(server.usage()["billed_by_digest"].values()) == {1}


@pytest.mark.parametrize("options", [{"cache": None, "system": SYSTEM}, {"system": "Be brief."}, {}])
def test_without_a_prefix_or_against_the_callers_wish_nothing_is_cached(server: Server, options: Any) -> None:
    run = begin(server, **options)

    assert kinds(run) == [("preflight", 1), ("", 199)]
    assert (run.cost.tokens.cache_write_1h, run.cost.tokens.cache_read) == (0, 0)


def test_by_hand_a_few_requests_are_cached_too(server: Server) -> None:
    run = begin(server, 5, system=SYSTEM, cache="5m")

    assert run.cost.tokens.cache_write_5m > 0
    assert run.cost.tokens.cache_write_1h == 0


def test_a_mark_that_does_nothing_is_told(server: Server) -> None:
    with pytest.warns(UserWarning, match=r"about \d+ tokens are shared, and this model caches 4,096 or more"):
        begin(server, 5, system="Be brief.", cache="1h")


def test_with_and_without_a_cache_it_is_the_same_request(server: Server) -> None:
    begin(server, system=SYSTEM, cache=None)
    again = begin(server, system=SYSTEM)

    assert again.cost.spent == 0
    assert set(server.usage()["billed_by_digest"].values()) == {1}


def test_examples_are_cached_with_the_rest(server: Server) -> None:
    run = begin(server, examples=[("whisk " * 2000, "kitchen"), ("stapler " * 2000, "office")])

    assert run.cost.tokens.cache_read > 198 * 4096
    assert run.cost.spent == pytest.approx(server.usage()["dollars"], rel=1e-9)


@pytest.mark.parametrize("rows", [2_000, pytest.param(10_000, marks=pytest.mark.full)])
def test_a_shared_prefix_and_equal_rows_cost_a_seventh_of_what_calls_would(rows: int) -> None:
    """Sonnet 4.6, 3,000 tokens shared, 200 and 50 a row, 3 of 10 rows repeat, the cache hits 9 of 10 times."""
    texts = [f"{at % (rows * 7 // 10)} " + "and some more words of it " * 33 for at in range(rows)]
    system = "You sort what people write into drawers, and say nothing else about it. " * 167
    with Server(engine="sample", cache_hit=0.9, output_law="fixed:50") as server:
        frame: Any = pl.DataFrame({"text": texts})
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        run = frame.claude.submit(
            "{text}",
            backend=backend,
            progress=False,
            model="claude-sonnet-4-6",
            system=system,
            max_tokens=100,
            pilot=False,
        ).wait()
        paid = float(server.usage()["dollars"])
        one = run.cost.tokens
        prefix = (one.cache_read + one.cache_write_1h) / (rows * 7 // 10 - 1)
        own = one.input / (rows * 7 // 10)
        out = one.output / (rows * 7 // 10)
    calls = rows * ((prefix + own) * 3 + out * 15) / 1e6
    batch = calls / 2

    assert run.cost.spent == pytest.approx(paid, rel=1e-9)
    assert 2_850 < prefix < 3_150
    assert paid <= 0.15 * calls
    assert paid <= 0.30 * batch
