"""A reply that is lost: its batch is found again, or proved absent and asked again once; nothing is paid twice.

Who else may be in the same workspace, and whose clock is wrong, is in `test_neighbours.py`.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.errors import InDoubt, OptionError
from dfbatch.ledger.states import ABANDONED

from .cells import Cells
from .hours import Hours
from .plain_server import always, succeeded
from .sites import KEY, Emulated, Plain, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

TEXTS = ["a", "b", "a", "c"]
ANSWERS = [f"answer to {text}" for text in TEXTS]
PATIENCE = 10.0

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


def echo(params: dict[str, Any]) -> str:
    return "answer to " + str(params["messages"][-1]["content"])


@pytest.fixture(params=["emulator", "plain"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each server."""
    with Emulated(engine=echo) if request.param == "emulator" else Plain() as server:
        yield server


@pytest.fixture
def alone() -> Iterator[Plain]:
    """The plain server, which can do what the emulator cannot."""
    with Plain() as server:
        yield server


@pytest.fixture
def hours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Hours:
    """What runs go by."""
    clock = Hours(request.getfixturevalue("site" if "site" in request.fixturenames else "alone"))
    monkeypatch.setattr("dfbatch.run.clock.wall", clock)
    return clock


def begun(site: Site, texts: list[str] = TEXTS, **more: Any) -> Any:
    """A run under way."""
    backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
    return Polars({"text": texts}).claude.submit("{text}", backend=backend, progress=False, **more)


def ask(site: Site, texts: list[str] = TEXTS, **more: Any) -> list[str]:
    answers: list[str] = begun(site, texts, **more).result()["answer"].to_list()
    return answers


# --------------------------------------------------------------- found, or proved absent


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_batch_whose_reply_was_lost_is_found_again(site: Site, hours: Hours, how: str) -> None:
    site.lose(how, accepted=True)

    assert ask(site) == ask(site) == ANSWERS
    assert (len(site.made()), site.bills()) == (1, [1, 1, 1])
    assert hours.passed < 60


@pytest.mark.parametrize("how", [500, 502, 504, 529, 408, 409])
def test_a_status_that_leaves_doubt_over_a_batch_that_was_made(alone: Plain, hours: Hours, how: int) -> None:
    alone.lose(how, accepted=True)

    assert ask(alone) == ANSWERS
    assert (len(alone.made()), alone.bills()) == (1, [1, 1, 1])
    assert hours.passed < 60


@pytest.mark.parametrize("how", [500, 503, 504])
def test_a_batch_that_was_never_made_is_asked_for_once_more_after_ten_minutes(
    site: Site, hours: Hours, how: str | int
) -> None:
    """And ten minutes of listings are few calls."""
    site.lose(how, accepted=False)

    assert ask(site) == ANSWERS
    assert (len(site.made()), site.bills()) == (1, [1, 1, 1])
    assert site.calls("create") == 2
    assert 600 <= hours.passed < 800
    assert site.calls("list") < 20


@pytest.mark.parametrize("how", ["reset", "close", 409, "529 page"])
def test_a_connection_that_ended_before_anything_was_made(alone: Plain, hours: Hours, how: str | int) -> None:
    alone.lose(how, accepted=False)

    assert ask(alone) == ANSWERS
    assert (len(alone.made()), alone.bills(), alone.calls("create")) == (1, [1, 1, 1], 2)
    assert 600 <= hours.passed < 800


def test_a_batch_that_ends_much_later_is_waited_for(site: Site, hours: Hours) -> None:
    """Unproved for five hours: it is neither taken for absent nor asked again."""
    site.last(5 * 3600)
    site.lose("reset", accepted=True)
    run = begun(site)
    run.wait()

    assert run.result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills(), site.calls("cancel")) == (1, [1, 1, 1], 0)
    assert 5 * 3600 <= hours.passed < 5.2 * 3600
    assert site.calls("list") + site.calls("retrieve") < 400


def test_a_batch_whose_first_line_is_longer_than_a_megabyte_is_known_by_it(alone: Plain, hours: Hours) -> None:
    answer = "long " * 500_000
    alone.result = always(succeeded(answer))
    alone.lose("reset", accepted=True)

    assert ask(alone, ["a"], max_tokens=100_000) == [answer]
    assert alone.calls("create") == 1


def test_of_several_chunks_in_doubt_at_once_each_is_found_or_asked_again_once(site: Site, hours: Hours) -> None:
    """All of one count: only the nonces tell them apart."""
    for how, accepted in ((500, False), ("reset", True), (529, False), ("close", True)):
        site.lose(how, accepted=accepted)
    texts = list("abcdef")

    assert ask(site, texts, chunk_size=1) == [f"answer to {text}" for text in texts]
    assert (len(site.made()), site.bills()) == (6, [1] * 6)
    assert site.calls("create") == 8
    assert 600 <= hours.passed < 800


def test_a_reply_lost_twice_is_looked_for_twice(site: Site, hours: Hours) -> None:
    site.lose(500, accepted=False)
    site.lose("reset", accepted=True)

    assert ask(site) == ANSWERS
    assert (len(site.made()), site.bills(), site.calls("create")) == (1, [1, 1, 1], 2)
    assert 600 <= hours.passed < 800


def test_other_chunks_go_on_while_one_is_in_doubt(site: Site, hours: Hours) -> None:
    seen: list[tuple[dict[str, int], str, str]] = []
    site.lose(500, accepted=False)
    with hours.still():
        run = begun(site, list("abc"), chunk_size=2)
        hours.at(500, lambda: seen.append((run.counts, run.status, run.message)))
    run.wait()

    ((counts, status, message),) = seen
    assert counts == {"pending": 2, "succeeded": 1}
    assert status == "waiting"
    assert message.startswith("1 chunk in doubt, at most $0.0005")
    assert message.endswith(" at stake: looked for at the server (10 minutes)")
    assert (run.counts, site.bills()) == ({"succeeded": 3}, [1, 1, 1])


# --------------------------------------------------------------- the user decides


def test_resolve_asks_again_at_once_and_shows_both_costs(site: Site, hours: Hours) -> None:
    """The first batch is listed a little later, and kept: both were paid for."""
    site.hide()
    site.lose("reset", accepted=True)
    with hours.still():
        run = begun(site)
        hours.at(60, lambda: site.last(20))
        hours.at(60, lambda: run.resolve(pay_twice=True))
        hours.at(70, site.reveal)
    run.wait()

    assert run.result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills()) == (2, [2, 2, 2])
    assert hours.passed < 120
    assert [chunk.state for chunk in run._ledger.chunks(run.id)] == ["collected", "collected"]
    once = begun(site, reuse=False).wait().cost
    assert (run.cost.tokens.input, run.cost.tokens.output) == (2 * once.tokens.input, 2 * once.tokens.output)


def test_resolve_does_not_wait_for_chunks_that_are_answered_later(site: Site, hours: Hours) -> None:
    """What was given up is asked again at once, whatever else is under way."""
    site.last(7200)
    site.lose(500, accepted=False)
    with hours.still():
        run = begun(site, list("abc"), chunk_size=2)
        hours.at(100, lambda: site.last(0))
        hours.at(100, lambda: run.resolve(pay_twice=True))
        hours.at(200, lambda: counts.append(run.counts))
    counts: list[dict[str, int]] = []
    run.wait()

    [lost] = [chunk.requests for chunk in run._ledger.chunks(run.id) if chunk.state == ABANDONED]  # either came first
    assert counts == [{"succeeded": lost, "pending": 3 - lost}]
    assert (run.counts, site.bills()) == ({"succeeded": 3}, [1, 1, 1])


def test_resolve_does_nothing_without_the_words(alone: Plain, hours: Hours) -> None:
    run = begun(alone)
    with pytest.raises(OptionError) as caught:
        run.resolve(pay_twice=False)

    assert str(caught.value) == (
        "resolve() asks again what may have been accepted already\n"
        f"Hint: dfbatch.open({run.id!r}).wait() finds out for free; resolve(pay_twice=True) does not wait"
    )
    assert run.wait().counts == {"succeeded": 4}
    assert hours.passed < 60


def test_canceling_while_in_doubt_cancels_the_batch_once_it_is_proved(site: Site, hours: Hours) -> None:
    """Its results prove it, so it has ended by then: what is answered is kept."""
    site.last(3600)
    site.lose("reset", accepted=True)
    with hours.still():
        run = begun(site)
        hours.at(30, run.cancel)
    run.wait()

    assert run.status == "canceled"
    assert (run.counts, site.bills(), site.calls("create")) == ({"succeeded": 4}, [1, 1, 1], 1)


def test_canceling_what_was_never_made_sends_nothing_more(site: Site, hours: Hours) -> None:
    site.lose(500, accepted=False)
    with hours.still():
        run = begun(site)
        hours.at(30, run.cancel)
    run.wait()

    assert (run.status, run.counts) == ("canceled", {"canceled": 4})
    assert run.answers()["error"].to_list() == ["canceled before it was accepted"] * 4
    assert (site.calls("create"), site.bills()) == (1, [])


# --------------------------------------------------------------- somebody else's hand


def test_a_batch_in_doubt_that_somebody_cancels_is_found_and_not_asked_again(site: Site, hours: Hours) -> None:
    site.last(3600)
    site.lose("reset", accepted=True)
    with hours.still():
        run = begun(site)
        hours.at(100, lambda: site.halt(site.made()[0]))
    run.wait()

    assert run.counts.keys() <= {"canceled", "succeeded"}
    assert (run.status, len(site.made())) == ("done", 1)


def test_a_batch_in_doubt_that_somebody_deletes_stays_in_doubt(site: Site, hours: Hours) -> None:
    """It may have been ours, and billed: to ask again is for the user to say."""
    site.last(3600)
    site.lose("reset", accepted=True)
    with hours.still():
        run = begun(site)
        (name,) = site.made()
        hours.at(200, lambda: site.remove(name))
    with pytest.raises(InDoubt) as caught:
        run.wait()

    assert str(caught.value) == (
        f"1 chunk of run {run.id} is in doubt: 3 requests were sent, and no answer told whether the API accepted them\n"
        "at most $0.00078 as-if may be billed for them already; nothing is sent again by itself\n"
        f"batch {name}, which may have been it, was deleted at the server before it could tell\n"
        f"Hint: dfbatch.open({run.id!r}).wait() looks for them at the server for 10 minutes; to ask them again at"
        f" once, and perhaps pay twice: dfbatch.open({run.id!r}).resolve(pay_twice=True)"
    ).replace(" as-if", " as-if" if isinstance(site, Emulated) else "")
    assert (run.status, run.counts, site.calls("create")) == ("paused", {"pending": 4}, 1)
    with pytest.raises(InDoubt):
        dfbatch.open(run.id).wait()
    assert run.resolve(pay_twice=True).result()["answer"].to_list() == ANSWERS
    assert site.calls("create") == 2


# --------------------------------------------------------------- a batch that surfaces late


def test_a_lost_batch_that_surfaces_after_it_was_given_up_cancels_the_younger_one(site: Site, hours: Hours) -> None:
    """The one assumption is broken: an accepted batch is in no listing for minutes. Both costs are shown."""
    site.hide()
    site.lose("reset", accepted=True)
    with hours.still():
        run = begun(site)
        hours.at(300, lambda: site.last(7200))
        hours.at(1000, site.reveal)
    run.wait()

    first, second = site.made()
    assert run.result()["answer"].to_list() == ANSWERS
    assert site.calls("cancel") == 1
    states = [(chunk.state, run._ledger.batch(chunk.id).id) for chunk in run._ledger.chunks(run.id)]
    assert states == [("collected", first), ("collected", second)]
    both = 2 if isinstance(site, Emulated) else 1  # it finishes what has begun, and bills that
    assert site.bills() == [both] * 3
    once = begun(site, reuse=False).wait().cost
    assert run.cost.tokens.output == both * once.tokens.output


def test_a_lost_batch_that_surfaces_before_the_younger_one_is_sent_takes_its_place(site: Site, hours: Hours) -> None:
    site.hide()
    site.lose("reset", accepted=True)
    with hours.still():
        run = begun(site)
        for _ in range(9):
            hours.at(300, lambda: site.lose(429, accepted=False))
        hours.at(700, site.reveal)
    run.wait()

    assert run.result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills()) == (1, [1, 1, 1])
    assert [chunk.state for chunk in run._ledger.chunks(run.id)] == ["collected", "released"]


# --------------------------------------------------------------- another process


@pytest.fixture(scope="module")
def cells() -> Iterator[Cells]:
    with Cells() as started:
        yield started


@pytest.mark.parametrize("gate", ["create", "reply"])
def test_killed_within_a_post_another_process_finds_its_batch(
    alone: Plain, hours: Hours, cells: Cells, ledger_home: Path, monkeypatch: pytest.MonkeyPatch, gate: str
) -> None:
    """Killed before the server made it, which it does afterwards, or before the reply."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    alone.gates[gate].close()
    (pid,) = cells.start({"home": str(ledger_home), "url": alone.url, "texts": TEXTS})
    assert alone.gates[gate].arrived.wait(PATIENCE)
    assert cells.killed(pid)["status"] == -signal.SIGKILL
    alone.gates[gate].open.set()
    (run,) = dfbatch.runs()

    assert run.wait().answers()["answer"].to_list() == ANSWERS
    assert ask(alone) == ANSWERS
    assert (len(alone.made()), alone.bills(), alone.calls("create")) == (1, [1, 1, 1], 1)
    assert hours.passed < 60


def test_killed_within_a_post_the_same_cell_finds_its_batch(
    site: Site, hours: Hours, cells: Cells, ledger_home: Path
) -> None:
    """The emulator's reply is on its way, slowly."""
    if isinstance(site, Emulated):
        site.house.faults.arm(["slow@create:seconds=5,times=1"])
    else:
        assert isinstance(site, Plain)
        site.gates["reply"].close()
    (pid,) = cells.start({"home": str(ledger_home), "url": site.url, "texts": TEXTS})
    while not site.made():
        hours_pass()
    cells.killed(pid)
    if isinstance(site, Plain):
        site.gates["reply"].open.set()

    assert ask(site) == ANSWERS
    assert (len(site.made()), site.bills(), site.calls("create")) == (1, [1, 1, 1], 1)


def hours_pass() -> None:
    """A moment on the wall, for another process."""
    import threading

    threading.Event().wait(0.01)
