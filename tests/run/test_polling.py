"""Looking at batches: few calls, the end noticed soon, nights without a network waited out, what is near is told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch

from .hours import Hours
from .lossy import Mishap
from .sites import KEY, Emulated, Plain, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

HOUR = 3600.0
DAY = 24 * HOUR

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


def echo(params: dict[str, Any]) -> str:
    return "answer to " + str(params["messages"][-1]["content"])


@pytest.fixture(params=["emulator", "plain"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each server."""
    with Emulated(engine=echo) if request.param == "emulator" else Plain() as server:
        yield server


@pytest.fixture
def hours(site: Site, monkeypatch: pytest.MonkeyPatch) -> Hours:
    """What runs go by."""
    clock = Hours(site)
    monkeypatch.setattr("dfbatch.run.clock.wall", clock)
    return clock


def begun(site: Site, count: int = 1, **more: Any) -> Any:
    """A run under way, of this many requests."""
    backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
    frame = Polars({"text": [f"{at}" for at in range(count)]})
    return frame.claude.submit("{text}", backend=backend, progress=False, **{"preflight": False, **more})


def looks(site: Site) -> int:
    """Status calls so far, without the probe."""
    return site.calls("list") + site.calls("retrieve") - 1


# --------------------------------------------------------------- how often


@pytest.mark.parametrize("site", ["plain", pytest.param("emulator", marks=pytest.mark.full)], indirect=True)
def test_a_hundred_batches_of_one_minute_take_few_calls_in_six_hours(site: Site, hours: Hours) -> None:
    site.last(6 * HOUR)
    with hours.still():
        run = begun(site, 100, chunk_size=1).wait(until="sent")
    assert len(site.made()) == 100
    run.wait()

    assert looks(site) <= 400
    assert run.counts == {"succeeded": 100}
    assert 6 * HOUR <= hours.passed <= 6 * HOUR + 130


@pytest.mark.parametrize("length", [0.5, pytest.param(6.0, marks=pytest.mark.full)])
def test_batches_that_are_made_all_the_while_take_a_call_in_four_seconds(
    monkeypatch: pytest.MonkeyPatch, length: float
) -> None:
    """The queue is full again and again, and each time one more is accepted a while later."""
    with Plain() as site:
        hours = Hours(site)
        monkeypatch.setattr("dfbatch.run.clock.wall", hours)
        site.last(7 * HOUR)
        site.wait = 60
        site.mishaps.extend(
            Mishap(status, accepted=status == 200) for _ in range(int(60 * length)) for status in (429, 200)
        )
        run = begun(site, int(60 * length), chunk_size=1).wait(until="sent")

        assert len(site.made()) == 60 * length
        assert hours.passed >= length * HOUR
        assert looks(site) <= hours.passed / 4
        assert run.cancel().wait().counts == {"canceled": 60 * length}


@pytest.mark.parametrize("length", [0.0, 2.0, 20.0, 60.0, 300.0, 2000.0, 10_000.0, 40_000.0])
@pytest.mark.parametrize("count", [1, 7])
def test_the_end_of_a_batch_is_noticed_soon(site: Site, hours: Hours, length: float, count: int) -> None:
    site.last(length)
    with hours.still():
        run = begun(site, count, chunk_size=1).wait(until="sent")
    run.wait()

    late = hours.passed - length
    assert late <= min(120, max(5, 0.05 * length)) + 1  # what was really waited for, a second at most


def test_calls_that_the_server_wants_later_are_made_later(hours: Hours, site: Site) -> None:
    site.last(100)
    with hours.still():
        run = begun(site, 7, chunk_size=1).wait(until="sent")
        before = looks(site)
        if isinstance(site, Emulated):
            site.house.faults.arm(["429@list:times=1,retry_after=90"])
        else:
            assert isinstance(site, Plain)
            site.wait, site.busy = 90, 1
        hours.at(80, lambda: seen.append(looks(site) - before))
    seen: list[int] = []
    run.wait()

    assert seen == [1]
    assert run.counts == {"succeeded": 7}


@pytest.mark.parametrize("when", ["create", "end"])
def test_a_batch_that_is_not_there_for_minutes_takes_few_calls(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Reads lag behind writes: neither the batch nor its results are given up."""
    with Emulated(engine=echo, faults=[f"404_after_{when}:seconds=240"]) as site:
        hours = Hours(site)
        monkeypatch.setattr("dfbatch.run.clock.wall", hours)
        run = begun(site).wait()

        assert run.counts == {"succeeded": 1}
        assert looks(site) + site.calls("results") < 60
        assert 240 <= hours.passed <= 300


# --------------------------------------------------------------- nights


def test_a_network_that_is_down_for_hours_is_waited_out(site: Site, hours: Hours) -> None:
    told: list[tuple[str, str, int]] = []
    site.last(HOUR)
    with hours.still():
        run = begun(site, 3, chunk_size=1).wait(until="sent")
        hours.at(60, lambda: site.cut(down=True))
        hours.at(4 * HOUR, lambda: told.append((run.status, run.message, looks(site))))
        hours.at(5 * HOUR, lambda: site.cut(down=False))
    run.wait()

    ((status, message, calls),) = told
    assert status == "waiting"
    assert message.startswith("waiting for the network: cannot reach the API: ")
    assert calls < 4 * 60 + 60
    assert run.counts == {"succeeded": 3}
    assert 5 * HOUR <= hours.passed <= 5 * HOUR + 120


def test_a_server_in_trouble_is_waited_out_and_the_results_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [
        "503@retrieve:times=20",
        "529@results:times=5",
        "reset@results:after=5,times=2",
        "truncated@results:times=2",
    ]
    with Emulated(engine=echo, faults=faults) as site:
        monkeypatch.setattr("dfbatch.run.clock.wall", Hours(site))
        run = begun(site, 20).wait()

        assert run.counts == {"succeeded": 20}
        assert set(site.bills()) == {1}


def test_a_laptop_that_slept_looks_at_once(site: Site, hours: Hours) -> None:
    site.last(9 * HOUR)
    with hours.still():
        run = begun(site).wait(until="sent")
        hours.at(HOUR, lambda: hours.leap(10 * HOUR))
    run.wait()

    assert run.counts == {"succeeded": 1}
    assert hours.passed <= 11 * HOUR + 120


# --------------------------------------------------------------- what is near


def test_a_batch_that_expires_within_the_hour_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "dfbatch")
    told: list[str] = []
    with Emulated(engine=echo, faults=["never_ends"]) as site:
        hours = Hours(site)
        monkeypatch.setattr("dfbatch.run.clock.wall", hours)
        with hours.still():
            run = begun(site).wait(until="sent")
            hours.at(HOUR, lambda: told.append(run.message))
            hours.at(2 * HOUR, lambda: hours.leap(21.5 * HOUR))
            hours.at(23.8 * HOUR, lambda: told.append(run.message))
            hours.at(23.9 * HOUR, run.cancel)
            hours.at(24 * HOUR, lambda: site.remove(site.made()[0]))
        with pytest.raises(dfbatch.DfbatchError):
            run.wait()
        (batch,) = [run._ledger.batch(chunk.id) for chunk in run._ledger.chunks(run.id)]

    line = f"batch {batch.id} expires at {batch.expires_at[11:16]} UTC: what is not answered by then is not billed"
    assert told == ["", line]
    assert [record.getMessage() for record in caplog.records].count(f"run {run.id}: {line}") == 1


def test_results_that_vanish_within_days_are_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A batch that never ends, whose machine slept for weeks."""
    caplog.set_level(logging.WARNING, "dfbatch")
    told: list[str] = []
    with Plain() as site:
        site.last(40 * DAY)
        hours = Hours(site)
        monkeypatch.setattr("dfbatch.run.clock.wall", hours)
        with hours.still():
            run = begun(site).wait(until="sent")
            hours.at(HOUR, lambda: hours.leap(26.5 * DAY))
            hours.at(26.6 * DAY, lambda: told.append(run.message))
            hours.at(26.6 * DAY, lambda: site.halt(site.made()[0]))
        run.wait()
        (batch,) = [run._ledger.batch(chunk.id) for chunk in run._ledger.chunks(run.id)]

    (line,) = told
    assert line.startswith(f"the results of batch {batch.id} can be had for 2 days, until ")
    assert [record.getMessage() for record in caplog.records].count(f"run {run.id}: {line}") == 1
