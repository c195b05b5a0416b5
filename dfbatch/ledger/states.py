"""The life of a chunk as one table: (state, event) → next state, and what is to be done then.

`Ledger.happen` carries out every transition from this table and from nothing else, each in one transaction; what is
to be done is done by `run/`, which finds it again from the state alone after a kill. README.md beside this says what
each state means.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# States. Only in `planned`, `rejected`, `released`, `split` and `oversized` it is certain that nothing is billed.
PLANNED: Final = "planned"
SUBMITTING: Final = "submitting"
WITHDRAWN: Final = "withdrawn"
ORPHANED: Final = "orphaned"
PROVISIONAL: Final = "provisional"
SUBMITTED: Final = "submitted"
ENDED: Final = "ended"
COLLECTED: Final = "collected"
REJECTED: Final = "rejected"
SPLIT: Final = "split"
OVERSIZED: Final = "oversized"
RELEASED: Final = "released"
LOST: Final = "lost"
FORGONE: Final = "forgone"
ABANDONED: Final = "abandoned"

STATES: Final = (
    PLANNED,
    SUBMITTING,
    WITHDRAWN,
    ORPHANED,
    PROVISIONAL,
    SUBMITTED,
    ENDED,
    COLLECTED,
    REJECTED,
    SPLIT,
    OVERSIZED,
    RELEASED,
    LOST,
    FORGONE,
    ABANDONED,
)
UNSENT: Final = (PLANNED, REJECTED)  # what `resume` sends
POSTED: Final = (SUBMITTING, WITHDRAWN)  # intent is noted, the reply is not
IN_DOUBT: Final = (ORPHANED, PROVISIONAL)  # nobody knows whether the server has it
ACCEPTED: Final = (SUBMITTED, ENDED, COLLECTED)
CLAIMING: Final = (PLANNED, *POSTED, *IN_DOUBT, *ACCEPTED)  # its requests are asked, or will be
OVER: Final = (COLLECTED, SPLIT, OVERSIZED, RELEASED, FORGONE, ABANDONED)  # nothing is left to wait for


class Step(NamedTuple):
    """What an event leads to: the next state, and what is to be done."""

    state: str
    act: str


# Acts: post, wait (as told, then post), poll, cancel (at the server), download, search (for the batch in listings),
# ask again (its requests become new chunks), pause (the run stops and says why), nothing.
TABLE: Final[dict[tuple[str, str], Step]] = {
    (PLANNED, "send"): Step(SUBMITTING, "post"),
    (PLANNED, "cut"): Step(SPLIT, "ask again"),
    (PLANNED, "cancel"): Step(RELEASED, "nothing"),
    (PLANNED, "release"): Step(RELEASED, "nothing"),
    (SUBMITTING, "accepted"): Step(SUBMITTED, "poll"),
    (SUBMITTING, "not accepted"): Step(PLANNED, "wait"),
    (SUBMITTING, "refused"): Step(REJECTED, "pause"),
    (SUBMITTING, "too large"): Step(SPLIT, "ask again"),
    (SUBMITTING, "too large alone"): Step(OVERSIZED, "nothing"),
    (SUBMITTING, "no answer"): Step(ORPHANED, "search"),
    (SUBMITTING, "process died"): Step(ORPHANED, "search"),
    (SUBMITTING, "answered"): Step(ENDED, "download"),
    (SUBMITTING, "cancel"): Step(WITHDRAWN, "nothing"),
    (WITHDRAWN, "accepted"): Step(SUBMITTED, "cancel"),
    (WITHDRAWN, "not accepted"): Step(RELEASED, "nothing"),
    (WITHDRAWN, "refused"): Step(RELEASED, "nothing"),
    (WITHDRAWN, "too large"): Step(RELEASED, "nothing"),
    (WITHDRAWN, "too large alone"): Step(RELEASED, "nothing"),
    (WITHDRAWN, "no answer"): Step(ORPHANED, "search"),
    (WITHDRAWN, "process died"): Step(ORPHANED, "search"),
    (WITHDRAWN, "answered"): Step(ENDED, "download"),
    (ORPHANED, "candidate"): Step(PROVISIONAL, "search"),
    (ORPHANED, "proved"): Step(SUBMITTED, "poll"),
    (ORPHANED, "absent"): Step(ABANDONED, "ask again"),
    (ORPHANED, "pay twice"): Step(ABANDONED, "ask again"),
    (PROVISIONAL, "proved"): Step(SUBMITTED, "poll"),
    (PROVISIONAL, "disproved"): Step(ORPHANED, "search"),
    (PROVISIONAL, "another candidate"): Step(ORPHANED, "search"),
    (PROVISIONAL, "pay twice"): Step(ABANDONED, "ask again"),
    (ABANDONED, "proved"): Step(SUBMITTED, "poll"),
    (SUBMITTED, "ended"): Step(ENDED, "download"),
    (SUBMITTED, "cancel"): Step(SUBMITTED, "cancel"),
    (SUBMITTED, "gone"): Step(LOST, "pause"),
    (ENDED, "collected"): Step(COLLECTED, "nothing"),
    (ENDED, "gone"): Step(LOST, "pause"),
    (REJECTED, "resume"): Step(PLANNED, "post"),
    (REJECTED, "cancel"): Step(RELEASED, "nothing"),
    (REJECTED, "release"): Step(RELEASED, "nothing"),
    (LOST, "resume"): Step(SUBMITTED, "poll"),
    (LOST, "give up"): Step(FORGONE, "nothing"),
}
EVENTS: Final = tuple(dict.fromkeys(event for _, event in TABLE))


def sources(event: str) -> tuple[str, ...]:
    """The states in which an event means something."""
    return tuple(state for state, other in TABLE if other == event)
