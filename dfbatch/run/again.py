"""Asking rows of a run again because the user said so. What is asked again by itself is in `loop.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dfbatch.errors import OptionError
from dfbatch.results import CODE, OUTCOMES
from dfbatch.run.claims import claim
from dfbatch.run.spools import parts_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.sheet import Sheet

FAILED = ("errored", "expired", "canceled", "missing", "truncated", "invalid")


def ask_failed(ledger: Ledger, record: RunRecord, sheet: Sheet, which: str | Sequence[str] | None) -> int:
    """Plan new chunks for the requests with these outcomes; returns how many requests."""
    names = FAILED if which is None else (which,) if isinstance(which, str) else tuple(which)
    for name in names:
        if name not in OUTCOMES[1:] or name in ("succeeded", "skipped"):
            raise OptionError(
                f"which={name!r} cannot be asked again", hint="one or more of " + ", ".join((*FAILED, "refused"))
            )
    wanted = np.flatnonzero(np.isin(sheet.found["outcome"], [CODE[name] for name in names]))
    held = parts_from(ledger, [chunk.id for chunk in ledger.chunks(record.id)], sheet.requests["digest"][wanted])
    chosen = sorted(held)
    if not chosen:
        return 0
    parts = [held[index] for index in chosen]
    claim(
        ledger,
        record,
        sheet.requests[wanted[chosen]],
        np.array([len(part) for part in parts], np.int64),
        lambda which_: (parts[index] for index in which_.tolist()),
        reuse=False,
    )
    sheet.found["outcome"][wanted[chosen]] = 0
    return len(chosen)
