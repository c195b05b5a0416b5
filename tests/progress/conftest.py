"""Snapshots of one run as a person would see it: half way, and at its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dfbatch.progress import BatchMark, Snapshot

NASTY = "<script>alert('x')</script>\x1b[2J"


@pytest.fixture
def halfway() -> Snapshot:
    return Snapshot(
        run="7f3a",
        name="topics of 2026",
        status="waiting",
        model="claude-haiku-4-5",
        answered_by="SmolLM2, not Claude",
        rows=1000,
        requests=960,
        reused=40,
        counts={"succeeded": 590, "refused": 7, "pending": 403},
        batches=(
            BatchMark("1", "done", 600, 250.0, "msgbatch_01"),
            BatchMark("2", "waiting", 240, 130.0, "msgbatch_02"),
            BatchMark("3", "waiting", 120, 61.0, "msgbatch_03"),
        ),
        elapsed=250.0,
        spent="$0.41 as-if",
    )


@pytest.fixture
def ended(halfway: Snapshot) -> Snapshot:
    batches = tuple(replace(mark, state="done") for mark in halfway.batches)
    counts = {"succeeded": 990, "refused": 7, "invalid": 3}
    return replace(halfway, status="done", counts=counts, batches=batches, elapsed=11_100.0)


@pytest.fixture
def nasty(halfway: Snapshot) -> Snapshot:
    return replace(
        halfway,
        run="7f3a",
        name=NASTY,
        model=NASTY,
        answered_by=NASTY,
        spent=NASTY,
        message=NASTY,
        counts={NASTY: 5, "pending": 995},
        batches=(BatchMark(NASTY, "waiting", 1, 1.0, NASTY),),
    )
