"""Planned chunks become batches: intent before act, and an act that is never repeated blindly.

When to send is the loop's; what the server may say is told apart by the backend's errors, and what follows from it by
the table of states.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from dfbatch.backends.faults import SPEND_LIMITS
from dfbatch.errors import (
    Ambiguous,
    ApiError,
    DfbatchError,
    LedgerError,
    Overloaded,
    RateLimited,
    RunPaused,
    TooLarge,
    Unreachable,
)
from dfbatch.ledger.records import OVERLOADED, BatchRecord, ChunkRecord
from dfbatch.ledger.states import PLANNED
from dfbatch.progress.words import duration
from dfbatch.run.doubts import proof
from dfbatch.run.ending import first_line
from dfbatch.run.limits import look
from dfbatch.run.now import DIRECT, answer_now
from dfbatch.run.polling import PLACE, cancel
from dfbatch.run.preflight import preflight
from dfbatch.run.recovery import asked_in
from dfbatch.run.spools import body, check_unsent, halves, remove

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from dfbatch.backends import Accepted
    from dfbatch.run.loop import Work

log = logging.getLogger("dfbatch")

UPLOADS: Final = 2  # posts under way: while one's reply is due, the next body is on its way out
NETWORK_PAUSE: Final = 60.0  # the longest pause while the network is down, seconds
LONGEST_WAIT: Final = 3600.0  # seconds that an overloaded API may ask for
EASES: Final = (1.0, 4.0, 16.0, 60.0, 120.0, 300.0)  # seconds without a create after so many 529 in a row


async def send(work: Work) -> None:
    """Post the run's planned chunks, a few side by side. Only the holder of the run's lock sends."""
    queue = work.own(PLANNED) if work.lock_held else []
    if not queue or not work.may_send:
        return
    work.say("sending")
    await _prove(work)
    await look(work, queue)
    queue.reverse()
    work.gate.stopped = False
    uplink, door = asyncio.Lock(), asyncio.Lock()
    done = await asyncio.gather(*(_sender(work, queue, uplink, door) for _ in range(UPLOADS)), return_exceptions=True)
    for outcome in done:
        if isinstance(outcome, BaseException):
            raise outcome


async def _prove(work: Work) -> None:
    """Ask once before anything is sent. A busy API is waited for; no connection or another service stops the run."""
    pause = 1.0
    while work.sending:
        try:
            told_time = await work.backend.probe()
        except ApiError as error:
            if isinstance(error, Unreachable) or not (error.type and passing(error)):
                raise
            pause = min(pause * 2, NETWORK_PAUSE)
            work.say("sending", f"waiting to send: {first_line(error)}")
            await work.rest(told(error, pause))
        else:
            work.hear(told_time or work.clock.now())
            return


@contextlib.asynccontextmanager
async def _turn(uplink: asyncio.Lock) -> AsyncIterator[Callable[[], None]]:
    """One body at a time on the way out, so that the first batch is made soonest; replies are waited for together."""
    await uplink.acquire()
    held = [uplink]

    def handed() -> None:
        if held:
            held.pop().release()

    try:
        yield handed
    finally:
        handed()


async def _next(work: Work, queue: list[ChunkRecord], door: asyncio.Lock) -> ChunkRecord | None:
    """The next chunk that may be sent; None where there is none. One at a time is looked at."""
    async with door:
        if not queue or not work.may_send:
            return None
        admitted = await work.gate.admit(work.gate.take(queue))
        if work.gate.stopped or not admitted:
            return None
        chunk, *rest = admitted
        queue.extend(reversed(rest))
        return chunk


async def _sender(work: Work, queue: list[ChunkRecord], uplink: asyncio.Lock, door: asyncio.Lock) -> None:
    pause = 1.0
    try:
        while chunk := await _next(work, queue, door):
            if chunk.kind == "preflight":
                await preflight(work, chunk)
                left = work.ledger.chunk(chunk.id)
                if left.state == PLANNED:
                    work.gate.returned(left)
                    queue.append(left)
                continue
            if chunk.kind in DIRECT:
                await answer_now(work, chunk)
                continue
            async with _turn(uplink) as handed:
                await _ease(work)  # and then one create at a time, until one is accepted
                refusal = await _post(work, chunk, queue, (lambda: None) if work.overloads else handed)
            if refusal is None:
                pause = 1.0
                continue
            work.gate.returned(chunk)
            queue.append(chunk)
            async with uplink:  # what holds one chunk holds the others
                await work.rest(told(refusal, pause))
            pause = min(pause * 2, NETWORK_PAUSE)
    except BaseException:
        queue.clear()  # what stopped one would stop the others
        work.gate.stopped = True
        work.wake()
        raise


async def _ease(work: Work) -> None:
    """Leave an overloaded API alone for a while: what is sent meanwhile would only be in doubt too."""
    left = work.eased - work.clock.now()
    if not 0 < left <= LONGEST_WAIT or not work.may_send:
        return
    often = f", {work.overloads} times in a row" if work.overloads > 1 else ""
    work.say("sending", f"waiting to send: the API is overloaded (529{often}); the next try is in {duration(left)}")
    await work.rest(left)
    work.say("sending")


async def _post(
    work: Work, chunk: ChunkRecord, queue: list[ChunkRecord], handed: Callable[[], None]
) -> DfbatchError | None:
    """Create one batch; what was said where nothing was accepted and another try may help, else None."""
    place: dict[str, Any] = {name: getattr(work.backend, name, "") for name in PLACE}
    await asyncio.to_thread(check_unsent, work.ledger, chunk, work.record)
    if not work.sending or not work.ledger.happen(chunk.id, "send", intended=work.heard, orphaned=0.0, **place):
        return None
    work.posting.add(chunk.id)
    try:
        sent = body(work.ledger, chunk, work.record, handed)
        accepted = await work.backend.submit(sent, work.record.spec.betas)
    except Ambiguous as error:
        _doubt(work, chunk, error)
    except TooLarge as error:
        _halve(work, chunk, queue, error)
    except DfbatchError as error:  # certain: nothing was accepted
        return _refused(work, chunk, error)
    else:
        await _note(work, chunk, accepted)
    finally:
        work.posting.discard(chunk.id)
    work.wake()
    return None


def _doubt(work: Work, chunk: ChunkRecord, error: Ambiguous) -> None:
    """Nobody knows whether it was accepted: it is looked for at once, and the next create waits where that helps."""
    doubt = ""
    if isinstance(error, Overloaded):
        doubt, work.overloads = OVERLOADED, work.overloads + 1
        pause = EASES[min(work.overloads, len(EASES)) - 1]
        work.eased = work.clock.now() + min(max(pause, error.retry_after or 0.0), LONGEST_WAIT)
    log.warning(
        "run %s: chunk %d is in doubt: %s; its batch is looked for at the server, and it is sent again only when %s"
        " of listings have not shown it",
        *(chunk.run, chunk.ordinal, first_line(error), duration(proof(doubt))),
    )
    work.ledger.happen(chunk.id, "no answer", error=str(error), doubt=doubt)
    work.search.soon()


def _refused(work: Work, chunk: ChunkRecord, error: DfbatchError) -> DfbatchError | None:
    """Nothing was accepted: wait and try again, or stop the run; a chunk that is not wanted any more is let go."""
    act = work.ledger.happen(chunk.id, "not accepted" if passing(error) else "refused", error=str(error))
    if act == "pause":
        raise error
    if act == "wait":
        work.say("sending", f"waiting to send: {first_line(error)}")
        return error
    _let_go(work, chunk)
    return None


def _halve(work: Work, chunk: ChunkRecord, queue: list[ChunkRecord], error: TooLarge) -> None:
    """A body too large for the route goes as two; a single request that is too large has failed."""
    if chunk.requests == 1:
        if work.ledger.happen(chunk.id, "too large alone", error=first_line(error)) == "nothing":
            work.sheet.absent(asked_in(work.ledger, chunk), "errored", first_line(error))
        return
    made = halves(work.ledger, chunk, work.record)
    if work.ledger.happen(chunk.id, "too large", error=first_line(error), halves=made) == "ask again":
        queue.extend(reversed(made))
        return
    remove(work.ledger, [half.id for half in made])
    _let_go(work, chunk)


def _let_go(work: Work, chunk: ChunkRecord) -> None:
    work.sheet.absent(asked_in(work.ledger, chunk), "canceled", "canceled before it was sent")


async def _note(work: Work, chunk: ChunkRecord, accepted: Accepted) -> None:
    batch = accepted.batch
    record = BatchRecord(
        chunk=chunk.id,
        id=batch.id,
        base_url=accepted.base_url,
        organization=accepted.organization,
        workspace=accepted.workspace,
        request_id=accepted.request_id,
        status=batch.processing_status,
        created_at=batch.created_at,
        expires_at=batch.expires_at,
        ended_at=batch.ended_at or "",
        accepted=work.clock.now(),
    )
    log.info("run %s: chunk %d is batch %s (request-id %s)", chunk.run, chunk.ordinal, batch.id, record.request_id)
    try:
        act = work.ledger.happen(chunk.id, "accepted", batch=record)
    except LedgerError as error:
        raise RunPaused(
            f"batch {batch.id} was accepted, and the ledger could not note it: {first_line(error)}",
            f"chunk {chunk.ordinal} of run {chunk.run} stays in doubt until its batch is found in a listing",
            hint=f"make the ledger writable again, then dfbatch.open({chunk.run!r}).resume()",
        ) from error
    work.hear(batch.created or 0.0)
    work.overloads = 0
    work.poller.soon()
    if act == "cancel":
        with contextlib.suppress(ApiError):  # whoever polls asks again
            await cancel(work, chunk, record)


def passing(error: DfbatchError) -> bool:
    """Whether waiting may help: no network, a full queue, a server in trouble."""
    if isinstance(error, RateLimited):
        return error.code not in SPEND_LIMITS
    if isinstance(error, Unreachable):
        return True
    return isinstance(error, ApiError) and (error.status or 0) >= 500


def told(error: DfbatchError, pause: float) -> float:
    """Seconds that the server told, else our own growing pause."""
    after = getattr(error, "retry_after", None)
    return float(after) if after is not None else pause
