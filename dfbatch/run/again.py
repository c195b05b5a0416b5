"""Requests asked again: what the user names, and what nobody answered. When is the loop's to say, or the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.errors import OptionError
from dfbatch.ledger.files import read_array
from dfbatch.ledger.records import RELEASED, SUBMITTING
from dfbatch.plan import locate
from dfbatch.results import CODE, OUTCOMES, PENDING
from dfbatch.run.claims import claim, reusable
from dfbatch.run.spools import parts_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.sheet import Sheet

FAILED: Final = ("errored", "expired", "canceled", "missing", "truncated", "invalid")


def ask_failed(ledger: Ledger, record: RunRecord, sheet: Sheet, which: str | Sequence[str] | None) -> int:
    """Plan new chunks for the requests with these outcomes; returns how many requests."""
    names = FAILED if which is None else (which,) if isinstance(which, str) else tuple(which)
    for name in names:
        if name not in OUTCOMES[1:] or name in ("succeeded", "skipped"):
            raise OptionError(
                f"which={name!r} cannot be asked again", hint="one or more of " + ", ".join((*FAILED, "refused"))
            )
    wanted = np.flatnonzero(np.isin(sheet.found["outcome"], [CODE[name] for name in names]))
    asked = _ask(ledger, record, sheet, wanted, reuse=False)
    sheet.found["outcome"][asked] = PENDING
    return len(asked)


def ask_unanswered(ledger: Ledger, record: RunRecord, sheet: Sheet) -> bool:
    """Plan what other runs' chunks did not answer, and what was released unsent; whether there is any."""
    requests = sheet.requests
    had = np.array([*(chunk.max_tokens for chunk in sheet.chunks), 0])[sheet.source]
    settled = reusable(sheet.found, had, record.max_tokens)
    if settled.all():
        return False
    for chunk in ledger.chunks(record.id):
        own = chunk.run == record.id
        if chunk.state == RELEASED or (not own and chunk.state != SUBMITTING):
            continue
        digests = read_array(ledger.chunk_file(chunk.id, "map.npy"))["digest"]
        settled |= locate(requests["digest"], digests) >= 0
    return bool(len(_ask(ledger, record, sheet, np.flatnonzero(~settled), reuse=record.spec.reuse)))


def _ask(
    ledger: Ledger, record: RunRecord, sheet: Sheet, wanted: np.ndarray[Any, Any], *, reuse: bool
) -> np.ndarray[Any, Any]:
    """Plan new chunks for these requests, from the spools that still hold them; returns which they are."""
    if not len(wanted):
        return wanted
    held = parts_from(ledger, [chunk.id for chunk in ledger.chunks(record.id)], sheet.requests["digest"][wanted])
    chosen = wanted[sorted(held)]
    if len(chosen):
        parts = [held[index] for index in sorted(held)]
        lengths = np.array([len(part) for part in parts], np.int64)
        claim(
            ledger,
            record,
            sheet.requests[chosen],
            lengths,
            lambda which: (parts[index] + b"\n" for index in which.tolist()),
            reuse=reuse,
        )
    return chosen
