"""Requests through `/v1/messages` whose replies are lost: what they may have cost is told, and a budget counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from click.testing import CliRunner

import dfbatch
from dfbatch.cli import main
from dfbatch.emulator import Server
from dfbatch.errors import BudgetReached
from dfbatch.progress import summary
from dfbatch.run.unheard import lost

from .lossy import LossyServer
from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
MANY = [f"text {at}" for at in range(30)]
MODEL = "claude-haiku-4-5"

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def alone() -> Iterator[LossyServer]:
    """The server that loses replies."""
    with LossyServer() as server:
        yield server


def submitted(server: Any, texts: list[str] = MANY, **options: Any) -> dfbatch.Run:
    options = {"model": MODEL, "max_tokens": 64} | options
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    run: dfbatch.Run = Polars({"text": texts}).claude.submit("{text}", backend=backend, progress=False, **options)
    return run


def test_a_preflight_whose_reply_is_lost_is_unknown_spend_wherever_costs_are_told(alone: LossyServer) -> None:
    alone.quiet = 1
    run = submitted(alone).wait()
    cost = run.cost
    paid_for_it = (10 * 1.0 + 5 * 5.0) / 1e6  # what the server billed and never told: full price

    assert (sum(alone.direct.values()), run.counts) == (1, {"succeeded": 30})
    assert cost.spent is not None
    assert cost.unknown is not None
    assert cost.spent == pytest.approx(30 * paid_for_it / 2)
    assert paid_for_it <= cost.unknown < 0.001
    more = f"(up to ${cost.unknown:.2g} more, not known)"
    assert str(cost).endswith(more)
    assert more in repr(run)
    assert more in repr(cost)
    assert more in summary.text(run.snapshot())
    assert more in summary.line(run.snapshot())
    assert more in summary.html(run.snapshot())


def test_another_process_says_the_same(alone: LossyServer) -> None:
    alone.quiet = 1
    run = submitted(alone).wait()
    more = f"up to ${run.cost.unknown:.2g} more, not known"

    assert dfbatch.open(run.id).cost.unknown == run.cost.unknown
    assert more in repr(dfbatch.runs())
    assert f"{more}" in CliRunner().invoke(main, ["costs"]).output.splitlines()[-1]
    assert more in CliRunner().invoke(main, ["show", run.id]).output


def test_where_every_reply_came_nothing_is_unknown(alone: LossyServer) -> None:
    run = submitted(alone).wait()

    assert run.cost.unknown == 0
    assert "more, not known" not in "\n".join([str(run.cost), repr(dfbatch.runs()), summary.text(run.snapshot())])


def test_a_retry_at_once_and_a_preview_whose_replies_are_lost_are_unknown_too(alone: LossyServer) -> None:
    alone.quiet = 2
    backend = dfbatch.Anthropic(api_key=KEY, base_url=alone.url)
    Polars({"text": MANY}).claude.preview("{text}", backend=backend, rows=4, model=MODEL, max_tokens=64)
    run = dfbatch.last_run()

    assert run.counts == {"succeeded": 2, "missing": 2}
    assert run.cost.unknown is not None
    each = run.cost.unknown / 2
    alone.quiet = 1
    run.retry("missing", via="now").wait()

    assert run.counts == {"succeeded": 3, "missing": 1}
    assert run.cost.unknown == pytest.approx(3 * each)


def test_a_budget_counts_what_is_unknown_as_spent(alone: LossyServer) -> None:
    """Enough for everything but for what a lost reply may have cost."""
    alone.quiet = 1
    worst = submitted(alone, preflight=True).wait().cost
    assert worst.spent is not None
    assert worst.unknown is not None
    alone.quiet, made = 1, len(alone.requests)
    with pytest.raises(BudgetReached, match=r"\nup to \$0\.0\d+ more, not known\n"):
        submitted(alone, [f"{text}!" for text in MANY], budget=worst.unknown * 1.5).wait()
    run = dfbatch.last_run()

    assert run.cost.spent == 0
    assert run.cost.unknown == pytest.approx(worst.unknown, rel=0.05)
    assert len(alone.requests) == made


@pytest.mark.parametrize(
    ("fault", "unknown"),
    [("502@messages:times=1", True), ("html@messages:times=1", True), ("529@messages:times=1", False)],
)
def test_what_the_api_itself_refuses_is_not_unknown_and_a_proxys_page_is(fault: str, *, unknown: bool) -> None:
    with Server(engine="sample") as server:
        server.house.faults.arm([fault])
        run = submitted(server).wait()

    assert run.counts == {"succeeded": 30}
    assert bool(run.cost.unknown) == unknown


def test_without_a_price_it_is_said_that_more_may_have_been_billed(alone: LossyServer) -> None:
    alone.quiet = 1
    run = submitted(alone, model="claude-nobody-knows").wait()

    assert run.cost.unknown is None
    assert str(run.cost) == "unknown (and more, not known)"


@pytest.mark.parametrize(
    ("asked", "told", "count"),
    [
        ("a\nb\n", "a", 1),
        ("a\na\n-a\n", "a", 0),  # refused once, then answered
        ("a\n-a\na\n-a\na\n-a\n", "", 0),  # refused three times
        ("a\na\n-a\n", "", 1),
        ("", "", 0),
    ],
)
def test_replies_that_were_lost_are_counted_call_by_call(tmp_path: Path, asked: str, told: str, count: int) -> None:
    noted, results = tmp_path / "asked", tmp_path / "results"
    noted.write_text(asked)
    lines = [f'{{"custom_id":"{name}","result":{{"type":"succeeded","message":{{}}}}}}' for name in told]
    results.write_text("\n".join([*lines, '{"custom_id":"b","result":{"type":"errored"}}', ""]))

    assert lost(noted, results) == count
