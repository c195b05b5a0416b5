"""The safety line: whether a person may leave, whatever the run is at, and never two things at once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.progress import BatchMark, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable


def at(states: Iterable[Any], status: str = "waiting", **more: Any) -> Snapshot:
    marks = tuple(BatchMark(str(number), state, 1) for number, state in enumerate(states))
    return replace(Snapshot("7f3a", "", status, "m", "", 9, 9, 0, batches=marks), **more)


@pytest.mark.parametrize(
    ("snapshot", "line", "brief", "safe"),
    [
        (at([]), "nothing to send: safe to close", "safe to close", True),
        (at(["waiting", "done"]), "all sent: safe to close", "safe to close", True),
        (
            at(["waiting", "done"], tries=True),
            "all sent: safe to close; what fails is asked again when you come back",
            "safe to close",
            True,
        ),
        (at([], tries=True), "nothing to send: safe to close", "safe to close", True),
        (at(["waiting", "sending", "planned"]), "do not close: 2 of 3 chunks not sent", "do not close", False),
        (
            at(["planned", "in doubt"]),
            "do not close: 1 of 2 chunks not sent, 1 of 2 chunks in doubt",
            "do not close",
            False,
        ),
        (
            at(["waiting", "in doubt"]),
            "all sent: 1 of 2 chunks in doubt, looked for while this process lives",
            "all sent",
            False,
        ),
        (
            at(["planned", "done"], "paused"),
            "paused: 1 of 2 chunks not sent, dfbatch.open('7f3a').resume() goes on",
            "paused",
            False,
        ),
        (
            at(["in doubt", "done"], "paused"),
            "paused: 1 of 2 chunks in doubt, dfbatch.open('7f3a').resume() goes on",
            "paused",
            False,
        ),
        (at(["failed"], "paused"), "paused: dfbatch.open('7f3a').resume() goes on", "paused", False),
        (at(["waiting"], tied=True), "all sent: goes on only while this process lives", "all sent", False),
        (at(["planned"], tied=True), "do not close: 1 of 1 chunks not sent", "do not close", False),
    ],
)
def test_the_line_says_what_is_true_of_leaving(snapshot: Snapshot, line: str, brief: str, *, safe: bool) -> None:
    assert (snapshot.safety, snapshot.brief, snapshot.safe) == (line, brief, safe)


def test_chunks_of_earlier_runs_that_are_waited_for_are_not_counted_among_those_to_send() -> None:
    marks = [BatchMark(str(number), "waiting", 1, own=False) for number in range(4)]
    snapshot = replace(at([]), batches=(*marks, BatchMark("1", "planned", 1)))

    assert snapshot.safety == "do not close: 1 of 1 chunks not sent"


def test_another_way_on_than_to_resume_is_told() -> None:
    snapshot = at(["planned"], "paused", way_on="mend the call and run the cell again")

    assert snapshot.safety == "paused: 1 of 1 chunks not sent, mend the call and run the cell again"


def test_a_chunk_in_doubt_was_sent() -> None:
    snapshot = at(["in doubt", "waiting"])

    assert (snapshot.unsent, snapshot.doubted) == (0, 1)
