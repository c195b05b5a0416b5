"""The only loop: send, poll, collect, until nothing is left to wait for. The only place that waits.

`Work` is a run being carried out in this process, on the I/O thread. What users hold is `Run` (`__init__.py`).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dfbatch.errors import (
    Ambiguous,
    ApiError,
    BatchLost,
    DfbatchError,
    InDoubt,
    NotFound,
    RateLimited,
    RunPaused,
    TooLarge,
    Unreachable,
)
from dfbatch.ledger.files import read_array
from dfbatch.ledger.records import (
    COLLECTED,
    ENDED,
    LOST,
    PLANNED,
    RELEASED,
    SUBMITTED,
    SUBMITTING,
    BatchRecord,
    ChunkRecord,
)
from dfbatch.plan import forecast, locate
from dfbatch.pricing import dollars
from dfbatch.run.claims import claim, reusable
from dfbatch.run.clock import Clock, WallClock
from dfbatch.run.collect import Collector
from dfbatch.run.spools import body, parts_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.backends import Backend, Batch
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.lock import Lock
    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.sheet import Sheet

log = logging.getLogger("dfbatch")

UPLOADS = 2  # chunks posted side by side: one alone rarely fills a link, more only queue
FIRST_LOOK = 0.1  # seconds after a chunk was accepted; doubles up to what its age allows
SLOWEST = 120.0  # the end of a batch is noticed within this …
EAGER = 5.0  # … or this, while it is young …
SHARE = 0.05  # … or this part of its age
BELIEVED_LOST = 300.0  # seconds that a batch we know may answer 404: reads lag behind writes
NETWORK_PAUSE = 60.0  # the longest pause while the network is down
ELSEWHERE = 1.0  # seconds between looks at what another process is sending


@dataclass(slots=True)
class Work:
    """One run under way in this process; every field is written by the I/O thread, but `sending` and `canceling`."""

    ledger: Ledger
    record: RunRecord
    backend: Backend
    sheet: Sheet
    lock: Lock
    clock: Clock = field(default_factory=WallClock)
    sending: bool = True  # False after the stop button: nothing further is sent
    canceling: bool = False
    status: str = "planned"
    message: str = ""
    error: DfbatchError | None = None
    _lock_held: bool = False
    restart: bool = False  # resumed while it was still collecting: one more round is needed
    posting: set[str] = field(default_factory=set)  # chunks whose POST is under way
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _gone_since: dict[str, float] = field(default_factory=dict)
    _looks: int = 0

    def wake(self) -> None:
        """Look again now; called on the I/O thread."""
        self._wake.set()

    def load(self) -> None:
        """Lay the answers of chunks that are collected already; asks nobody."""
        collector = Collector(self.ledger, self.backend, self.sheet)
        for chunk in self.ledger.chunks(self.record.id):
            if chunk.state == COLLECTED and not collector.has(chunk):
                collector.judge(chunk)

    async def drive(self) -> None:
        """Carry the run as far as it goes; what stopped it is in `error`, and in the ledger."""
        self.error = None
        try:
            while True:
                self._lock_held = self.lock.acquire()
                self.restart = False
                whole = await self._round()
                if whole and not self.restart and not await asyncio.to_thread(self._ask_again):
                    break
        except DfbatchError as error:
            self.error = error
        finally:
            self._finish()
            self.lock.release()
            await self.backend.close()

    # ----------------------------------------------------------------- rounds

    async def _round(self) -> bool:
        """Send and collect what is there; False where another process left its part to us."""
        sender = asyncio.create_task(self._send())
        collector = Collector(self.ledger, self.backend, self.sheet)
        pause = 1.0
        try:
            while True:
                try:
                    waiting = await self._look(collector)
                    pause = 1.0
                except (Unreachable, ApiError) as error:
                    if not _passing(error):
                        raise
                    waiting, pause = True, min(pause * 2, NETWORK_PAUSE)
                    self._say("waiting", f"waiting for the network: {_first_line(error)}")
                    await self.clock.pause(_told(error, pause), self._wake)
                    continue
                if sender.done():
                    self._heed(sender)
                    if not waiting or self.restart:
                        return True
                    if not self._lock_held and self._unsent() and self.ledger.lock(self.record.id).is_free():
                        return False
                await self.clock.pause(self._interval(), self._wake)
        finally:
            if not sender.done():
                self.sending = False
            await collector.finish()
            await asyncio.wait([sender])  # a POST under way is never cut off: that would leave it in doubt

    def _heed(self, sender: asyncio.Task[None]) -> None:
        """What stopped the sending does not stop the collecting of what was sent."""
        error = sender.exception()
        if isinstance(error, DfbatchError):
            self.sending = False
            self.error = self.error or error
        elif error is not None:
            raise error

    def _interval(self) -> float:
        """Seconds to the next look: soon after something happened, then by the age of the youngest open batch."""
        self._looks += 1
        ages = [self.clock.now() - batch.accepted for _, batch in self._open()]
        usual = min(SLOWEST, max(EAGER, SHARE * min(ages))) if ages else ELSEWHERE
        jitter = 0.9 + 0.1 * (hash((self.record.id, self._looks)) % 100) / 100
        return min(usual, FIRST_LOOK * 2.0 ** min(self._looks, 20)) * jitter

    def _open(self) -> list[tuple[ChunkRecord, BatchRecord]]:
        chunks = [chunk for chunk in self.ledger.chunks(self.record.id) if chunk.state == SUBMITTED]
        found = [(chunk, self.ledger.batch(chunk.id)) for chunk in chunks]
        return [(chunk, batch) for chunk, batch in found if batch is not None]

    def _unsent(self) -> list[ChunkRecord]:
        own = (chunk for chunk in self.ledger.chunks(self.record.id) if chunk.run == self.record.id)
        return [chunk for chunk in own if chunk.state == PLANNED]

    # ---------------------------------------------------------------- sending

    async def _send(self) -> None:
        """Post our planned chunks, a few side by side. Only the holder of the run's lock sends."""
        queue = self._unsent() if self._lock_held else []
        if not queue or not self.sending:
            return
        self._say("sending")
        await self.backend.probe()
        queue.reverse()
        done = await asyncio.gather(*(self._sender(queue) for _ in range(UPLOADS)), return_exceptions=True)
        for outcome in done:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _sender(self, queue: list[ChunkRecord]) -> None:
        try:
            while queue and self.sending and not self.canceling:
                await self._post(queue.pop())
        except BaseException:
            queue.clear()  # what stopped one would stop the others
            raise

    async def _post(self, chunk: ChunkRecord) -> None:
        """Create one batch: intent before act, and an act that is never repeated blindly."""
        pause = 1.0
        while self.sending and self.ledger.move(chunk.id, SUBMITTING, only_from=(PLANNED,)):
            self.posting.add(chunk.id)
            try:
                accepted = await self.backend.submit(body(self.ledger, chunk, self.record), self.record.spec.betas)
            except Ambiguous as error:
                log.warning("run %s: chunk %d is in doubt: %s", self.record.id, chunk.ordinal, _first_line(error))
                self.ledger.move(chunk.id, SUBMITTING, error=str(error))
                return
            except DfbatchError as error:  # certain: nothing was accepted
                self.ledger.move(chunk.id, PLANNED, error=str(error))
                if not _passing(error):
                    raise _explained(error, chunk) from error
                pause = min(pause * 2, NETWORK_PAUSE)
                self._say("sending", f"waiting to send: {_first_line(error)}")
                await self.clock.pause(_told(error, pause), self._wake)
            else:
                self._note(chunk, accepted.batch, accepted.base_url, accepted.request_id)
                return
            finally:
                self.posting.discard(chunk.id)

    def _note(self, chunk: ChunkRecord, batch: Batch, base_url: str, request_id: str) -> None:
        organization = getattr(self.backend, "organization", "")
        workspace = getattr(self.backend, "workspace", "")
        record = BatchRecord(
            chunk=chunk.id,
            id=batch.id,
            base_url=base_url,
            organization=organization,
            workspace=workspace,
            request_id=request_id,
            status=batch.processing_status,
            created_at=batch.created_at,
            expires_at=batch.expires_at,
            ended_at=batch.ended_at or "",
            accepted=self.clock.now(),
        )
        self.ledger.accept(record, SUBMITTED)
        log.info("run %s: chunk %d is batch %s (request-id %s)", self.record.id, chunk.ordinal, batch.id, request_id)
        self._looks = 0
        self._wake.set()

    # ---------------------------------------------------------------- looking

    async def _look(self, collector: Collector) -> bool:
        """Ask for the state of all open batches and collect what ended; whether anything is left to wait for."""
        await self._poll()
        self._heed_collected(collector)
        chunks = self.ledger.chunks(self.record.id)
        ended = [chunk for chunk in chunks if chunk.state in (ENDED, COLLECTED) and not collector.has(chunk)]
        collector.start(ended, then=self._wake.set)
        waiting = any(self._waits_for(chunk) for chunk in chunks) or bool(ended) or collector.busy
        if ended:
            self._say("collecting")
        elif waiting and not any(chunk.state == PLANNED for chunk in self._unsent()):
            self._say("canceling" if self.canceling else "waiting", self._doubt_message())
        return waiting

    def _heed_collected(self, collector: Collector) -> None:
        """A 404 on results may pass; anything else is raised."""
        for chunk_id, error in collector.settled():
            if isinstance(error, NotFound):
                self._missed(self.ledger.chunk(chunk_id))
            elif error is not None:
                raise error
            else:
                self._looks = 0

    def _waits_for(self, chunk: ChunkRecord) -> bool:
        own = chunk.run == self.record.id
        if chunk.state == SUBMITTED:
            return True
        if chunk.state == SUBMITTING:
            return chunk.id in self.posting or (not (own and self._lock_held) and self._is_driven(chunk))
        if chunk.state != PLANNED:
            return False
        if own and self._lock_held:
            return self.sending and not self.canceling
        if self._is_driven(chunk):
            return True
        if not own:  # its process is gone, and it was never sent: free for us
            self.ledger.move(chunk.id, RELEASED, only_from=(PLANNED,))
        return own

    def _is_driven(self, chunk: ChunkRecord) -> bool:
        return not self.ledger.lock(chunk.run).is_free()

    async def _poll(self) -> None:
        open_batches = {batch.id: (chunk, batch) for chunk, batch in self._open()}
        if not open_batches:
            return
        if self.canceling:
            await self._cancel([(chunk, batch) for chunk, batch in open_batches.values()])
        told = await self.backend.poll(open_batches.keys())
        for batch_id, (chunk, record) in open_batches.items():
            batch = told[batch_id]
            if batch is None:
                self._missed(chunk)
            elif batch.archived_at:
                self._lose(chunk, f"the results of batch {batch_id} were archived on {batch.archived_at}")
            elif batch.ended:
                self.ledger.update_batch(chunk.id, status=batch.processing_status, ended_at=batch.ended_at or "")
                self.ledger.move(chunk.id, ENDED, only_from=(SUBMITTED,))
            else:
                self._gone_since.pop(chunk.id, None)
                if batch.processing_status != record.status:
                    self.ledger.update_batch(chunk.id, status=batch.processing_status, ended_at="")

    async def _cancel(self, open_batches: Sequence[tuple[ChunkRecord, BatchRecord]]) -> None:
        for chunk, batch in open_batches:
            if chunk.run == self.record.id and batch.status == "in_progress":
                told = await self.backend.cancel(batch.id)
                self.ledger.update_batch(chunk.id, status=told.processing_status, ended_at=told.ended_at or "")

    def _missed(self, chunk: ChunkRecord) -> None:
        """A 404 on a batch that we know is believed only after minutes."""
        since = self._gone_since.setdefault(chunk.id, self.clock.now())
        if self.clock.now() - since >= BELIEVED_LOST:
            batch = self.ledger.batch(chunk.id)
            name = batch.id if batch else chunk.id
            self._lose(chunk, f"batch {name} is not there any more: deleted, or of another workspace than this key")

    def _lose(self, chunk: ChunkRecord, why: str) -> None:
        self.ledger.move(chunk.id, LOST, error=why)
        self.error = self.error or BatchLost(
            f"{why}: {chunk.requests:,} requests of run {self.record.id} have no answer",
            "all other answers are kept",
            hint=f"dfbatch.open({self.record.id!r}).retry(which='missing') asks those again, and pays for them again",
        )

    # -------------------------------------------------------------- asking again

    def _ask_again(self) -> bool:
        """Plan what other runs' chunks did not answer, and what was released unsent; whether there is any."""
        if not self.sending or self.canceling or self.error is not None:
            return False
        asked = self.sheet.requests
        settled = np.zeros(len(asked), bool)
        chunks = self.ledger.chunks(self.record.id)
        for chunk in chunks:
            own = chunk.run == self.record.id
            if chunk.state == RELEASED or (not own and chunk.state != SUBMITTING):
                continue
            digests = read_array(self.ledger.chunk_file(chunk.id, "map.npy"))["digest"]
            settled |= locate(asked["digest"], digests) >= 0
        had = np.array([*(chunk.max_tokens for chunk in self.sheet.chunks), 0])[self.sheet.source]
        settled |= reusable(self.sheet.found, had, self.record.max_tokens)
        need = np.flatnonzero(~settled)
        if not len(need):
            return False
        parts = parts_from(self.ledger, [chunk.id for chunk in chunks], asked["digest"][need])
        need = need[sorted(parts)]
        if not len(need):
            return False
        held = [parts[index] for index in sorted(parts)]
        lengths = np.array([len(line) for line in held], np.int64)
        claim(
            self.ledger,
            self.record,
            asked[need],
            lengths,
            lambda which: (held[index] for index in which.tolist()),
            reuse=self.record.spec.reuse,
        )
        return True

    def _release(self, unsent: Sequence[ChunkRecord]) -> None:
        for chunk in unsent:
            if self.ledger.move(chunk.id, RELEASED, only_from=(PLANNED,)):
                self.sheet.absent(
                    self.ledger.chunk_file(chunk.id, "map.npy"), "canceled", "canceled before it was sent"
                )

    # ----------------------------------------------------------------- telling

    def _say(self, status: str, message: str = "") -> None:
        if (status, message) != (self.status, self.message):
            self.status, self.message = status, message
            self.ledger.say(self.record.id, status, message)

    def _doubtful(self) -> list[ChunkRecord]:
        chunks = self.ledger.chunks(self.record.id)
        return [chunk for chunk in chunks if chunk.state == SUBMITTING and chunk.id not in self.posting]

    def _doubt_message(self) -> str:
        doubtful = self._doubtful()
        return f"{len(doubtful)} chunks in doubt: {self._stake(doubtful)} at stake" if doubtful else ""

    def _stake(self, chunks: Sequence[ChunkRecord]) -> str:
        highs = [forecast(self.record.model, chunk.bytes, chunk.requests, chunk.max_tokens).high for chunk in chunks]
        known = [high for high in highs if high is not None]
        total = sum(known) if len(known) == len(highs) else None
        return f"at most {dollars(total, as_if=not self.backend.spends)}" if total is not None else "an unknown sum"

    def _finish(self) -> None:
        """Say how it ended, in the ledger and to whoever waits."""
        doubtful = self._doubtful()
        unsent = self._unsent()
        if self.error is None and doubtful:
            count = sum(chunk.requests for chunk in doubtful)
            self.error = InDoubt(
                f"{len(doubtful)} of the chunks of run {self.record.id} are in doubt: {count:,} requests were sent,"
                " and no answer told whether the API accepted them",
                f"{self._stake(doubtful)} may be billed for them already; nothing is sent again by itself",
                *(chunk.error.splitlines()[0] for chunk in doubtful if chunk.error),
                hint="all other answers are there: run.partial(). To ask these again, and perhaps pay twice:"
                " batch(..., reuse=False)",
            )
        if self.error is not None:
            self._say("paused", _first_line(self.error))
        elif self.canceling:
            self._release(unsent)
            self._say("canceled")
        elif unsent:
            self._say("paused", f"{len(unsent)} chunks not sent: run.resume() sends them")
        elif any(chunk.state == LOST for chunk in self.ledger.chunks(self.record.id)):
            self._say("done", "a batch was lost")
        else:
            self._say("done")


def _passing(error: DfbatchError) -> bool:
    """Whether waiting may help: no network, a full queue, a server in trouble."""
    if isinstance(error, RateLimited):
        return error.code not in ("enforced_spend_limit_reached", "contract_spend_limit_reached")
    if isinstance(error, Unreachable):
        return True
    return isinstance(error, ApiError) and (error.status or 0) >= 500


def _told(error: DfbatchError, pause: float) -> float:
    """What the server told, else our own growing pause."""
    told = getattr(error, "retry_after", None)
    return float(told) if told is not None else pause


def _explained(error: DfbatchError, chunk: ChunkRecord) -> DfbatchError:
    if isinstance(error, TooLarge):
        return RunPaused(
            f"chunk {chunk.ordinal} is too large for this route: {chunk.bytes:,} bytes, {chunk.requests:,} requests",
            str(error).splitlines()[0],
            "nothing was accepted, and nothing is billed for it",
            hint=f"run the cell again with chunk_size={max(1, chunk.requests // 2)}: answers so far are reused",
        )
    return error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
