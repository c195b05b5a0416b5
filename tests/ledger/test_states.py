"""The life of a chunk is one table, and the ledger carries out that table and nothing else."""

from __future__ import annotations

import dataclasses
import re
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dfbatch.ledger import states
from dfbatch.ledger.states import EVENTS, STATES, TABLE

from .conftest import batch_record, chunk_record, run_record

if TYPE_CHECKING:
    from dfbatch.ledger import Ledger

README = Path(states.__file__).with_name("README.md")
NOT_BILLED = {"planned", "rejected", "released", "split", "oversized"}


def standing(ledger: Ledger, state: str) -> str:
    """A chunk in this state; its id."""
    number = len(ledger.claims("s1"))
    chunk = chunk_record(ordinal=number, state=state)
    ledger.begin(run_record(), [chunk], (), unless_changed=ledger.claims_version("s1"))
    return chunk.id


@pytest.mark.parametrize(("state", "event"), [*product(STATES, EVENTS)])
def test_every_event_in_every_state_does_what_the_table_says_and_nothing_else(
    ledger: Ledger, state: str, event: str
) -> None:
    chunk_id = standing(ledger, state)
    act = ledger.happen(chunk_id, event)
    step = TABLE.get((state, event))

    assert act == (step.act if step else "")
    assert ledger.chunk(chunk_id).state == (step.state if step else state)


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_told_twice_changes_nothing_the_second_time_but_where_it_may_come_again(
    ledger: Ledger, event: str
) -> None:
    for state in states.sources(event):
        chunk_id = standing(ledger, state)
        ledger.happen(chunk_id, event, batch=batch_record(chunk_id))
        once = dataclasses.replace(ledger.chunk(chunk_id), error="")
        ledger.happen(chunk_id, event, batch=batch_record(chunk_id))
        twice = dataclasses.replace(ledger.chunk(chunk_id), error="")

        assert once == twice


def test_every_state_can_be_reached_from_planned_and_every_end_is_an_end() -> None:
    reached = {"planned"}
    for _ in STATES:
        reached |= {step.state for (state, _), step in TABLE.items() if state in reached}
    goes_on = {state for state, _ in TABLE}

    assert reached == set(STATES)
    assert set(STATES) - goes_on == set(states.OVER) - {"abandoned"}


def test_a_chunk_that_may_be_billed_is_never_sent_again_unless_the_user_or_ten_minutes_of_listings_say_so() -> None:
    """Into `planned` and `abandoned`, whose requests are asked again, lead these steps alone."""
    again = {(state, event) for (state, event), step in TABLE.items() if step.state in {"planned", "abandoned"}}

    assert again == {
        ("submitting", "not accepted"),
        ("rejected", "resume"),
        ("orphaned", "absent"),
        ("orphaned", "pay twice"),
        ("provisional", "pay twice"),
    }


def test_a_chunk_in_doubt_is_never_canceled_or_given_up_before_it_is_proved() -> None:
    events = {event for state, event in TABLE if state == "provisional"}

    assert events == {"proved", "disproved", "another candidate", "pay twice"}


def test_a_wish_to_cancel_during_a_post_is_carried_out_when_the_id_is_known(ledger: Ledger) -> None:
    chunk_id = standing(ledger, "planned")
    told = [ledger.happen(chunk_id, event) for event in ("send", "cancel", "accepted")]

    assert told == ["post", "nothing", "cancel"]
    assert ledger.chunk(chunk_id).state == "submitted"


def test_a_stranger_is_known_from_the_moment_it_is_disproved(ledger: Ledger) -> None:
    chunk_id = standing(ledger, "orphaned")
    candidate = batch_record(chunk_id, id="msgbatch_theirs", proved=False)
    ledger.happen(chunk_id, "candidate", batch=candidate)

    assert (ledger.batch(chunk_id), ledger.known(["msgbatch_theirs"])) == (candidate, set())

    ledger.happen(chunk_id, "disproved")

    assert ledger.batch(chunk_id) is None
    assert ledger.known(["msgbatch_theirs", "msgbatch_new"]) == {"msgbatch_theirs"}


def test_halves_take_the_place_of_a_chunk_for_every_run_that_draws_on_it(ledger: Ledger) -> None:
    chunk_id = standing(ledger, "submitting")
    ledger.begin(run_record("bbbb1111"), (), [chunk_id], unless_changed=ledger.claims_version("s1"))
    halves = [chunk_record(ordinal=number) for number in (7, 8)]
    ledger.happen(chunk_id, "too large", halves=halves)

    for run_id in ("aaaa1111", "bbbb1111"):
        assert [chunk.state for chunk in ledger.chunks(run_id)] == ["split", "planned", "planned"]


def test_halves_are_not_there_where_the_event_came_too_late(ledger: Ledger) -> None:
    chunk_id = standing(ledger, "withdrawn")
    ledger.happen(chunk_id, "too large", halves=[chunk_record(ordinal=7)])

    assert [chunk.state for chunk in ledger.claims("s1")] == ["released"]


def test_the_readme_shows_the_table_as_it_is() -> None:
    told = re.findall(r"^\| (\w+) \| ([\w ]+) \| (\w+) \| ([\w ]+) \|$", README.read_text(), re.MULTILINE)

    assert told == [(state, event, step.state, step.act) for (state, event), step in TABLE.items()]


def test_the_readme_says_of_every_state_what_it_means_and_whether_it_may_be_billed() -> None:
    told = dict(re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \|$", README.read_text(), re.MULTILINE))

    assert told == {state: "no" if state in NOT_BILLED else "yes" for state in STATES}
