"""What chunks and outcomes cost sums to what the server billed, and each to what its own lines say."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.emulator.answers import Answer, text_block
from dfbatch.run import close_ledgers

from .oracle import FINE, Oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-ant-secret-of-this-test"
HAIKU = (0.05e-6, 0.25e-6)  # USD of a token in a batch, in and out


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfbatch.run.tries.PAUSES", (0.01, 0.01, 0.01))


def begin(server: Server, texts: list[str], **options: Any) -> dfbatch.Run:
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    frame = pl.DataFrame({"text": texts})
    schema = options.pop("schema", Literal["x", "y"])
    return dfbatch.submit(
        frame, "{text}", schema, backend=backend, model="claude-haiku-5-5", progress=False, **options
    ).wait()


def lines_of(server: Server, batch: str) -> Iterator[dict[str, Any]]:
    """What the server tells of a batch, read without dfbatch."""
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
    reply = httpx.get(f"{server.url}/v1/messages/batches/{batch}/results", headers=headers)
    for line in reply.raise_for_status().text.splitlines():
        yield json.loads(line)["result"]


def price(results: list[dict[str, Any]]) -> float:
    usages = [result["message"]["usage"] for result in results if result["type"] == "succeeded"]
    return math.fsum(HAIKU[0] * usage["input_tokens"] + HAIKU[1] * usage["output_tokens"] for usage in usages)


def test_chunks_cost_what_the_lines_of_their_batches_say() -> None:
    with Server(engine="sample") as server:
        run = begin(server, [f"text {n} " * (n + 1) for n in range(9)], chunk_size=4)
        chunks = run.cost.chunks

        assert [(chunk.chunk, chunk.kind, chunk.requests) for chunk in chunks] == [
            (1, "first", 4),
            (2, "first", 3),
            (3, "first", 2),
        ]
        for chunk in chunks:
            assert chunk.batch is not None
            assert chunk.usd == pytest.approx(price(list(lines_of(server, chunk.batch))), rel=1e-9)
        assert math.fsum(chunk.usd or 0 for chunk in chunks) == pytest.approx(server.usage()["dollars"], rel=1e-9)


def test_an_outcome_costs_what_all_its_tries_cost() -> None:
    """A row whose first answer did not fit paid for that answer too; an error of the server is not billed."""
    oracle = Oracle({"bb": ["unfit", "fine"], "ccc": ["unfit", "unfit"], "dddd": ["api_error", "fine"]})
    with Server(engine=oracle.engine) as server:
        run = begin(server, ["a", "bb", "ccc", "dddd"])
        outcomes = {part.outcome: part for part in run.cost.outcomes}
        results = [line for chunk in run.cost.chunks if chunk.batch for line in lines_of(server, chunk.batch)]
        said = [result for result in results if result["type"] == "succeeded"]
        fitting = [one for one in said if one["message"]["content"][0]["text"] == FINE]

        assert {name: part.requests for name, part in outcomes.items()} == {"succeeded": 3, "invalid": 3, "errored": 1}
        assert outcomes["errored"].usd == 0
        assert outcomes["succeeded"].usd == pytest.approx(price(fitting), rel=1e-9)
        assert outcomes["invalid"].usd == pytest.approx(price(said) - price(fitting), rel=1e-9)
        assert math.fsum(part.usd or 0 for part in run.cost.outcomes) == pytest.approx(run.cost.spent, rel=1e-9)
        assert run.cost.spent == pytest.approx(server.usage()["dollars"], rel=1e-9)


def test_what_goes_at_once_is_a_chunk_without_a_batch_at_twice_the_price() -> None:
    with Server(engine="sample") as server:
        run = begin(server, [f"text {n}" for n in range(30)])
        first, *rest = run.cost.chunks

        assert (first.kind, first.batch, first.requests) == ("preflight", None, 1)
        twice = 2 * (HAIKU[0] * first.input_tokens + HAIKU[1] * first.output_tokens)
        assert first.usd == pytest.approx(twice, rel=1e-9)
        assert math.fsum(chunk.usd or 0 for chunk in (first, *rest)) == pytest.approx(run.cost.spent, rel=1e-9)


def test_the_parts_are_tables_of_both_libraries() -> None:
    with Server(engine="sample") as server:
        cost = begin(server, ["a", "bb", "ccc"], chunk_size=2).cost

        for table in (pd.DataFrame(cost.chunks), pl.DataFrame(cost.chunks)):
            assert [*table.columns][:3] == ["chunk", "kind", "batch"]
            assert table["usd"].sum() == pytest.approx(cost.spent)
        assert pd.DataFrame(cost.outcomes)["requests"].sum() == 3
        assert pl.DataFrame(cost.outcomes)["usd"].sum() == pytest.approx(cost.spent)


def test_a_run_opened_again_has_the_same_parts() -> None:
    with Server(engine="sample") as server:
        run = begin(server, ["a", "bb", "ccc"], chunk_size=2)
        cost = run.cost
        close_ledgers()  # as a new process begins
        again = dfbatch.open(run.id)

        assert again is not run
        assert (again.cost.chunks, again.cost.outcomes) == (cost.chunks, cost.outcomes)


def test_parts_without_a_price_are_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfbatch.models.Models.find", lambda *_: None)
    with Server(engine="sample") as server:
        cost = begin(server, ["a", "bb", "ccc"], chunk_size=2).cost

        assert {chunk.usd for chunk in cost.chunks} == {None}
        assert [(part.outcome, part.usd) for part in cost.outcomes] == [("succeeded", None)]
        assert all(chunk.output_tokens > 0 for chunk in cost.chunks)


def test_reused_rows_are_in_no_part() -> None:
    with Server(engine="sample") as server:
        begin(server, ["a", "bb"])
        second = begin(server, ["a", "bb", "ccc"])

        assert [(chunk.chunk, chunk.requests) for chunk in second.cost.chunks] == [(1, 1)]
        assert [part.requests for part in second.cost.outcomes] == [1]


def test_a_value_that_its_column_cannot_hold_is_paid_as_invalid() -> None:
    """What does not fit is found while columns are laid, after the answer was judged."""
    large = Answer([text_block(f'{{"answer": {2**70}}}')], "end_turn")
    with Server(engine=lambda _: large) as server:
        run = begin(server, ["a"], schema=int, correct=False)

        assert run.counts == {"invalid": 1}
        assert [(part.outcome, part.usd) for part in run.cost.outcomes] == [("invalid", run.cost.spent)]
