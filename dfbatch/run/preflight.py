"""The first request, through `/v1/messages` before all others: a slip in the call is told in seconds, not in an hour.

Its answer is that row's answer, at the full price. What does not tell of the call (a server in trouble, a limit, a
time-out) is no reason to wait: the request goes in a batch with the others, and may then be billed twice.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Final

from dfbatch.errors import ApiError, DfbatchError, NotTheApi
from dfbatch.requests import custom_ids, unmarked
from dfbatch.run.ending import first_line
from dfbatch.run.now import keep, results_file, write
from dfbatch.run.recovery import asked_in
from dfbatch.run.spools import check_unsent, shared_of
from dfbatch.run.unheard import as_noted, not_heard

if TYPE_CHECKING:
    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

log = logging.getLogger("dfbatch")

PATIENCE: Final = 60.0  # seconds for its answer
TELLING: Final = frozenset({400, 401, 403, 404, 413, 422})  # statuses that would come for all requests
_PARAMETER: Final = re.compile(r": ([a-z][a-z_]*)[\w.\[\]]*: ")


async def preflight(work: Work, chunk: ChunkRecord) -> None:
    """Ask the one request of a chunk; raises what tells of the call, and leaves it to a batch where nothing is told."""
    check_unsent(work.ledger, chunk, work.record)
    if not work.ledger.happen(chunk.id, "send", intended=work.heard, orphaned=0.0):
        return
    work.say("sending", "the first request goes ahead, to see whether the call is right")
    requests = asked_in(work.ledger, chunk)
    (part,) = work.ledger.read_lines(work.ledger.chunk_file(chunk.id, "spool"))
    shared = shared_of(work.record, chunk.head, at_once=True)
    work.posting.add(chunk.id)
    try:
        params = shared.head + unmarked(part) + shared.tail
        message = await asyncio.wait_for(work.backend.ask(params, work.record.spec.betas), PATIENCE)
    except (DfbatchError, TimeoutError) as error:
        if isinstance(error, ApiError) and error.status in TELLING and not isinstance(error, NotTheApi):
            work.ledger.happen(chunk.id, "refused", error=first_line(error))
            raise _refused(error, int(requests["position"][0])) from None
        told = first_line(error) or "no answer"
        log.info("run %s: the first request goes with the others: %s", chunk.run, told)
        leave_to_batch(work, chunk, unheard=not_heard(error))
    else:
        name = custom_ids(chunk.nonce, requests)[0].decode()
        write(results_file(work, chunk), name, b'{"type":"succeeded","message":' + message + b"}")
        keep(work, chunk)
    finally:
        work.posting.discard(chunk.id)
        work.wake()


def leave_to_batch(work: Work, chunk: ChunkRecord, *, unheard: bool) -> None:
    """It goes in a batch; after a kill, or without an answer, it may be billed twice: the one request that may."""
    work.ledger.happen(chunk.id, "not accepted", kind="", **as_noted(work, chunk, int(unheard)))


def recover(work: Work, chunk: ChunkRecord) -> None:
    """What a dead process left: its answer, where that was kept; else the request goes in a batch."""
    if results_file(work, chunk).exists():
        keep(work, chunk)
    else:
        leave_to_batch(work, chunk, unheard=True)


def _refused(error: ApiError, row: int) -> ApiError:
    """The same error, with its row, what it says of the call, and that nothing was spent."""
    told = first_line(error)
    named = _PARAMETER.search(told)
    parameter = f"; {named[1]} is the parameter that it names" if named else ""
    return type(error)(
        f"{told} - at row {row:,}, which went ahead alone{parameter}",
        "nothing else was sent, and nothing is billed",
        hint="mend the call and run the cell again (preflight=False sends all at once)",
        status=error.status,
        kind=error.type,
        request_id=error.request_id,
        code=error.code,
    )
