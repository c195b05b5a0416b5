"""Batches that cannot be seen: another workspace's, deleted ones, archived ones. None is taken for what it is not."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest

import dfbatch
from dfbatch.errors import BatchLost, OptionError, Unauthorized, WrongWorkspace
from dfbatch.progress import drawing, summary

from .cells import Cells
from .hours import Hours
from .sites import HEADERS, KEY, Emulated, Plain, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

TEXTS = ["a", "b", "a", "c"]
ANSWERS = [f"answer to {text}" for text in TEXTS]
HOUR, DAY = 3600.0, 86_400.0
OTHER = "sk-other"

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


def echo(params: dict[str, Any]) -> str:
    return "answer to " + str(params["messages"][-1]["content"])


@pytest.fixture
def two() -> Iterator[Emulated]:
    """An emulator with two workspaces, a key each."""
    with Emulated(engine=echo, keys={KEY: "ours", OTHER: "theirs"}) as server:
        yield server


@pytest.fixture(params=["emulator", "plain"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each server."""
    with Emulated(engine=echo) if request.param == "emulator" else Plain() as server:
        yield server


@pytest.fixture
def hours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Hours:
    """What runs go by."""
    clock = Hours(request.getfixturevalue("two" if "two" in request.fixturenames else "site"))
    monkeypatch.setattr("dfbatch.run.clock.wall", clock)
    return clock


def with_key(site: Site, key: str = KEY) -> dfbatch.Anthropic:
    return dfbatch.Anthropic(api_key=key, base_url=site.url)


def begun(site: Site, **more: Any) -> Any:
    """A run under way."""
    frame = Polars({"text": TEXTS})
    return frame.claude.submit("{text}", backend=with_key(site), progress=False, **more)


@pytest.fixture(scope="module")
def cells() -> Iterator[Cells]:
    with Cells() as started:
        yield started


@pytest.fixture
def leave(cells: Cells, ledger_home: Path) -> Callable[..., str]:
    """Let another process send everything and go; the run's id."""

    def left(site: Site, **more: Any) -> str:
        site.last(HOUR)
        (one,) = cells.run(
            {"home": str(ledger_home), "url": site.url, "texts": TEXTS, "until": "sent", "leave": True, **more}
        )
        return str(one["run"])

    return left


# --------------------------------------------------------------- another key


def belongs(two: Emulated, what: str, run_id: str) -> str:
    """What is told of a batch or a chunk that another key cannot see."""
    theirs, ours = (two.house.keys.workspace({"x-api-key": key}) for key in (KEY, OTHER))  # type: ignore[arg-type]
    return (
        f"{what} of run {run_id} belongs to workspace {theirs}, and this key to {ours}\n"
        "nothing is lost, and nothing was sent: the batch goes on\n"
        f"Hint: set ANTHROPIC_API_KEY to a key of that workspace, then dfbatch.open({run_id!r}).wait()"
    )


@pytest.mark.parametrize("chunk_size", [None, 1])
@pytest.mark.parametrize("ended", [False, True])
def test_a_key_of_another_workspace_is_told_and_nothing_is_missing(
    two: Emulated, hours: Hours, leave: Callable[..., str], chunk_size: Any, *, ended: bool
) -> None:
    run_id = leave(two, chunk_size=chunk_size)
    run = dfbatch.open(run_id, backend=with_key(two, OTHER))
    chunks = run._ledger.chunks(run_id, "submitted")
    if ended:  # as one that died before the download left it
        two.advance(HOUR)
        for chunk in chunks:
            run._ledger.happen(chunk.id, "ended")
    with pytest.raises(WrongWorkspace) as caught:
        run.wait()

    names = [batch.id for chunk in chunks if (batch := run._ledger.batch(chunk.id))]
    assert str(caught.value) in [belongs(two, f"batch {name}", run_id) for name in names]
    assert (run.status, run.counts) == ("paused", {"pending": 4})
    assert hours.passed < 60
    assert dfbatch.open(run_id, backend=with_key(two)).resume().wait().counts == {"succeeded": 4}
    assert two.bills() == [1, 1, 1]


@pytest.mark.parametrize("accepted", [True, False])
def test_a_key_of_another_workspace_proves_nothing_of_a_chunk_in_doubt(
    two: Emulated, hours: Hours, leave: Callable[..., str], *, accepted: bool
) -> None:
    """Its listings lack the batch for ever."""
    two.lose("reset" if accepted else 500, accepted=accepted)
    run_id = leave(two)
    run = dfbatch.open(run_id, backend=with_key(two, OTHER))
    with pytest.raises(WrongWorkspace) as caught:
        run.wait()

    assert str(caught.value) == belongs(two, "chunk 0", run_id)
    two.advance(HOUR)
    with pytest.raises(WrongWorkspace):
        run.resume().wait()
    assert two.calls("create") == 1
    run = dfbatch.open(run_id, backend=with_key(two))
    assert run.resume().wait().counts == {"succeeded": 4}
    assert two.bills() == [1, 1, 1]


def test_a_key_of_another_organization_is_told(two: Emulated, hours: Hours, leave: Callable[..., str]) -> None:
    run_id = leave(two)
    theirs, two.house.organization = two.house.organization, "00000000-0000-0000-0000-000000000000"
    (name,) = two.made()
    two.house.faults.arm(["404@retrieve:times=1"])
    with pytest.raises(WrongWorkspace) as caught:
        dfbatch.open(run_id, backend=with_key(two)).wait()

    assert str(caught.value).startswith(
        f"batch {name} of run {run_id} belongs to organization {theirs}, and this key to 00000000-"
    )


def test_a_key_that_is_revoked_pauses_the_run_and_a_new_one_goes_on(
    two: Emulated, hours: Hours, leave: Callable[..., str]
) -> None:
    run_id = leave(two)
    run = dfbatch.open(run_id, backend=with_key(two, "sk-revoked"))
    with pytest.raises(Unauthorized) as caught:
        run.wait()

    assert "the API said 401 authentication_error: invalid x-api-key" in str(caught.value)
    (note,) = caught.value.__notes__
    assert note == f"run {run_id}: what is answered is kept; dfbatch.open({run_id!r}).resume() goes on"
    assert (run.status, run.counts) == ("paused", {"pending": 4})
    assert hours.passed < 60
    assert dfbatch.open(run_id, backend=with_key(two)).wait().counts == {"succeeded": 4}


# --------------------------------------------------------------- deleted, archived


def test_a_batch_that_somebody_deletes_is_lost_after_minutes_and_the_others_are_kept(site: Site, hours: Hours) -> None:
    site.last(HOUR)
    with hours.still():
        run = begun(site, chunk_size=1).wait(until="sent")
        name = run._ledger.batch(run._ledger.chunks(run.id)[1].id).id
        hours.at(600, lambda: site.remove(name))
    with pytest.raises(BatchLost) as caught:
        run.wait()

    assert str(caught.value) == (
        f"batch {name} is not there any more: it was deleted at the server: no answer to 1 request of run {run.id}\n"
        "all other answers are kept\n"
        f"Hint: dfbatch.open({run.id!r}).retry(which='missing') asks those again, and pays for them again;"
        " .resume() looks for the batch once more; .resume(lost='missing') lets them go"
    )
    assert hours.passed >= HOUR
    assert (run.status, run.counts) == ("paused", {"succeeded": 3, "missing": 1})
    with pytest.raises(BatchLost):
        run.resume().wait()
    assert run.resume(lost="missing").wait().counts == {"succeeded": 3, "missing": 1}
    assert run.status == "done"
    assert run.answers()["error"].to_list()[1] == (f"batch {name} is not there any more: it was deleted at the server")
    assert run.retry(which="missing").result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), set(site.bills())) == (3, {1})


def test_from_the_first_404_on_it_is_said_what_is_believed_and_until_when(site: Site, hours: Hours) -> None:
    seen: list[tuple[float, Any]] = []
    site.last(HOUR)
    with hours.still():
        run = begun(site).wait(until="sent")
        (name,) = site.made()
        hours.at(600, lambda: site.remove(name))
        for minutes in (9, 13, 14):
            hours.at(60 * minutes, lambda: seen.append((hours.now(), run.snapshot())))
    with pytest.raises(BatchLost):
        run.wait()

    told = [(at, snapshot) for at, snapshot in seen if snapshot.message]
    assert len(told) == 2
    until = re.search(r"until (\d\d:\d\d) \(5 minutes\)", told[0][1].message)
    assert until is not None
    message = (
        f"the server says that batch {name} is not there (404); that may pass, so it is asked again until {until[1]}"
        " (5 minutes); then the run pauses and says how to go on"
    )
    assert {snapshot.message for _, snapshot in told} == {message}
    assert until[1] in {time.strftime("%H:%M", time.localtime(told[0][0] + wait)) for wait in range(301)}
    for shown in (summary.text, summary.line, lambda snapshot: drawing.state(snapshot)["message"]):
        assert told[0][1].message in shown(told[0][1])


def test_a_404_that_passes_is_not_said_any_longer(site: Site, hours: Hours) -> None:
    """They flap for minutes after a batch was made, and mean nothing."""
    seen: list[str] = []
    site.last(HOUR)
    with hours.still():
        run = begun(site).wait(until="sent")
        if isinstance(site, Plain):
            batch = site.batches.pop(site.made()[0])
            hours.at(250, lambda: site.batches.update({batch["id"]: batch}))
        else:
            hours.at(0, lambda: site.house.faults.arm(["404@retrieve"], replace=True))  # type: ignore[attr-defined]
            hours.at(250, lambda: site.house.faults.arm([], replace=True))  # type: ignore[attr-defined]
        for seconds in (200, 400):
            hours.at(seconds, lambda: seen.append(run.message))
    run.wait()

    assert ["is not there (404)" in message for message in seen] == [True, False]
    assert run.counts == {"succeeded": 4}


def test_results_that_are_not_there_yet_are_said_to_be_asked_for_again(site: Site, hours: Hours) -> None:
    if not isinstance(site, Emulated):
        pytest.skip("a fault of the emulator")
    seen: list[str] = []
    site.house.faults.arm(["404_after_end@results:seconds=100"])
    site.last(10)
    with hours.still():
        run = begun(site).wait(until="sent")
        hours.at(60, lambda: seen.append(run.message))
    run.wait()

    (name,) = site.made()
    assert seen[0].startswith(f"the server says that the results of batch {name} are not there (404); that may pass")
    assert run.counts == {"succeeded": 4}


def test_resume_takes_no_other_word_for_what_is_lost(site: Site, hours: Hours) -> None:
    run = begun(site)
    with pytest.raises(OptionError, match="lost='gone'\nHint: lost='missing'"):
        run.resume(lost="gone")
    assert run.wait().counts == {"succeeded": 4}


def test_results_that_were_archived_before_anybody_came_are_lost(
    site: Site, hours: Hours, leave: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    if isinstance(site, Plain):
        run_id = leave(site)
        site.batches[site.made()[0]]["archived_at"] = "2026-12-21T00:00:00Z"
    else:
        run_id = leave(site)
        site.advance(30 * DAY)
    (name,) = site.made()
    batch = httpx.get(f"{site.url}/v1/messages/batches/{name}", headers=HEADERS).json()
    with pytest.raises(BatchLost, match=f"the results of batch {name} were archived on {batch['archived_at']}"):
        dfbatch.open(run_id).wait()
    assert dfbatch.open(run_id).resume(lost="missing").wait().counts == {"missing": 4}


# --------------------------------------------------------------- canceling what is not there


def test_canceling_a_batch_that_has_ended_meanwhile_is_no_error(site: Site, hours: Hours) -> None:
    """One server refuses with a 400, the other answers as if nothing were."""
    site.last(HOUR)
    with hours.still():
        run = begun(site).wait(until="sent")
        hours.at(60, lambda: hours.leap(2 * HOUR))
        hours.at(61, run.cancel)  # at once, before anybody has looked
    run.wait()

    assert (run.status, run.counts) == ("canceled", {"succeeded": 4})
    assert site.calls("cancel") == 1


def test_canceling_a_batch_that_is_gone_says_that_it_is_gone(site: Site, hours: Hours) -> None:
    site.last(HOUR)
    with hours.still():
        run = begun(site).wait(until="sent")
        site.remove(site.made()[0])
        run.cancel()
    with pytest.raises(BatchLost, match="it was deleted at the server"):
        run.wait()

    assert (run.counts, site.calls("create")) == ({"missing": 4}, 1)
    assert site.calls("cancel") <= 2
