"""When a run is expected to end, by how long batches took that this ledger knows: a range, and said to be one.

The API tells no progress of a batch before it ends, so nothing else is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dfbatch.ledger.states import COLLECTED, SUBMITTED, UNSENT
from dfbatch.progress.words import duration
from dfbatch.run.polling import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.loop import Work

RUNS: Final = 50  # earlier ones that are looked at
PLENTY: Final = 500  # batches of those that are looked at
FEW: Final = 5  # batches that took as long already: of fewer nothing is told


def durations(ledger: Ledger, record: RunRecord) -> list[float]:
    """Seconds that batches took, by the server's clock, in runs by the same route and model, the newest ones."""
    alike = [run for run in ledger.runs() if (run.who, run.model) == (record.who, record.model)][:RUNS]
    owned = [chunk for run in alike for chunk in ledger.chunks(run.id, COLLECTED) if chunk.run == run.id]
    batches = [batch for chunk in owned[:PLENTY] if (batch := ledger.batch(chunk.id))]
    spans = [(moment(batch.created_at), moment(batch.ended_at)) for batch in batches]
    return [(ended - begun).total_seconds() for begun, ended in spans if begun and ended]


def expected(ages: Iterable[float], took: Sequence[float]) -> tuple[float, float] | None:
    """The seconds in which batches of these ages will end, in eight of ten cases; None where nothing is known.

    Those count that took longer than a batch has taken already.

    >>> expected([30.0], [60, 90, 120, 150, 180])
    (42.0, 138.0)
    >>> expected([130.0], [60, 90, 120, 150, 180])
    """
    low = high = 0.0
    known = np.sort(np.array(took, np.float64))
    for age in {float(round(age)) for age in ages}:
        left = known[np.searchsorted(known, age, "right") :] - age
        if len(left) < FEW:
            return None
        low, high = max(low, float(np.quantile(left, 0.1))), max(high, float(np.quantile(left, 0.9)))
    return (low, high) if high else None


def told(work: Work, took: Sequence[float]) -> str:
    """The range in words; nothing where something is still to be sent, or too little is known."""
    if work.own(*UNSENT) or not (waiting := work.chunks(SUBMITTED)):
        return ""
    now = work.clock.now()
    batches = [work.ledger.batch(chunk.id) for chunk in waiting]
    found = expected([now - batch.accepted for batch in batches if batch], took)
    if found is None:
        return ""
    low, high = map(duration, found)
    span = f"in {low} to {high}" if low != high else f"in about {low}"
    return f"expected to end {span}, as 8 of 10 of {len(took):,} batches did"
