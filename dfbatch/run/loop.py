"""The only loop: send, poll, collect, until nothing is left to wait for. The only place that waits.

`Work` is a run being carried out in this process, on the I/O thread. What users hold is `Run` (`__init__.py`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dfbatch.errors import ApiError, BatchLost, DfbatchError, LedgerError, NotFound
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
from dfbatch.run import ending
from dfbatch.run.again import ask_unanswered
from dfbatch.run.clock import Clock, current
from dfbatch.run.collect import Collector
from dfbatch.run.ending import first_line
from dfbatch.run.sending import NETWORK_PAUSE, passing, send, told
from dfbatch.run.using import in_use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.backends import Backend
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.lock import Lock
    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.sheet import Sheet

FIRST_LOOK = 0.1  # seconds after a chunk was accepted; doubles up to what its age allows
SLOWEST = 120.0  # the end of a batch is noticed within this …
EAGER = 5.0  # … or this, while it is young …
SHARE = 0.05  # … or this part of its age
BELIEVED_LOST = 300.0  # seconds that a batch we know may answer 404: reads lag behind writes
ELSEWHERE = 1.0  # seconds between looks at what another process is sending


@dataclass(slots=True)
class Work:
    """One run under way in this process; every field is written by the I/O thread, but `sending` and `canceling`."""

    ledger: Ledger
    record: RunRecord
    backend: Backend
    sheet: Sheet
    lock: Lock
    clock: Clock = field(default_factory=current)
    sending: bool = True  # False after the stop button: nothing further is sent
    canceling: bool = False
    status: str = "planned"
    message: str = ""
    error: DfbatchError | None = None
    lock_held: bool = False
    restart: bool = False  # resumed while it was still collecting: one more round is needed
    posting: set[str] = field(default_factory=set)  # chunks whose POST is under way
    waking: asyncio.Event = field(default_factory=asyncio.Event)
    _gone_since: dict[str, float] = field(default_factory=dict)
    looks: int = 0

    def wake(self) -> None:
        """Look again now; called on the I/O thread."""
        self.waking.set()

    def load(self) -> None:
        """Lay the answers of chunks that are collected already; asks nobody."""
        collector = Collector(self.ledger, self.backend, self.sheet)
        for chunk in self.ledger.chunks(self.record.id):
            if chunk.state == COLLECTED and not collector.has(chunk):
                collector.judge(chunk)
        self._load_given_up()

    def _load_given_up(self) -> None:
        """Say of requests whose answer never came why that is, in any process."""
        canceled = self.ledger.standing(self.record.id)[0] == "canceled"
        for chunk in self.ledger.chunks(self.record.id):
            map_file = self.ledger.chunk_file(chunk.id, "map.npy")
            if chunk.state == LOST:
                self.sheet.absent(map_file, "missing", chunk.error)
            elif canceled and chunk.state == RELEASED and chunk.run == self.record.id:
                self.sheet.absent(map_file, "canceled", "canceled before it was sent")

    async def drive(self) -> None:
        """Carry the run as far as it goes; what stopped it is in `error`, and in the ledger."""
        async with in_use(self.backend):
            await self._drive()

    async def _drive(self) -> None:
        self.error = None
        try:
            while True:
                self.lock_held = self.lock.acquire()
                self.restart = False
                whole = await self._round()
                if whole and not self.restart and not await asyncio.to_thread(self._ask_rest):
                    break
        except DfbatchError as error:
            self.error = error
        finally:
            try:
                self._finish()
            except LedgerError as error:  # a full disk, say: the end is not noted, and who waits is told
                self.error = self.error or error
            self.lock.release()

    # ----------------------------------------------------------------- rounds

    async def _round(self) -> bool:
        """Send and collect what is there; False where another process left its part to us."""
        sender = asyncio.create_task(send(self))
        collector = Collector(self.ledger, self.backend, self.sheet)
        pause = 1.0
        try:
            while True:
                try:
                    waiting = await self._look(collector)
                    pause = 1.0
                except ApiError as error:
                    if not passing(error):
                        raise
                    waiting, pause = True, min(pause * 2, NETWORK_PAUSE)
                    self.say("waiting", f"waiting for the network: {first_line(error)}")
                    await self.clock.pause(told(error, pause), self.waking)
                    continue
                if sender.done():
                    self._heed(sender)
                    if not waiting or self.restart:
                        return True
                    if not self.lock_held and self.unsent() and self.ledger.lock(self.record.id).is_free():
                        return False
                await self.clock.pause(self._interval(), self.waking)
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
        self.looks += 1
        ages = [self.clock.now() - batch.accepted for _, batch in self._open()]
        usual = min(SLOWEST, max(EAGER, SHARE * min(ages))) if ages else ELSEWHERE
        jitter = 0.9 + 0.1 * (hash((self.record.id, self.looks)) % 100) / 100
        return min(usual, FIRST_LOOK * 2.0 ** min(self.looks, 20)) * jitter

    def _open(self) -> list[tuple[ChunkRecord, BatchRecord]]:
        chunks = [chunk for chunk in self.ledger.chunks(self.record.id) if chunk.state == SUBMITTED]
        found = [(chunk, self.ledger.batch(chunk.id)) for chunk in chunks]
        return [(chunk, batch) for chunk, batch in found if batch is not None]

    def unsent(self) -> list[ChunkRecord]:
        """Our own chunks that are planned, in order."""
        own = (chunk for chunk in self.ledger.chunks(self.record.id) if chunk.run == self.record.id)
        return [chunk for chunk in own if chunk.state == PLANNED]

    # ---------------------------------------------------------------- looking

    async def _look(self, collector: Collector) -> bool:
        """Ask for the state of all open batches and collect what ended; whether anything is left to wait for."""
        await self._poll()
        self._heed_collected(collector)
        chunks = self.ledger.chunks(self.record.id)
        ended = [chunk for chunk in chunks if chunk.state in (ENDED, COLLECTED) and not collector.has(chunk)]
        collector.start(ended, then=self.waking.set)
        waiting = any(self._waits_for(chunk) for chunk in chunks) or bool(ended) or collector.busy
        if ended:
            self.say("collecting")
        elif waiting and not self.unsent():
            in_doubt = ending.doubt(self.ledger, self.record, self.posting, spends=self.backend.spends)
            self.say("canceling" if self.canceling else "waiting", in_doubt)
        return waiting

    def _heed_collected(self, collector: Collector) -> None:
        """A 404 on results may pass; anything else is raised."""
        for chunk_id, error in collector.settled():
            if isinstance(error, NotFound):
                self._missed(self.ledger.chunk(chunk_id))
            elif error is not None:
                raise error
            else:
                self.looks = 0

    def _waits_for(self, chunk: ChunkRecord) -> bool:
        own = chunk.run == self.record.id
        if chunk.state == SUBMITTED:
            return True
        if chunk.state == SUBMITTING:
            return chunk.id in self.posting or (not (own and self.lock_held) and self._is_driven(chunk))
        if chunk.state != PLANNED:
            return False
        if own and self.lock_held:
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
        self.sheet.absent(self.ledger.chunk_file(chunk.id, "map.npy"), "missing", why)
        self.error = self.error or BatchLost(
            f"{why}: {chunk.requests:,} requests of run {self.record.id} have no answer",
            "all other answers are kept",
            hint=f"dfbatch.open({self.record.id!r}).retry(which='missing') asks those again, and pays for them again",
        )

    def _ask_rest(self) -> bool:
        """Plan what others' chunks did not answer, and what was released unsent; whether there is any."""
        if not self.sending or self.canceling or self.error is not None:
            return False
        return ask_unanswered(self.ledger, self.record, self.sheet)

    # ----------------------------------------------------------------- telling

    def say(self, status: str, message: str = "") -> None:
        """Note where the run stands, here and in the ledger."""
        if (status, message) != (self.status, self.message):
            self.status, self.message = status, message
            self.ledger.say(self.record.id, status, message)

    def _finish(self) -> None:
        """Say how it ended, in the ledger and to whoever waits."""
        unsent = self.unsent()
        if self.error is None:
            self.error = ending.in_doubt(self.ledger, self.record, self.posting, spends=self.backend.spends)
        if self.error is not None:
            self.say("paused", first_line(self.error))
        elif self.canceling:
            ending.release(self.ledger, self.sheet, unsent)
            self.say("canceled")
        elif unsent:
            self.say("paused", f"{len(unsent)} chunks not sent: run.resume() sends them")
        else:
            self.say("done")
