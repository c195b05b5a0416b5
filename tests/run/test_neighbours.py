"""Strangers in the same workspace, other runs of the same ledger, clocks that are wrong: nothing is paid twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch

from .hours import Hours
from .sites import KEY, Emulated, Plain, Site, ask_as_stranger

if TYPE_CHECKING:
    from collections.abc import Iterator

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

TEXTS = ["a", "b", "a", "c"]
ANSWERS = [f"answer to {text}" for text in TEXTS]

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


def begun(site: Site, texts: list[str] = TEXTS, **more: Any) -> Any:
    """A run under way."""
    backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
    return Polars({"text": texts}).claude.submit("{text}", backend=backend, progress=False, **more)


# --------------------------------------------------------------- strangers


def test_of_two_candidates_each_is_told_by_its_nonces_when_it_has_ended(site: Site, hours: Hours) -> None:
    site.last(3600)
    stranger = ask_as_stranger(site, "xyz")
    site.lose("reset", accepted=True)
    run = begun(site)

    assert run.result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills()) == (2, [1] * 6)
    assert stranger != run._ledger.batch(run._ledger.chunks(run.id)[0].id).id
    assert 3600 <= hours.passed < 3800


def test_a_strangers_batch_alone_is_never_taken_for_ours(site: Site, hours: Hours) -> None:
    """Ours was never made: the stranger's ends, tells whose it is, and then ours is asked for once more."""
    site.last(3600)
    stranger = ask_as_stranger(site, "xyz")
    site.lose(500, accepted=False)
    with hours.still():
        run = begun(site)
        hours.at(1800, lambda: site.last(0))
    run.wait()

    assert run.result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills(), site.calls("create")) == (2, [1] * 6, 3)
    assert site.calls("cancel") == 0
    assert stranger in site.made()
    assert 3600 <= hours.passed < 3800


def test_canceling_never_touches_a_strangers_batch(site: Site, hours: Hours) -> None:
    site.last(3600)
    ask_as_stranger(site, "xyz")
    site.lose(500, accepted=False)
    with hours.still():
        run = begun(site)
        hours.at(30, run.cancel)
    run.wait()

    assert (run.status, run.counts) == ("canceled", {"canceled": 4})
    assert (site.calls("cancel"), site.bills()) == (0, [1, 1, 1])


def test_strangers_of_other_counts_and_of_yesterday_are_not_even_candidates(site: Site, hours: Hours) -> None:
    site.last(3600)
    ask_as_stranger(site, "xyz")
    site.advance(1300)
    ask_as_stranger(site, "wxyz")
    site.lose(500, accepted=False)
    with hours.still():
        run = begun(site)
        hours.at(500, lambda: site.last(0))
    run.wait()

    assert run.result()["answer"].to_list() == ANSWERS
    assert 600 <= hours.passed < 800
    assert site.calls("results") == 1


def test_a_busy_workspace_of_many_strangers(site: Site, hours: Hours) -> None:
    """Twenty batches of our count, made and ended all the while."""
    site.last(120)
    ask_as_stranger(site, "xyz")
    site.lose("reset", accepted=True)
    with hours.still():
        run = begun(site)
        for at in range(20):
            hours.at(10 * at, lambda: ask_as_stranger(site, "xyz"))
    run.wait()

    assert run.result()["answer"].to_list() == ANSWERS
    assert set(site.bills()) == {1}
    assert site.calls("create") == len(site.made())


# --------------------------------------------------------------- other runs of this ledger


def test_two_runs_in_doubt_at_once_do_not_take_each_others_batches_for_strangers(site: Site, hours: Hours) -> None:
    """Of one count: what the first to look learns of the other's batch, it tells the ledger."""
    for _ in range(2):
        site.lose("reset", accepted=True)
    site.last(100)
    first, second = (begun(site, list(texts)) for texts in ("abc", "xyz"))

    assert first.result()["answer"].to_list() == [f"answer to {text}" for text in "abc"]
    assert second.result()["answer"].to_list() == [f"answer to {text}" for text in "xyz"]
    assert (len(site.made()), site.bills(), site.calls("create")) == (2, [1] * 6, 2)
    assert hours.passed < 600


def test_a_run_in_doubt_that_nobody_waits_for_is_not_a_stranger_to_others(
    site: Site, hours: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was left in doubt by a process that is gone; another run of the same count looks for its own."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    site.last(100)
    site.lose("reset", accepted=True)
    left = begun(site, list("abc"))
    left._driver.detach()
    site.lose("reset", accepted=True)
    other = begun(site, list("xyz"))

    assert other.result()["answer"].to_list() == [f"answer to {text}" for text in "xyz"]
    assert dfbatch.open(left.id).wait().counts == {"succeeded": 3}
    assert (site.bills(), site.calls("create")) == ([1] * 6, 2)


def test_a_second_run_on_the_same_rows_waits_for_what_the_first_has_in_doubt(site: Site, hours: Hours) -> None:
    site.lose(500, accepted=False)
    first, second = begun(site), begun(site)

    assert first.result()["answer"].to_list() == second.result()["answer"].to_list() == ANSWERS
    assert (site.bills(), len(site.made())) == ([1, 1, 1], 1)


# --------------------------------------------------------------- clocks


@pytest.mark.parametrize("behind", [3600.0, -3600.0, 86_400.0])
@pytest.mark.parametrize("accepted", [True, False])
def test_a_client_whose_clock_is_wrong(
    site: Site, monkeypatch: pytest.MonkeyPatch, behind: float, *, accepted: bool
) -> None:
    clock = Hours(site, behind=behind)
    monkeypatch.setattr("dfbatch.run.clock.wall", clock)
    site.lose("reset" if accepted else 500, accepted=accepted)

    assert begun(site).result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills()) == (1, [1, 1, 1])
    assert clock.passed < 60 if accepted else 600 <= clock.passed < 800


@pytest.mark.parametrize("step", [7200.0, -7200.0])
def test_a_clock_that_is_set_between_the_first_call_and_a_lost_reply(site: Site, hours: Hours, step: float) -> None:
    """As after a sleep of the laptop: the listing begins where the server's clock was, not where ours says."""
    site.lose(429, accepted=False)
    site.lose("reset", accepted=True)
    hours.at(0.5, lambda: hours.step(step))
    run = begun(site)

    assert run.result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills(), site.calls("create")) == (1, [1, 1, 1], 2)
    assert hours.passed < 60
