"""Where a run stands that nobody carries on in this process, by what the ledger has."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dfbatch.errors import LedgerError
from dfbatch.ledger.states import OVER
from dfbatch.run.listing import succeeded

if TYPE_CHECKING:
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord

_CARRIED: Final = ("planned", "pilot", "sending", "collecting")  # somebody must be at it
_UNDER_WAY: Final = (*_CARRIED, "waiting")

_unanswered: Final[dict[str, float]] = {}  # runs that were not all answered → when they had last changed


def standing(ledger: Ledger, record: RunRecord) -> tuple[str, str]:
    """The status and the line that matters; where its process ended, it has stopped, whatever was noted last.

    One whose answers all came in, with a later run on the same rows, is done.
    """
    status, message = ledger.standing(record.id)
    if status not in _UNDER_WAY or not ledger.lock(record.id).is_free():
        return status, message
    if _all_answered(ledger, record):
        with suppress(LedgerError):  # a full disk, say: it is true all the same
            ledger.say(record.id, "done")
        return "done", ""
    if status in _CARRIED:
        return "paused", f"its process ended: dfbatch.open({record.id!r}).resume() goes on"
    return status, message


def _all_answered(ledger: Ledger, record: RunRecord) -> bool:
    """Whether every request has its answer, all samples of a row; looked up again only where something has changed."""
    chunks = ledger.chunks(record.id)
    changed = max((chunk.changed for chunk in chunks), default=0.0)
    if _unanswered.get(record.id) == changed:
        return False
    if all(chunk.state in OVER for chunk in chunks) and succeeded(ledger, record, chunks).all():
        return True
    _unanswered[record.id] = changed
    return False
