"""Requests through `/v1/messages` whose replies were lost: how many, and the most that they may have cost.

No listing tells whether they were answered, so what they cost stays unknown; the ledger keeps it with their chunk.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from dfbatch.backends.faults import certain
from dfbatch.errors import Ambiguous, ApiError
from dfbatch.ledger.files import lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

REFUSED: Final = b"-"  # before a name in the file of what was asked: this time it was surely not answered
_NAME: Final = b'{"custom_id":"'
_SUCCEEDED: Final = b'","result":{"type":"succeeded"'
_HEAD: Final = 128  # bytes of a line that hold both


def not_heard(error: BaseException) -> bool:
    """Whether a request that ended so may have been answered, and billed, all the same.

    The API's own refusals are not billed; a proxy's page, a time-out and a lost reply say nothing.
    """
    if isinstance(error, Ambiguous | TimeoutError):
        return True
    return isinstance(error, ApiError) and error.status is not None and not certain(error.status) and not error.type


def lost(asked: Path, results: Path) -> int:
    """How many calls of those that were noted in `asked` brought no reply."""
    calls = Counter(lines(asked)) if asked.exists() else Counter[bytes]()
    told = {line.removeprefix(_NAME).partition(b'"')[0] for line in lines(results) if _SUCCEEDED in line[:_HEAD]}
    names = [name for name in calls if not name.startswith(REFUSED)]
    return sum(max(0, calls[name] - calls[REFUSED + name] - (name in told)) for name in names)


def as_noted(work: Work, chunk: ChunkRecord, count: int) -> dict[str, Any]:
    """What the ledger keeps of so many lost replies of a chunk, beside those it had."""
    if not count:
        return {}
    from dfbatch.run.budgets import worst  # which knows what goes at once, from `now.py`, which counts here

    known = work.models.find(chunk.model or work.record.model) is not None
    usd = (chunk.unheard_usd or 0.0) + count * worst(work, chunk) if known else None
    return {"unheard": chunk.unheard + count, "unheard_usd": usd}


def unheard(chunks: Iterable[ChunkRecord]) -> float | None:
    """The most that chunks may have cost beside what is known, USD; None where a price was not known."""
    each = [chunk.unheard_usd for chunk in chunks if chunk.unheard]
    return None if None in each else math.fsum(usd for usd in each if usd is not None)
