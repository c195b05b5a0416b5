"""What a run was expected to cost is kept, after its pilot anew, and held against what it cost in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.forecasts import Range
from dfbatch.pricing import off_by
from dfbatch.run import outlook

from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(engine="sample", output_law="lognormal:40:0.6") as serving:
        yield serving


def begin(server: Server, count: int = 300, **options: Any) -> dfbatch.Run:
    frame: Any = pl.DataFrame({"text": [f"text {at} " + "of words " * 40 for at in range(count)]})
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    call: Any = {"backend": backend, "progress": False, "retries": 0} | options
    run: dfbatch.Run = frame.claude.submit("{text}", **call)
    return run


def test_without_a_pilot_it_is_the_forecast_of_the_first_line(server: Server) -> None:
    run = begin(server)
    assert run.forecast
    assert run.forecast.low
    kept = run.cost.outlook
    run.wait()

    assert (kept.low, kept.high) == (run.forecast.low, run.forecast.high)
    assert run.cost.outlook == kept


def test_after_a_pilot_it_is_what_the_answers_tell_and_close_to_the_truth(server: Server) -> None:
    run = begin(server, pilot=True).wait()
    cost = run.cost
    assert cost.spent
    assert cost.error is not None

    assert "answers of this run" in cost.outlook.how
    assert cost.outlook.low / 1.25 <= cost.spent <= cost.outlook.high * 1.25  # it holds in nine of ten cases
    assert abs(cost.error) < 0.3
    assert cost.error == pytest.approx(cost.outlook.likely / cost.spent - 1)


def test_the_end_of_a_run_does_not_rewrite_it(server: Server) -> None:
    run = begin(server, pilot=True).wait()
    before = run.cost.outlook
    run.resume().wait()

    assert run.cost.outlook == before


def test_a_range_from_bytes_is_told_and_not_held_to_be_a_guess(server: Server) -> None:
    with Server(engine="sample", law="fixed:3600") as slow:
        run = begin(slow).wait(until="sent")  # an hour that passes before is none of the batch's

        assert run.cost.outlook is not None
        assert run.cost.error is None
        slow.advance(3600)
        run.wait()

        assert run.cost.error is None  # a range from bytes holds no guess that could be off
        assert "foretold" in repr(run.cost)
        assert "off by" not in repr(run.cost)


def test_it_is_told_in_the_report_of_the_cost_and_in_the_summary(server: Server) -> None:
    run = begin(server, pilot=True).wait()
    assert run.cost.error is not None
    told = f"off by {off_by(run.cost.error)}"

    assert told in repr(run.cost)
    assert told in run.cost._repr_html_()
    assert '<img alt="' in run.cost._repr_html_()
    assert told in run._repr_html_()
    assert run.cost._repr_html_().count("<script") == 0


def test_a_file_that_is_not_as_it_was_is_as_good_as_none(server: Server) -> None:
    run = begin(server, 5).wait()
    path = run._ledger.run_file(run.id, "outlook")
    found = []
    for text in ("", "[1]", "{", '{"low": "a"}'):
        path.write_text(text)
        found.append(outlook.noted(run._ledger, run.id))
    path.unlink()

    assert [*found, outlook.noted(run._ledger, run.id)] == [None] * 5
    outlook.note(run._ledger, run.id, Range(1.0, 2.0, 3.0, "by hand"))
    assert outlook.noted(run._ledger, run.id) == Range(1.0, 2.0, 3.0, "by hand")
    assert path.stat().st_mode & 0o777 == 0o600


def test_before_any_answer_the_forecast_is_that_by_earlier_ones() -> None:
    with Server(engine="sample", law="fixed:60") as slow:
        first = begin(slow, 30, preflight=False)
        slow.advance(60)
        first.wait()
        run = begin(slow, 300, preflight=False)
        told = run.cost.forecast

        assert told.how == "by 30 earlier answers"
        assert told == run.cost.outlook
        slow.advance(60)
        run.wait()


def test_of_a_run_that_was_canceled_nothing_is_held_against_the_forecast() -> None:
    with Server(engine="sample", law="fixed:3600") as slow:
        run = begin(slow, pilot="batch", preflight=False)
        run.cancel()
        slow.advance(3600)
        run.wait()

        assert run.status == "canceled"
        assert run.cost.error is None
        assert "off by" not in repr(run.cost)


def test_a_preview_is_expected_to_cost_the_full_price(server: Server) -> None:
    frame: Any = pl.DataFrame({"text": [f"text {at}" for at in range(10)]})
    frame.claude.preview("{text}", rows=10, backend=dfbatch.Anthropic(api_key=KEY, base_url=server.url), progress=False)
    run = dfbatch.last_run()
    assert run.forecast
    assert run.forecast.low

    assert run.cost.outlook.low == pytest.approx(2 * run.forecast.low)
