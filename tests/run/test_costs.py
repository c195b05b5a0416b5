"""What a run cost is what the emulator's own bill says, by run, row and day; what is not known is not zero."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import OptionError
from dfbatch.run import all_accounts

from .oracle import Oracle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "sk-ant-secret-of-this-test"
TEXTS = ["a", "bb bb", "ccc", "a", None, "a"]
LONG_SYSTEM = "You sort what people write. " * 900  # past the 4,096 tokens that Haiku 4.5 needs to cache

pytestmark = pytest.mark.usefixtures("haiku_4_5")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(engine="sample") as serving:
        yield serving


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfbatch.run.tries.PAUSES", (0.01, 0.01, 0.01))


def begin(server: Server, texts: list[str | None] | None = None, schema: Any = None, **options: Any) -> dfbatch.Run:
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    frame = pl.DataFrame({"text": TEXTS if texts is None else texts}, schema={"text": pl.String})
    return dfbatch.submit(frame, "{text}", schema, backend=backend, progress=False, **options).wait()


def put(ledger_home: Path, prices: bytes) -> None:
    path = ledger_home / "prices.toml"
    path.touch(mode=0o600)
    path.write_bytes(prices)


def billed(server: Server) -> float:
    return float(server.usage()["dollars"])


def test_a_run_and_its_rows_cost_what_the_server_billed(server: Server) -> None:
    run = begin(server, include=["cost"])
    column = run.result()["claude_cost"].to_list()

    assert run.cost.spent == pytest.approx(billed(server), rel=1e-9)
    assert [cell is None for cell in column] == [text is None for text in TEXTS]
    assert [cell > 0 for cell in column if cell is not None] == [True, True, True, False, False]
    assert math.fsum(filter(None, column)) == pytest.approx(billed(server), rel=1e-9)


def test_rows_that_are_reused_cost_nothing_again_and_that_is_what_reuse_saved(server: Server) -> None:
    first = begin(server)
    second = begin(server, include=["cost"])
    assert second.cost.saved is not None

    assert set(second.result()["claude_cost"].to_list()) == {0.0, None}
    assert second.cost.spent == 0
    assert second.cost.saved.reuse == pytest.approx(first.cost.spent)
    assert billed(server) == pytest.approx(first.cost.spent)


def test_what_was_saved_is_told_by_its_cause(server: Server) -> None:
    """Two copies of the first row; half the price."""
    run = begin(server, include=["cost"])
    one = run.result()["claude_cost"][0]
    saved = run.cost.saved
    assert saved is not None

    assert saved.dedupe == pytest.approx(2 * one)
    assert saved.batch == pytest.approx(run.cost.spent)
    assert (saved.reuse, saved.cache) == (0, 0)


@pytest.mark.parametrize("words", [["api_error", "fine"], ["cut", "fine"], ["unfit", "fine"], ["unfit", "unfit"]])
def test_every_try_of_a_row_is_in_the_cost_of_the_row(words: list[str]) -> None:
    oracle = Oracle({"bb bb": words})
    with Server(engine=oracle.engine) as server:
        run = begin(server, schema=Literal["x", "y"], include=["cost"])
        column = run.partial()["claude_cost"].to_list()

        assert run.cost.spent == pytest.approx(billed(server), rel=1e-9)
        assert math.fsum(filter(None, column)) == pytest.approx(billed(server), rel=1e-9)


def test_all_samples_of_a_row_are_in_its_cost(server: Server) -> None:
    run = begin(server, samples=3, include=["cost"])
    column = run.result()["claude_cost"].to_list()

    assert math.fsum(filter(None, column)) == pytest.approx(billed(server), rel=1e-9)
    assert run.cost.spent == pytest.approx(billed(server), rel=1e-9)


def test_what_is_asked_at_once_costs_twice_as_much(server: Server) -> None:
    server.house.faults.arm(["invalid_json"])
    run = begin(server, ["a"], Literal["x", "y"], correct=False, include=["cost"])
    assert run.counts == {"invalid": 1}
    server.house.faults.arm([], replace=True)
    run.retry("invalid", via="now").wait()

    assert run.cost.spent == pytest.approx(billed(server), rel=1e-9)
    assert run.result()["claude_cost"].to_list() == [pytest.approx(billed(server), rel=1e-9)]


@pytest.mark.parametrize("lifetime", ["5m", "1h"])
def test_the_cache_is_billed_by_how_long_it_keeps_and_what_it_saved_is_told(server: Server, lifetime: str) -> None:
    block = {"type": "text", "text": LONG_SYSTEM, "cache_control": {"type": "ephemeral", "ttl": lifetime}}
    first = begin(server, ["a"], system=[block])
    second = begin(server, ["b"], system=[block])
    tokens = first.cost.tokens
    assert first.cost.saved is not None
    assert second.cost.saved is not None

    assert (tokens.cache_write_5m > 0, tokens.cache_write_1h > 0) == (lifetime == "5m", lifetime == "1h")
    assert second.cost.tokens.cache_read == tokens.cache_write_5m + tokens.cache_write_1h
    assert (first.cost.spent or 0) + (second.cost.spent or 0) == pytest.approx(billed(server), rel=1e-9)
    assert first.cost.saved.cache < 0 < second.cost.saved.cache


@pytest.mark.filterwarnings("ignore:cache_control marks 1 prefix")
@pytest.mark.parametrize("place", ["system", "row"])
@pytest.mark.parametrize("lifetime", ["5m", "1h", None])
def test_what_is_reserved_is_enough_for_what_is_under_way_written_to_the_cache_or_not(
    lifetime: str | None, place: str
) -> None:
    block: dict[str, Any] = {"type": "text", "text": LONG_SYSTEM}
    if lifetime:
        block["cache_control"] = {"type": "ephemeral", "ttl": lifetime}
    before = {"system": [block], "row": [block, {"type": "text", "text": "and then"}]}[place]
    asked = threading.Event()

    def late(_: dict[str, Any]) -> str:
        asked.wait(60)
        return "an answer"

    def prompt(row: Any) -> Any:
        return row["text"] if place == "system" else [*before, {"type": "text", "text": row["text"]}]

    with Server(engine=late) as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        frame: Any = pl.DataFrame({"text": ["a"]})
        call: Any = {"backend": backend, "progress": False, "max_tokens": 16, "cache": None}
        run = frame.claude.submit(prompt, system=before if place == "system" else None, **call).started()
        reserved, told = run.cost.reserved, repr(run.cost)
        asked.set()
        run.wait()

        assert 0 < run.cost.spent <= reserved
        assert " as-if at most, for what is under way" in told
        assert run.cost.reserved == 0


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("claude-sonnet-4-6", {"params": {"inference_geo": "us"}}),
        ("claude-haiku-5-5", {}),
        ("claude-haiku-5-5", {"system": "A very long system prompt, of many words indeed. " * 12_000}),
        ("claude-haiku-4-5-20251001", {}),
    ],
)
def test_geography_tiers_and_models_cost_what_the_server_billed(
    server: Server, model: str, options: dict[str, Any]
) -> None:
    run = begin(server, model=model, include=["cost"], **options)

    assert run.counts == {"succeeded": 5, "skipped": 1}
    assert run.cost.spent == pytest.approx(billed(server), rel=1e-9)
    assert run.result()["claude_cost"].sum() == pytest.approx(billed(server), rel=1e-9)


def test_without_a_price_nothing_is_called_free(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfbatch.models.Models.find", lambda *_: None)
    run = begin(server, include=["cost"])

    assert (run.cost.spent, run.cost.saved, str(run.cost)) == (None, None, "unknown")
    assert run.result()["claude_cost"].to_list() == [None] * len(TEXTS)
    assert "unknown" in repr(dfbatch.runs())


def test_prices_of_the_call_stand_before_those_of_the_file_and_those_before_ours(
    server: Server, ledger_home: Path
) -> None:
    usual = begin(server).cost.spent or 0
    put(ledger_home, b'["claude-haiku-4-5"]\ninput = 10\noutput = 50\n')
    by_file = begin(server, reuse=False).cost.spent
    price = {"claude-haiku-4-5": {"input": 100, "output": 500}}
    run = begin(server, reuse=False, prices=price)

    assert by_file == pytest.approx(10 * usual)
    assert run.cost.spent == pytest.approx(100 * usual)
    dfbatch.run.shelf._known.clear()
    assert dfbatch.open(run.id, backend=run._work.backend).cost.spent == pytest.approx(100 * usual)


@pytest.mark.parametrize("text", ["[claude", '["m"]\ninput = 1', '["m"]\ninput = "1"\noutput = 2', "\xff"])
def test_a_file_of_prices_that_cannot_be_read_is_told_before_anything_is_sent(
    server: Server, ledger_home: Path, text: str
) -> None:
    ledger_home.mkdir(mode=0o700)
    put(ledger_home, text.encode("latin-1"))

    with pytest.raises(OptionError, match=r"prices\.toml.*\nHint: "):
        begin(server)
    assert server.usage()["requests"] == 0


def test_accounts_by_run_model_and_day_add_up_to_the_bill(server: Server) -> None:
    runs = [begin(server, name="one"), begin(server, model="claude-sonnet-4-6")]
    told = {by: all_accounts(days=30, by=by) for by in ("run", "model", "day")}

    for lines in told.values():
        assert lines[-1].about == "all"
        assert lines[-1].spent == pytest.approx(billed(server), rel=1e-9)
        assert math.fsum(line.spent or 0 for line in lines[:-1]) == pytest.approx(billed(server), rel=1e-9)
    assert [line.about for line in told["run"][:-1]] == [f"{runs[0].id} one", runs[1].id]
    assert [line.about for line in told["model"][:-1]] == ["claude-haiku-4-5", "claude-sonnet-4-6"]
    assert len(told["day"]) in (2, 3)
    assert all_accounts(days=0, by="day") == []
