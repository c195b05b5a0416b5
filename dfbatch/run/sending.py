"""Planned chunks become batches: intent before act, and an act that is never repeated blindly.

When to send is the loop's; what the server may say is told apart by the backend's errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from dfbatch.backends.faults import SPEND_LIMITS
from dfbatch.errors import (
    Ambiguous,
    ApiError,
    DfbatchError,
    LedgerError,
    RateLimited,
    RunPaused,
    TooLarge,
    Unreachable,
)
from dfbatch.ledger.records import PLANNED, SUBMITTED, SUBMITTING, BatchRecord, ChunkRecord
from dfbatch.run.ending import first_line
from dfbatch.run.spools import body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from dfbatch.backends import Accepted
    from dfbatch.run.loop import Work

log = logging.getLogger("dfbatch")

UPLOADS: Final = 2  # posts under way: while one's reply is due, the next body is on its way out
NETWORK_PAUSE: Final = 60.0  # the longest pause while the network is down, seconds


async def send(work: Work) -> None:
    """Post the run's planned chunks, a few side by side. Only the holder of the run's lock sends."""
    queue = work.unsent() if work.lock_held else []
    if not queue or not work.sending:
        return
    work.say("sending")
    await _prove(work)
    queue.reverse()
    uplink = asyncio.Lock()
    done = await asyncio.gather(*(_sender(work, queue, uplink) for _ in range(UPLOADS)), return_exceptions=True)
    for outcome in done:
        if isinstance(outcome, BaseException):
            raise outcome


async def _prove(work: Work) -> None:
    """Ask once before anything is sent. A busy API is waited for; no connection or another service stops the run."""
    pause = 1.0
    while work.sending:
        try:
            await work.backend.probe()
        except ApiError as error:
            if isinstance(error, Unreachable) or not (error.type and passing(error)):
                raise
            pause = min(pause * 2, NETWORK_PAUSE)
            work.say("sending", f"waiting to send: {first_line(error)}")
            await work.clock.pause(told(error, pause), work.waking)
        else:
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


async def _sender(work: Work, queue: list[ChunkRecord], uplink: asyncio.Lock) -> None:
    try:
        while queue and work.sending and not work.canceling:
            chunk, pause = queue.pop(), 1.0
            while (wait := await _post(work, chunk, uplink, pause)) is not None:
                pause = min(pause * 2, NETWORK_PAUSE)
                await work.clock.pause(wait, work.waking)
    except BaseException:
        queue.clear()  # what stopped one would stop the others
        raise


async def _post(work: Work, chunk: ChunkRecord, uplink: asyncio.Lock, pause: float) -> float | None:
    """Create one batch; seconds to wait where nothing was accepted and another try may help, else None."""
    async with _turn(uplink) as handed:
        if not work.sending or not work.ledger.move(chunk.id, SUBMITTING, only_from=(PLANNED,)):
            return None
        work.posting.add(chunk.id)
        try:
            sent = body(work.ledger, chunk, work.record, handed)
            accepted = await work.backend.submit(sent, work.record.spec.betas)
        except Ambiguous as error:
            log.warning("run %s: chunk %d is in doubt: %s", chunk.run, chunk.ordinal, first_line(error))
            work.ledger.move(chunk.id, SUBMITTING, error=str(error))
        except DfbatchError as error:  # certain: nothing was accepted
            work.ledger.move(chunk.id, PLANNED, error=str(error))
            if not passing(error):
                raise _explained(error, chunk) from error
            work.say("sending", f"waiting to send: {first_line(error)}")
            return told(error, pause)
        else:
            _note(work, chunk, accepted)
        finally:
            work.posting.discard(chunk.id)
    return None


def _note(work: Work, chunk: ChunkRecord, accepted: Accepted) -> None:
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
        work.ledger.accept(record, SUBMITTED)
    except LedgerError as error:
        raise RunPaused(
            f"batch {batch.id} was accepted, and the ledger could not note it: {first_line(error)}",
            f"chunk {chunk.ordinal} of run {chunk.run} stays in doubt; it is not sent again by itself",
            hint="keep the batch id; make the ledger writable again before you go on",
        ) from error
    work.looks = 0
    work.wake()


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


def _explained(error: DfbatchError, chunk: ChunkRecord) -> DfbatchError:
    if not isinstance(error, TooLarge):
        return error
    return RunPaused(
        f"chunk {chunk.ordinal} is too large for this route: {chunk.bytes:,} bytes, {chunk.requests:,} requests",
        first_line(error),
        "nothing was accepted, and nothing is billed for it",
        hint=f"run the cell again with chunk_size={max(1, chunk.requests // 2)}: answers so far are reused",
    )
