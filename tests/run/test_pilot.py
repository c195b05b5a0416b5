"""A pilot goes ahead: the rest follows when its answers can be used, and never walks past its failure by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch.bounds import wilson
from dfbatch.emulator import Server
from dfbatch.errors import BudgetReached, PilotFailed, RateLimited, RunPaused
from dfbatch.run.gate import SURE

from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Begin = Any
MANY = [f"text {at}" for at in range(1_200)]

pytestmark = pytest.mark.usefixtures("haiku_4_5")


class Share:
    """Answers that fit the schema, but for one text in so many."""

    def __init__(self, one_in: int = 0) -> None:
        self.one_in = one_in

    def __call__(self, params: dict[str, Any]) -> str:
        number = int(str(params["messages"][0]["content"]).split()[-1])
        return '{"answer": "neither"}' if self.one_in and number % self.one_in == 0 else '{"answer": "x"}'


@pytest.fixture
def share() -> Share:
    return Share()


@pytest.fixture
def server(share: Share) -> Iterator[Server]:
    with Server(engine=share) as serving:
        yield serving


@pytest.fixture
def begin(server: Server) -> Callable[..., dfbatch.Run]:
    def submit(texts: list[str] = MANY, **options: Any) -> dfbatch.Run:
        frame: Any = pl.DataFrame({"text": texts})
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        run: dfbatch.Run = frame.claude.submit(
            "{text}", Literal["x", "y"], backend=backend, progress=False, correct=False, **options
        )
        return run.wait()

    return submit


def kinds(run: dfbatch.Run) -> list[tuple[str, int, str]]:
    return [(chunk.kind, chunk.requests, chunk.state) for chunk in run._ledger.chunks(run.id)]


def test_of_many_requests_forty_go_ahead(begin: Begin, server: Server) -> None:
    run = begin()

    assert kinds(run) == [("preflight", 1, "collected"), ("pilot now", 40, "collected"), ("", 1159, "collected")]
    assert set(server.usage()["billed_by_digest"].values()) == {1}
    assert [run._ledger.batch(chunk.id) is None for chunk in run._ledger.chunks(run.id)] == [True, True, False]


def test_forty_go_ahead_in_a_batch_where_the_call_says_so(begin: Begin, server: Server) -> None:
    run = begin(pilot="batch")

    assert kinds(run) == [("preflight", 1, "collected"), ("pilot", 40, "collected"), ("", 1159, "collected")]
    assert set(server.usage()["billed_by_digest"].values()) == {1}
    batches = [run._ledger.batch(chunk.id) for chunk in run._ledger.chunks(run.id)[1:]]
    assert batches[0] is not None
    assert batches[1] is not None
    assert batches[0].ended_at <= batches[1].created_at


@pytest.mark.parametrize(
    ("count", "options", "expected"),
    [
        (999, {}, ["preflight", ""]),
        (100, {"pilot": True}, ["preflight", "pilot now", ""]),
        (1_200, {"pilot": False}, ["preflight", ""]),
        (100, {"pilot": "now"}, ["preflight", "pilot now", ""]),
        (100, {"pilot": "batch"}, ["preflight", "pilot", ""]),
        (100, {"pilot": 1}, ["preflight", "pilot now", ""]),
        (300, {"pilot": 201}, ["preflight", "pilot", ""]),
        (1_200, {"max_tokens": 32_000}, ["preflight", "pilot", ""]),
        (1_200, {"betas": ["output-300k-2026-03-24"]}, ["pilot", ""]),
        (41, {"pilot": True}, ["preflight", ""]),
    ],
)
def test_who_has_a_pilot(begin: Begin, count: int, options: dict[str, Any], expected: list[str]) -> None:
    run = begin(MANY[:count], **options)

    assert [kind for kind, _, _ in kinds(run)] == expected
    assert run.counts == {"succeeded": count}


def test_a_pilot_through_messages_costs_the_full_price(begin: Begin, server: Server) -> None:
    run = begin(MANY[:100], pilot="now")
    assert run.cost.spent is not None

    assert run.cost.spent == pytest.approx(server.usage()["dollars"], rel=1e-9)
    assert run.cost.spent > 1.3 * (begin(MANY[:100], reuse=False).cost.spent or 0)


def test_a_pilot_that_fails_stops_the_run_and_its_answers_are_kept(begin: Begin, server: Server, share: Share) -> None:
    share.one_in = 2
    with pytest.raises(PilotFailed, match=r"of the first 41 answers cannot be used \(\d\d%\), more than max_"):
        begin()
    run = dfbatch.last_run()

    assert kinds(run) == [("preflight", 1, "collected"), ("pilot now", 40, "collected"), ("", 1159, "planned")]
    assert (run.status, run.counts["pending"]) == ("paused", 1159)
    assert server.usage()["requests"] == 41
    assert len(run.failures()) == run.counts["invalid"]


def test_the_cell_again_neither_repeats_the_pilot_nor_walks_past_its_failure(
    begin: Begin, server: Server, share: Share
) -> None:
    share.one_in = 2
    with pytest.raises(PilotFailed):
        begin()
    with pytest.raises(PilotFailed):
        begin()

    assert server.usage()["requests"] == 41


def test_a_pilot_that_failed_is_not_forgotten_by_whoever_looks_and_resume_walks_past_it(
    begin: Begin, share: Share
) -> None:
    share.one_in = 2
    with pytest.raises(PilotFailed):
        begin()
    run = dfbatch.last_run()
    with pytest.raises(RunPaused, match="the pilot failed"):
        run.wait()

    assert run.message.startswith("the pilot failed")
    assert run.resume().wait().status == "done"


def test_resume_sends_the_rest_after_a_pilot_that_failed(begin: Begin, share: Share) -> None:
    share.one_in = 2
    with pytest.raises(PilotFailed):
        begin()
    run = dfbatch.last_run().resume().wait()

    assert run.counts == {"succeeded": 600, "invalid": 600}


def test_a_few_failures_stop_nothing(begin: Begin, share: Share) -> None:
    share.one_in = 10

    assert begin().counts == {"succeeded": 1080, "invalid": 120}


def test_the_limit_is_the_callers(begin: Begin, share: Share) -> None:
    share.one_in = 4
    with pytest.raises(PilotFailed, match="more than max_failed=0"):
        begin(max_failed=0)

    assert begin(max_failed=0.9).status == "done"


def test_a_pilot_is_a_random_part_of_the_run_and_the_same_again(begin: Begin) -> None:
    run = begin()
    pilot = run._ledger.chunks(run.id)[1]
    places = dfbatch.ledger.files.read_array(run._ledger.chunk_file(pilot.id, "map.npy"))["position"].tolist()

    assert places == sorted(places)
    assert 300 < sum(places) / 40 < 900
    assert places != list(range(places[0], places[0] + 40))


@pytest.mark.parametrize(("useless", "count", "least"), [(0, 40, 0.0), (20, 40, 0.37), (41, 41, 0.93), (8, 40, 0.12)])
def test_a_share_is_judged_by_its_confidence_bound(useless: int, count: int, least: float) -> None:
    assert wilson(useless, count, errors=SURE)[0] == pytest.approx(least, abs=0.01)


def test_after_the_pilot_the_forecast_is_made_from_its_answers(server: Server) -> None:
    """The run would break its budget; then the same run is paid for as a whole."""
    with Server(engine="sample", output_law="lognormal:40:0.6") as other:
        frame: Any = pl.DataFrame({"text": MANY})
        backend = dfbatch.Anthropic(api_key=KEY, base_url=other.url)
        with pytest.raises(PilotFailed, match="more than its budget of"):
            frame.claude.batch("{text}", backend=backend, progress=False, budget=0.06)
        run = dfbatch.last_run()
        told = run.cost.forecast
        run.resume(budget=10).wait()

        assert told.how.endswith(" answers of this run")
        assert told.low / 1.25 <= run.cost.spent <= told.high * 1.25  # it holds in nine of ten cases
        assert run.cost.forecast.low == run.cost.forecast.high == run.cost.spent


def test_a_pilot_whose_forecast_breaks_the_budget_stops_the_run_and_nothing_else_is_sent() -> None:
    with Server(engine="sample", output_law="lognormal:40:0.6") as other:
        frame: Any = pl.DataFrame({"text": MANY})
        call: Any = {"backend": dfbatch.Anthropic(api_key=KEY, base_url=other.url), "progress": False, "budget": 0.08}
        with pytest.raises(PilotFailed) as caught:
            frame.claude.batch("{text}", **call)
        asked = sum(other.usage()["billed_by_digest"].values())
        run = dfbatch.last_run()
        kept = run.partial()["answer"].drop_nulls().len()
        with pytest.raises(PilotFailed, match="more than its budget of"):
            frame.claude.batch("{text}", **call)
        again = sum(other.usage()["billed_by_digest"].values())
        with pytest.raises(BudgetReached):
            run.resume().wait()
        spent = run.cost.spent

    assert str(caught.value).startswith("the pilot failed: by 40 answers of this run the run would cost $0.1")
    assert f"Hint: dfbatch.open('{run.id}').resume(budget=0." in str(caught.value)
    assert (asked, kept, again) == (41, 41, 41)
    assert spent
    assert 0.006 < spent <= 0.08


def test_a_run_without_a_pilot_is_not_judged_by_failures_that_are_known(begin: Begin, share: Share) -> None:
    """A few new rows beside many whose answers cannot be used are asked like any others."""
    share.one_in = 1
    begin(MANY[:60])
    share.one_in = 0

    assert begin(MANY[:65], chunk_size=2).counts == {"invalid": 60, "succeeded": 5}


def test_a_limit_of_calls_is_waited_for_and_the_pilot_is_answered_at_once(begin: Begin, server: Server) -> None:
    server.house.faults.arm(["429@messages:times=12,after=3,retry_after=1"])
    run = begin(MANY[:100], pilot=True)

    assert run.counts == {"succeeded": 100}
    assert set(server.usage()["billed_by_digest"].values()) == {1}
    assert [kind for kind, _, _ in kinds(run)] == ["preflight", "pilot now", ""]


def test_a_limit_of_what_may_be_spent_stops_the_pilot_and_the_run_goes_on_when_it_is_raised(
    begin: Begin, server: Server
) -> None:
    server.house.faults.arm(["spend_limit@messages:after=5"])
    with pytest.raises(RateLimited, match="spend limit"):
        begin(MANY[:100], pilot=True)
    run = dfbatch.last_run()
    server.house.faults.arm([], replace=True)

    assert server.usage()["requests"] <= 14
    assert run.resume().wait().counts == {"succeeded": 100}
    assert set(server.usage()["billed_by_digest"].values()) == {1}


def test_what_waits_for_a_pilot_says_how_long_that_may_be_and_what_can_be_done() -> None:
    with Server(engine="sample", law="fixed:3600") as slow:
        frame: Any = pl.DataFrame({"text": MANY})
        backend = dfbatch.Anthropic(api_key=KEY, base_url=slow.url)
        run = frame.claude.submit("{text}", backend=backend, progress=False, pilot="batch", preflight=False)
        while run.status != "pilot":
            run._driver.pause(0.01)
        told = run.message
        run.cancel()
        slow.advance(3600)
        run.wait()

    assert told == (
        '40 requests go ahead in a batch (pilot="batch"), and the rest waits for that: most batches end within an hour,'
        " 24 hours at most; pilot=False sends all at once"
    )


def test_where_a_gateway_has_no_messages_route_the_pilot_goes_in_a_batch(claude: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": [f"row {at}" for at in range(100)]})
    run: dfbatch.Run = frame.claude.submit("{text}", backend=claude, progress=False, pilot=True, preflight=False).wait()

    assert run.counts == {"succeeded": 100}
    assert [(chunk.kind, chunk.requests) for chunk in run._ledger.chunks(run.id) if chunk.kind == "pilot"] != []
