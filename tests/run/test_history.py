"""What earlier answers to a prompt tell: forecasts without the network, budgets to name, and hits of the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import ApiError, BudgetNeeded
from dfbatch.ledger.files import read_array, write_array
from dfbatch.run.history import history

from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEM = "You sort what people write into drawers, and say nothing else about it. " * 300
ASK = "Drawer of: {text}"

FAR = 1.25  # a range holds in nine of ten cases (test_intervals.py), and this is one

pytestmark = pytest.mark.usefixtures("haiku_4_5")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(engine="sample", cache_hit=0.6) as serving:
        yield serving


@pytest.fixture
def call(server: Server) -> dict[str, Any]:
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    return {"backend": backend, "progress": False, "retries": 0, "pilot": False}


@pytest.fixture
def spends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers count as money, and half a dollar as much of it."""
    monkeypatch.setattr("dfbatch.run.budgets.BRAKE", 0.02)
    monkeypatch.setattr("dfbatch.Anthropic.spends", True)


def texts(count: int, words: int = 10) -> Any:
    """Rows whose lengths differ."""
    return pl.DataFrame({"text": [f"{at} " + "words " * (words + at % 7) for at in range(count)]})


def billed(server: Server) -> float:
    return float(server.usage()["dollars"])


# ----------------------------------------------------------------- budgets


@pytest.mark.usefixtures("spends")
def test_the_brake_names_what_earlier_answers_make_likely(server: Server, call: dict[str, Any]) -> None:
    frame = texts(300)
    with pytest.raises(BudgetNeeded, match=r"after df\.claude\.preview\(…\) the forecast is narrower") as blind:
        frame.claude.submit(ASK, **call)
    frame.claude.preview(ASK, rows=40, **call, budget=1)
    before = billed(server)
    asked = dict(server.usage()["calls"])
    with pytest.raises(
        BudgetNeeded, match=r"nine of ten cases, by 40 earlier answers.*\nHint: budget=1 is likely"
    ) as told:
        frame.claude.submit(ASK, **call)

    assert server.usage()["calls"] == asked
    frame.claude.submit(ASK, **call, budget=1).wait()
    assert billed(server) - before <= told.value.high < 0.2 * blind.value.high


@pytest.mark.usefixtures("spends")
def test_what_is_known_to_cost_little_needs_no_budget(call: dict[str, Any]) -> None:
    frame = texts(60)
    frame.claude.preview(ASK, rows=20, **call, budget=1)

    assert frame.claude.submit(ASK, **call).wait().counts == {"succeeded": 60}


@pytest.mark.usefixtures("spends")
def test_a_handful_of_answers_is_no_forecast(call: dict[str, Any]) -> None:
    frame = texts(60)
    frame.claude.preview(ASK, rows=9, **call, budget=1)

    with pytest.raises(BudgetNeeded, match="forecast: at most"):
        frame.claude.submit(ASK, **call)


@pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")
def test_a_forecast_by_answers_is_never_above_that_of_bytes(call: dict[str, Any]) -> None:
    frame = texts(200)
    frame.claude.preview(ASK, rows=10, **call, max_tokens=16)
    run = frame.claude.submit(ASK, **call, max_tokens=16)
    blind = texts(200, words=11).claude.submit(ASK + "!", **call, max_tokens=16)
    run.wait()
    blind.wait()

    assert run.forecast.how == "by 10 earlier answers"
    assert run.forecast.high <= blind.forecast.high


@pytest.mark.parametrize("words", [2, 10, 200])
def test_requests_grow_with_the_bytes_of_their_own_part(server: Server, call: dict[str, Any], words: int) -> None:
    """Forty requests of ten words tell what others of two or two hundred cost."""
    texts(40).claude.batch(ASK, **call, system="Be brief. " * 100)
    before = billed(server)
    run = (
        texts(300, words)
        .filter(pl.col("text").str.len_bytes() > 0)[40:]
        .claude.submit(ASK, **call, system="Be brief. " * 100)
    )
    run.wait()

    assert run.forecast.how == "by 40 earlier answers"
    assert run.forecast.low <= billed(server) - before <= run.forecast.high


# ------------------------------------------------------------------- cache


def test_a_plan_counts_what_the_cache_saves_and_says_what_it_assumes(server: Server, call: dict[str, Any]) -> None:
    plan = texts(300).claude.plan(ASK, **call, system=SYSTEM)
    apart = texts(300).claude.plan(ASK, **call, system=SYSTEM, cache=None)
    texts(300).claude.batch(ASK, **call, system=SYSTEM)

    assert "80% of requests read the cache: assumed" in plan.notes
    assert plan.dollars.low <= billed(server) <= plan.dollars.high
    assert plan.dollars.likely < plan.without_caching
    assert plan.without_caching == pytest.approx(apart.without_caching, rel=0.01)
    assert apart.without_caching == pytest.approx(apart.dollars.likely)
    assert f"without caching  ${plan.without_caching:.2f}" in repr(plan)
    assert "without caching" in plan._repr_html_()


def test_a_plan_goes_by_the_hits_of_earlier_runs(server: Server, call: dict[str, Any]) -> None:
    """Six of ten requests hit it here."""
    blind = texts(400).claude.plan(ASK, **call, system=SYSTEM)
    texts(200).claude.batch(ASK, **call, system=SYSTEM)
    before = billed(server)
    plan = texts(400).claude.plan(ASK, **call, system=SYSTEM)
    plan.submit().wait()

    assert any("as 198 earlier requests did" in note for note in plan.notes)
    assert plan.dollars.low <= billed(server) - before <= plan.dollars.high
    assert plan.dollars.high - plan.dollars.low < 0.6 * 0.5 * (blind.dollars.high - blind.dollars.low)


def test_a_prefix_too_short_to_be_cached_costs_what_input_costs(call: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match="the mark does nothing"):
        plan = texts(200).claude.plan(ASK, **call, system="Be brief.", cache="1h")

    assert plan.dollars.likely == pytest.approx(plan.without_caching)
    assert not any("read the cache" in note for note in plan.notes)


def test_marks_of_ones_own_are_not_counted_and_that_is_said(call: dict[str, Any]) -> None:
    block = {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
    plan = texts(200).claude.plan(ASK, **call, system=[block])

    assert any("cache marks of your own" in note for note in plan.notes)
    assert plan.dollars.likely == pytest.approx(plan.without_caching)


def test_without_the_network_a_prefix_is_guessed(server: Server, call: dict[str, Any]) -> None:
    server.house.faults.arm(["reset@count_tokens"])
    plan = texts(300).claude.plan(ASK, **call, system=SYSTEM)
    texts(300).claude.batch(ASK, **call, system=SYSTEM)

    assert plan.tokens_in.how == "from characters"
    assert plan.dollars.low <= billed(server) <= plan.dollars.high


def test_prefixes_that_groups_of_requests_share_are_counted_too(server: Server, call: dict[str, Any]) -> None:
    """Ten questions about each of thirty documents; not all documents are as long."""
    documents = [f"document {at} " + "many words of it " * (400 + 20 * at) for at in range(30)]
    frame: Any = pl.DataFrame({"document": documents * 10, "number": [*range(300)]})

    def ask(row: Any) -> list[dict[str, str]]:
        return [{"type": "text", "text": text} for text in (row["document"], f"Question {row['number']}?")]

    plan = frame.claude.plan(ask, **call, model="claude-sonnet-4-6")
    frame.claude.batch(ask, **call, model="claude-sonnet-4-6")

    assert "80% of requests read the cache: assumed" in plan.notes
    assert plan.dollars.low <= billed(server) <= plan.dollars.high < 3 * billed(server)
    assert plan.dollars.likely < 0.7 * plan.without_caching


@pytest.mark.parametrize(
    ("pilot", "system", "how"),
    [
        ("batch", None, "by 40 answers of this run"),
        ("now", None, "by 40 answers of this run"),
        ("batch", SYSTEM, "by 40 answers of this run"),
        ("now", SYSTEM, "by 40 answers of this run"),
    ],
)
def test_a_run_foresees_its_cost_by_its_pilot(
    server: Server, call: dict[str, Any], pilot: Any, system: str | None, how: str
) -> None:
    server.house.faults.arm([f"spend_limit@create:after={(pilot == 'batch') + (system is not None)}"])
    with pytest.raises(ApiError, match="spend limit"):
        texts(300).claude.batch(ASK, **call | {"pilot": pilot}, system=system)
    run = dfbatch.last_run()
    told = run.cost.forecast
    server.house.faults.arm([], replace=True)
    run.resume().wait()

    assert told.how == how
    assert told.low / FAR <= billed(server) <= told.high * FAR


# ------------------------------------------------------------------ ledger


def test_answers_kept_before_there_were_fields_of_the_cache_are_read(call: dict[str, Any]) -> None:
    run = texts(30).claude.submit(ASK, **call).wait()
    for chunk in run._ledger.chunks(run.id):
        path = run._ledger.chunk_file(chunk.id, "found.npy")
        found = read_array(path)
        old = np.zeros(len(found), [(name, found.dtype[name]) for name in ("outcome", "input", "output")])
        for name in old.dtype.names or ():
            old[name] = found[name]
        write_array(path, old)
    known = history(run._ledger, run.record)

    assert (len(known.output), known.hits.seen) == (30, 0)
    assert known.prompts.sum() == run.cost.tokens.input


def test_only_the_newest_answers_are_looked_at(call: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfbatch.run.history.PLENTY", 50)
    for start in (0, 30, 60):
        run = texts(90)[start : start + 30].claude.submit(ASK, **call, preflight=False).wait()

    assert len(history(run._ledger, run.record).output) == 60
