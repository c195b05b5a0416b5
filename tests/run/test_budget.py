"""A budget is never exceeded, whatever the answers' lengths; and where it is enough, it is in nobody's way."""

from __future__ import annotations

import re
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import BatchLost, BudgetNeeded, BudgetReached, OptionError, PilotFailed, RunPaused
from dfbatch.run.allowance import rounded

from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = [f"text number {at}" for at in range(500)]

pytestmark = pytest.mark.usefixtures("haiku_4_5")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(engine="sample") as serving:
        yield serving


def begin(server: Server, texts: list[str] = MANY, **options: Any) -> dfbatch.Run:
    frame: Any = pl.DataFrame({"text": texts})
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    run: dfbatch.Run = frame.claude.submit("{text}", backend=backend, progress=False, **options)
    return run.wait()


def billed(server: Server) -> float:
    return float(server.usage()["dollars"])


def sizes(run: dfbatch.Run) -> list[int]:
    return [chunk.requests for chunk in run._ledger.chunks(run.id, "collected")]


def test_a_budget_that_is_enough_is_in_nobodys_way(server: Server) -> None:
    run = begin(server, budget=10)

    assert run.counts == {"succeeded": 500}
    assert sizes(run) == [1, 499]


def test_a_budget_is_never_exceeded_and_what_is_answered_is_kept(server: Server) -> None:
    with pytest.raises(BudgetReached) as caught:
        begin(server, budget=0.02)
    run = dfbatch.last_run()

    assert 0 < billed(server) <= 0.02
    assert caught.value.spent == pytest.approx(billed(server))
    assert caught.value.spent + caught.value.left == pytest.approx(0.02)
    assert run.counts == {"succeeded": sum(sizes(run)), "pending": 500 - sum(sizes(run))}
    told = rf"run {run.id} paused with \$0\.0\d+ left of its budget of \$0.02: too little for a batch worth sending "
    assert re.match(told + r"\(\d of 4\d\d requests, up to \$0\.0027 each\)\n", str(caught.value))
    assert re.search(
        rf"Hint: dfbatch.open\('{run.id}'\).resume\(budget=[\d.]+\) finishes it \(likely", str(caught.value)
    )


def test_a_run_whose_budget_is_reached_says_that_it_goes_on_with_another(server: Server) -> None:
    with pytest.raises(BudgetReached):
        begin(server, budget=0.02)
    run = dfbatch.last_run()

    told = f" dfbatch.open({run.id!r}).resume(budget=…) goes on"
    assert run.snapshot().safety.endswith(told)
    with pytest.raises(RunPaused, match=r"left of its budget of \$0.02"):
        run.wait()
    assert run.snapshot().safety.endswith(told)  # whoever looks at it changes nothing


def test_a_budget_of_nothing_sends_nothing(server: Server) -> None:
    with pytest.raises(BudgetReached):
        begin(server, budget=0)

    assert server.usage()["requests"] == 0


def test_a_larger_budget_goes_on_and_nothing_is_paid_twice(server: Server) -> None:
    with pytest.raises(BudgetReached):
        begin(server, budget=0.02)
    run = dfbatch.last_run().resume(budget=5).wait()

    assert run.counts == {"succeeded": 500}
    assert set(server.usage()["billed_by_digest"].values()) == {1}
    assert run.cost.spent == pytest.approx(billed(server), rel=1e-9)


def test_another_process_knows_the_budget_that_was_named_last(server: Server) -> None:
    with pytest.raises(BudgetReached):
        begin(server, budget=0.02)
    run = dfbatch.last_run()
    with pytest.raises(BudgetReached):
        run.resume(budget=0.03).wait()
    dfbatch.run.shelf._known.clear()
    with pytest.raises(BudgetReached, match=r"left of its budget of \$0.03"):
        dfbatch.open(run.id, backend=run._work.backend).resume().wait()

    assert billed(server) <= 0.03


def test_the_rest_is_measured_by_the_answers_that_are_there(server: Server) -> None:
    """1.2 times what all of it costs, of which by max_tokens alone a tenth could be sent at first."""
    texts = [f"{at} " + "many words of the same kind " * 14 for at in range(10_000)]
    law = "lognormal:40:1.0"
    with Server(engine="sample", output_law=law) as other, Server(engine="sample", output_law=law) as same:
        whole = begin(other, texts, max_tokens=1024, budget=1000)
        true = billed(other)
        run = begin(same, texts, max_tokens=1024, budget=1.2 * true)

        assert run.counts == {"succeeded": 10_000}
        assert billed(same) <= 1.2 * true
        assert len(sizes(run)) <= len(sizes(whole)) + 4


def test_a_budget_reached_within_the_pilot_is_raised_and_the_pilot_goes_first_again(server: Server) -> None:
    """What is left of the pilot came into the ledger after the rest, which waits for it."""
    with pytest.raises(BudgetReached):
        begin(server, MANY[:100], pilot="batch", budget=0.0055)
    run = dfbatch.last_run()
    planned = [chunk.kind for chunk in run._ledger.chunks(run.id, "planned")]

    assert planned == ["", "pilot"]
    assert run.resume(budget=10).wait(30).counts == {"succeeded": 100}


def test_a_first_request_that_tells_nothing_does_not_hold_up_the_pilot(server: Server) -> None:
    server.house.faults.arm(["529@messages"])

    assert begin(server, MANY[:100], pilot=True).counts == {"succeeded": 100}


def test_rows_asked_at_once_by_hand_go_before_the_rest_that_waits_for_them(server: Server) -> None:
    server.house.faults.arm(["refusal@create:times=5"])
    with pytest.raises(BudgetReached):
        begin(server, MANY[:100], budget=0.007, pilot=False)
    run = dfbatch.last_run()
    refused = run.counts["refused"]
    server.house.faults.arm([], replace=True)
    run.retry("refused", via="now")
    with pytest.raises(BudgetReached):
        run.wait(30)

    assert refused > 0
    assert billed(server) <= 0.007
    assert run.resume(budget=10).wait(30).counts == {"succeeded": 100}


def test_a_batch_that_is_lost_meanwhile_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be billed, so that the budget is not free for others; the run pauses."""
    monkeypatch.setattr("dfbatch.run.polling.BELIEVED_LOST", 0.0)
    with Server(engine="sample", law="600", faults=["deleted@retrieve"]) as slow:
        with pytest.raises((BudgetReached, BatchLost)):
            begin(slow, budget=0.02, preflight=False, pilot=False)
        run = dfbatch.last_run()

        assert run.status == "paused"
        with pytest.raises(BudgetReached):  # what was let go of may be billed all the same
            run.resume(lost="missing").wait(30)


def test_strictly_every_answer_counts_as_long_as_it_may_be(server: Server) -> None:
    strict = begin(server, budget=0.5, budget_mode="strict", max_tokens=1024)
    measured = begin(server, budget=0.5, max_tokens=1024, reuse=False)

    assert strict.counts == measured.counts == {"succeeded": 500}
    assert max(sizes(strict)) <= 0.5 / (1024 * 2.5e-6)


def test_tries_are_within_the_budget_too() -> None:
    with Server(engine="sample", faults=["max_tokens@create:times=10"]) as server:
        with pytest.raises(BudgetReached):
            begin(server, MANY[:60], budget=0.008, max_tokens=100, preflight=False, pilot=False)
        run = dfbatch.last_run()

        assert billed(server) <= 0.008
        assert "longer" in {chunk.kind for chunk in run._ledger.chunks(run.id)}


def test_the_brake_asks_for_a_budget_before_anything_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfbatch.run.budgets.BRAKE", 0.5)
    monkeypatch.setattr("dfbatch.Anthropic.spends", True)
    with pytest.raises(BudgetNeeded, match=r"may cost up to \$1\.\d+: more than \$0\.50 needs a budget") as caught:
        begin(server)

    assert "Hint: budget=2 lets it go" in str(caught.value)
    assert 1 < caught.value.high < 2
    assert (server.usage()["requests"], dfbatch.runs()) == (0, [])
    assert begin(server, budget=2).counts == {"succeeded": 500}


def test_the_environment_names_a_budget_and_the_call_another(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFBATCH_BUDGET", "$0.02")
    with pytest.raises(BudgetReached, match=r"its budget of \$0.02"):
        begin(server)

    assert begin(server, budget=3).counts == {"succeeded": 500}


def test_an_environment_that_names_no_amount_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFBATCH_BUDGET", "lots")

    with pytest.raises(OptionError, match="DFBATCH_BUDGET='lots' is no amount of USD"):
        begin(server)


def test_a_budget_cannot_be_kept_without_a_price(server: Server) -> None:
    with pytest.raises(OptionError, match=r"a budget needs a price.*\nHint: prices="):
        begin(server, model="some-model", budget=5)


def test_within_a_budget_no_model_without_a_price_is_asked_by_hand(server: Server) -> None:
    server.house.faults.arm(["refusal"])
    run = begin(server, MANY[:2], budget=1, pilot=False)

    with pytest.raises(OptionError, match="a budget needs a price"):
        run.retry("refused", model="some-model")
    server.house.faults.arm([], replace=True)
    assert run.retry("refused", model="claude-sonnet-4-6").wait().counts == {"succeeded": 2}


@pytest.mark.parametrize("budget", [-1, "5", True, float("inf"), float("nan")])
def test_what_is_no_amount_is_refused(server: Server, budget: Any) -> None:
    run = begin(server, MANY[:2])

    with pytest.raises(OptionError, match=r"budget=.*\nHint: budget=5.00, in USD"):
        run.resume(budget=budget)
    with pytest.raises(OptionError, match=r"budget=.*\nHint: budget=5.00, in USD"):
        begin(server, MANY[:2], budget=budget)


@pytest.mark.parametrize(("usd", "typed"), [(12.341, "13"), (0.0312, "0.032"), (0.0, "0"), (99.5, "100")])
def test_an_amount_to_type_is_rounded_up(usd: float, typed: str) -> None:
    assert rounded(usd) == typed


@pytest.mark.parametrize("count", [25, pytest.param(1_000, marks=pytest.mark.full)])
def test_no_drawn_run_of_heavy_tailed_answers_exceeds_its_budget(count: int) -> None:
    """Rows, budgets, limits and lengths of answers are drawn; the server's own bill is the judge of each run."""
    chance = Random(count)
    reached = 0
    with Server(engine="sample", output_law="lognormal:30:1.8") as server:
        for draw in range(count):
            texts = [f"{draw} {at} " + "word " * chance.randrange(40) for at in range(chance.randrange(2, 300))]
            options: dict[str, Any] = {
                "max_tokens": chance.choice([64, 400, 2000]),
                "pilot": chance.choice([True, "auto"]),
                "budget_mode": chance.choice(["measured", "measured", "strict"]),
                "max_failed": 1,
                "system": f"{draw}",  # so that it looks at no answer of another draw
            }
            before, budget = billed(server), chance.choice([0.001, 0.01, 0.05, 0.2]) * chance.random()
            try:
                begin(server, texts, budget=budget, **options)
            except (BudgetReached, PilotFailed):
                reached += 1
            spent = billed(server) - before

            assert spent <= budget + 1e-12, (draw, spent, budget, options)
            assert dfbatch.last_run().cost.spent == pytest.approx(spent)
    assert 0 < reached < count


def test_a_plan_says_how_many_batches_a_budget_will_take(server: Server) -> None:
    frame: Any = pl.DataFrame({"text": MANY})
    call: Any = {"backend": dfbatch.Anthropic(api_key=KEY, base_url=server.url), "max_tokens": 256}
    frame.head(40).claude.preview("{text}", rows=40, progress=False, **call)
    likely = frame.claude.plan("{text}", **call).dollars.likely
    tight, wide = (frame.claude.plan("{text}", budget=times * likely, **call).notes for times in (1.3, 50))

    told = r"budget is 1\.3 × the forecast: (up to \d batches one after the other|the run will probably pause)"
    assert any(re.match(told, note) for note in tight)
    assert not [note for note in wide if note.startswith("budget")]


def test_a_plan_says_why_a_pilot_goes_in_a_batch(server: Server) -> None:
    frame: Any = pl.DataFrame({"text": MANY})
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    plan = frame.claude.plan("{text}", backend=backend, pilot=True, max_tokens=32_000)

    assert any(note.startswith("the pilot goes in a batch, and the rest may wait an hour") for note in plan.notes)


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.full)])
def test_a_little_more_than_the_true_cost_takes_few_batches_and_the_hint_finishes_what_it_does_not(count: int) -> None:
    """Drawn runs with 1.1 to 1.3 times what they cost without a budget; the server's bill is the judge of each."""
    batches, hints, finished = [], 0, 0
    servers = [Server(engine="sample", output_law=law) for law in ("fixed:30", "lognormal:30:0.6", "lognormal:20:1.2")]
    with servers[0], servers[1], servers[2]:
        for draw in range(count):
            chance, server = Random(f"few {draw}"), servers[draw % 3]
            words = chance.choice([0, 40, 300])
            texts = [f"{draw} {at} " + "word " * chance.randint(0, words) for at in range(chance.randrange(100, 1_500))]
            options: dict[str, Any] = {"max_tokens": chance.choice([64, 256]), "max_failed": 1, "system": f"{draw}"}
            begin(server, texts, **options)
            true = dfbatch.last_run().cost.spent or 0.0
            before, budget = billed(server), true * chance.uniform(1.1, 1.3)
            try:
                begin(server, texts, budget=budget, reuse=False, **options)
            except (BudgetReached, PilotFailed) as error:
                hints += 1
                named = float(str(error).partition("resume(budget=")[2].partition(")")[0])
                finished += _finishes(dfbatch.last_run(), named)
                budget = max(budget, named)

                assert named > true
            else:
                batches.append(sum(kind in {"", "pilot"} for kind in _kinds(dfbatch.last_run())))

            assert billed(server) - before <= budget + 1e-12
    assert median(batches) <= 4
    assert max(batches) <= 8
    assert finished >= 0.9 * hints


def _finishes(run: dfbatch.Run, budget: float) -> bool:
    try:
        return run.resume(budget=budget).wait().status == "done"
    except BudgetReached:
        return False


def _kinds(run: dfbatch.Run) -> list[str]:
    return [chunk.kind for chunk in run._ledger.chunks(run.id, "collected")]
