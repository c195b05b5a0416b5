"""The only loop: send, poll, collect, until nothing is left to wait for. The only place that waits.

`Work` is a run being carried out in this process, on the I/O thread. What users hold is `Run` (`handle.py`). What is to
be done with a chunk follows from its state alone (`ledger/states.py`), so that any step may be killed and done again.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dfbatch.errors import ApiError, DfbatchError, LedgerDamaged, LedgerError, NotFound
from dfbatch.ledger.states import (
    ABANDONED,
    COLLECTED,
    ENDED,
    FORGONE,
    IN_DOUBT,
    LOST,
    OVER,
    OVERSIZED,
    PLANNED,
    POSTED,
    RELEASED,
    SUBMITTED,
    UNSENT,
)
from dfbatch.run import again, doubts, ending, tries
from dfbatch.run.clock import Clock, current
from dfbatch.run.collect import Collector
from dfbatch.run.ending import first_line
from dfbatch.run.gate import Gate
from dfbatch.run.limits import Limits
from dfbatch.run.now import PILOT_NOW, keep
from dfbatch.run.polling import Poller
from dfbatch.run.preflight import recover
from dfbatch.run.prices import known
from dfbatch.run.recovery import asked_in
from dfbatch.run.search import Search
from dfbatch.run.sending import NETWORK_PAUSE, passing, send, told
from dfbatch.run.using import in_use

if TYPE_CHECKING:
    from dfbatch.backends import Backend
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.lock import Lock
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.models import Models
    from dfbatch.run.parts import Parts
    from dfbatch.run.sheet import Sheet

ELSEWHERE = 1.0  # seconds between looks at what another process is doing


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
    before: str = ""  # why it had paused, where nothing is sent this time and that still holds
    error: DfbatchError | None = None
    damage: LedgerDamaged | None = None  # what keeps its rows from being read at all
    lock_held: bool = False
    told_missing: bool = False  # the line that matters says that a batch cannot be seen
    restart: bool = False  # something is to be sent that was not there before: one more round is needed
    posting: set[str] = field(default_factory=set)  # chunks whose POST is under way
    waking: asyncio.Event = field(default_factory=asyncio.Event)  # of the loop, and …
    stirring: asyncio.Event = field(default_factory=asyncio.Event)  # … of what rests beside it: a pause clears its own
    offset: float = 0.0  # the server's clock minus ours, seconds
    heard: float = 0.0  # the latest that the server's clock told: whatever is sent now is made after that
    overloads: int = 0  # creates in a row that the API called itself overloaded for, and …
    eased: float = 0.0  # … until when nothing is sent for that, in our clock
    unasked: int = 0  # requests that would be asked again if we might send
    sums: dict[tuple[object, ...], float | None] = field(default_factory=dict)  # of bills, for `costs.py`
    parts: dict[str, Parts] = field(default_factory=dict)  # of each chunk's bill, likewise
    models: Models = field(init=False)  # with their prices
    poller: Poller = field(init=False)
    search: Search = field(init=False)
    gate: Gate = field(init=False)
    limits: Limits = field(init=False)
    _taken: dict[str, Lock] = field(default_factory=dict)  # of dead runs, whose chunks in doubt we look after

    def __post_init__(self) -> None:
        """What looks at batches we know, what looks for those we do not, and what says which may be sent."""
        self.models = known(self.ledger.folder, self.record.spec.prices)
        self.poller = Poller(self)
        self.search = Search(self)
        self.gate = Gate(self)
        self.limits = Limits(self.ledger.folder, self.backend, self.clock)

    def wake(self) -> None:
        """Look again now; called on the I/O thread."""
        self.waking.set()
        self.stirring.set()

    @property
    def may_send(self) -> bool:
        """Whether anything further is to be sent."""
        return self.sending and not self.canceling

    def hear(self, now: float) -> None:
        """Note what the server's clock told just now; ours may be wrong, and may be set meanwhile."""
        if now > self.heard:
            self.heard, self.offset = now, now - self.clock.now()

    async def rest(self, seconds: float) -> None:
        """Let seconds pass, whatever wakes the loop meanwhile; less where nothing is to be sent any more."""
        due = self.clock.now() + seconds
        while self.may_send and 0 < (left := due - self.clock.now()) <= seconds:
            await self.clock.pause(left, self.stirring)

    # ----------------------------------------------------------------- chunks

    def chunks(self, *states: str) -> list[ChunkRecord]:
        """The chunks this run draws on that are in one of these states."""
        return self.ledger.chunks(self.record.id, *states)

    def own(self, *states: str) -> list[ChunkRecord]:
        """Our own chunks that are in one of these states, in order."""
        return [chunk for chunk in self.chunks(*states) if chunk.run == self.record.id]

    def looks_after(self, chunk: ChunkRecord) -> bool:
        """Whether it is for us to find out what became of a chunk: we hold the lock of its run."""
        return self.lock_held if chunk.run == self.record.id else chunk.run in self._taken

    def _is_driven(self, run_id: str) -> bool:
        """Whether somebody else has it in hand: that we look after what a dead one left is not that."""
        return run_id not in self._taken and not self.ledger.lock(run_id).is_free()

    def _take_over(self, chunk: ChunkRecord) -> None:
        """Look after what a dead process left in doubt."""
        lock = self.ledger.lock(chunk.run)
        if chunk.run != self.record.id and chunk.run not in self._taken and lock.acquire():
            self._taken[chunk.run] = lock

    def _leave_others(self) -> None:
        for lock in self._taken.values():
            lock.release()
        self._taken.clear()

    def _recover(self) -> None:
        """What a dead process left within a POST is in doubt from now on."""
        for chunk in self.chunks(*POSTED, *IN_DOUBT):
            if not self.looks_after(chunk):
                self._take_over(chunk)
            if chunk.state in POSTED and chunk.id not in self.posting and self.looks_after(chunk):
                if chunk.kind in ("now", PILOT_NOW):
                    keep(self, chunk)
                elif chunk.kind == "preflight":
                    recover(self, chunk)
                else:
                    self.ledger.happen(chunk.id, "process died", orphaned=0.0)

    # --------------------------------------------------------------- carrying

    def load(self) -> None:
        """Lay the answers of chunks that are collected already; asks nobody."""
        if self.damage is not None:
            raise self.damage
        collector = Collector(self.ledger, self.backend, self.sheet)
        with self.sheet.guard:
            for chunk in self.chunks(COLLECTED):
                if not collector.has(chunk):
                    with suppress(LedgerDamaged):  # waiting fetches it again, or says why not
                        collector.judge(chunk)
            self._load_given_up()

    def _load_given_up(self) -> None:
        """Say of requests whose answer never came why that is, in any process."""
        canceled = self.ledger.wants_cancel(self.record.id)
        for chunk in self.chunks(LOST, FORGONE, OVERSIZED, RELEASED, ABANDONED):
            if chunk.state in (LOST, FORGONE):
                self.sheet.absent(asked_in(self.ledger, chunk), "missing", chunk.error)
            elif chunk.state == OVERSIZED:
                self.sheet.absent(asked_in(self.ledger, chunk), "errored", chunk.error)
            elif canceled and chunk.run == self.record.id:
                how = "sent" if chunk.state == RELEASED else "accepted"
                self.sheet.absent(asked_in(self.ledger, chunk), "canceled", f"canceled before it was {how}")

    @property
    def is_laid(self) -> bool:
        """Whether the answers of all chunks that are collected are laid in this process."""
        return all(map(self.sheet.has, self.chunks(COLLECTED)))

    async def drive(self) -> None:
        """Carry the run as far as it goes; what stopped it is in `error`, and in the ledger."""
        async with in_use(self.backend):
            self.error, self.unasked = None, 0
            try:
                await self._carry()
            except DfbatchError as error:
                self.error = error
            finally:
                self._close()

    async def _carry(self) -> None:
        while True:
            self.lock_held = self.lock.acquire()
            self.restart = False
            self._prepare()
            await self._ask_given_up()
            whole = await self._round()
            if whole and not self.restart and not await self._asks_more():
                return

    def _prepare(self) -> None:
        """What was wished for while nothing was under way."""
        if self.sending:
            for chunk in self.own(*UNSENT, LOST):
                self.ledger.happen(chunk.id, "resume")
        self.canceling |= self.ledger.wants_cancel(self.record.id)
        self.poller.now()

    async def _ask_given_up(self) -> None:
        """What others' chunks were given up for in doubt is asked at once; our own were in the same moment.

        Where one of them was a pilot, it goes ahead again.
        """
        kinds = {chunk.kind for chunk in self.chunks(ABANDONED) if chunk.run != self.record.id}
        if self.may_send and self.lock_held and kinds:
            ask, kind = again.ask_unanswered, "pilot" if "pilot" in kinds else ""
            await asyncio.to_thread(ask, self.ledger, self.record, self.sheet, kind=kind)

    async def _round(self) -> bool:
        """Send and collect what is there; False where another process left its part to us."""
        sender = asyncio.create_task(send(self))
        sender.add_done_callback(lambda _: self.wake())
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
                    if not self.lock_held and self._left_to_us():
                        return False
                await self.clock.pause(self._interval(), self.waking)
        finally:
            if not sender.done():
                self.sending = False
            await collector.finish()
            await asyncio.wait([sender])  # a POST under way is never cut off: that would leave it in doubt

    def _left_to_us(self) -> bool:
        return bool(self.own(*UNSENT, *POSTED, *IN_DOUBT)) and self.ledger.lock(self.record.id).is_free()

    def _heed(self, sender: asyncio.Task[None]) -> None:
        """What stopped the sending does not stop the collecting of what was sent."""
        error = sender.exception()
        if isinstance(error, DfbatchError):
            self.error = self.error or error
            if self.sending:
                self.sending = False
                self.wake()  # what was waited for is not sent any more
        elif error is not None:
            raise error

    def _interval(self) -> float:
        """Seconds to the next look."""
        elsewhere = any(not self.looks_after(chunk) for chunk in self.chunks(PLANNED, *POSTED, *IN_DOUBT))
        return min(self.poller.interval(), self.search.interval(), ELSEWHERE if elsewhere else 1e9)

    async def _look(self, collector: Collector) -> bool:
        """Ask for the state of all open batches and collect what ended; whether anything is left to wait for."""
        self._recover()
        if self.canceling:
            ending.cancel(self.ledger, self.sheet, self.own(*UNSENT, *POSTED))
        await self.poller.poll()
        await self.search.look()
        await self._heed_collected(collector)
        ended = [chunk for chunk in self.chunks(ENDED, COLLECTED) if not collector.has(chunk)]
        collector.start(filter(self.poller.may_collect, ended), then=self.wake)
        waiting = bool(ended) or collector.busy or any(map(self._waits_for, self.ledger.chunks(self.record.id)))
        self._tell(collecting=bool(ended), waiting=waiting)
        return waiting

    def _tell(self, *, collecting: bool, waiting: bool) -> None:
        """Say what is waited for; where something is still to be sent, its sender does."""
        missing = self.poller.missing()
        if collecting:
            self.say("collecting", missing)
        elif waiting and not self.own(PLANNED):
            doubt = doubts.doubt(self, self.chunks(*IN_DOUBT))
            self.say("canceling" if self.canceling else "waiting", doubt or self.poller.notice())
        elif waiting and (missing or self.told_missing):
            self.say(self.status, missing)
        self.told_missing = bool(missing)

    async def _heed_collected(self, collector: Collector) -> None:
        """A 404 on results may pass; anything else is raised."""
        for chunk_id, error in collector.settled():
            if isinstance(error, NotFound):
                await self.poller.missed(self.ledger.chunk(chunk_id))
            elif error is not None:
                raise error

    def _waits_for(self, chunk: ChunkRecord) -> bool:
        if chunk.state == SUBMITTED or chunk.state in IN_DOUBT:
            return self.search.hopes(chunk)
        if chunk.state in POSTED:
            return chunk.id in self.posting or not self.looks_after(chunk)
        if chunk.state not in UNSENT:
            return False
        if chunk.run == self.record.id:
            return (self.may_send and chunk.state == PLANNED) if self.lock_held else True
        if self._is_driven(chunk.run):
            return True
        self.ledger.happen(chunk.id, "release")  # its process is gone, and it was never sent: free for us
        return False

    async def _asks_more(self) -> bool:
        """Plan what nobody answered, and what is worth another try; whether there is any."""
        if self.canceling or self.error is not None or not self.lock_held:
            return False
        self._leave_others()  # nothing of theirs is in doubt any more, and others may wait for us to leave them
        while self.may_send and tries.waits_for_older(self.ledger, self.record, self.sheet, driven=self._is_driven):
            await self.clock.pause(ELSEWHERE, self.waking)
        if await asyncio.to_thread(tries.draw_on_later, self.ledger, self.record, self.sheet):
            return True
        if not self.sending:
            self.unasked = again.unanswered(self.ledger, self.record, self.sheet).size
            return False
        if await asyncio.to_thread(again.ask_unanswered, self.ledger, self.record, self.sheet):
            return True
        pause = await asyncio.to_thread(tries.ask_again, self.ledger, self.record, self.sheet)
        if pause is None:
            return False
        if pause := pause * (1.0 if self.backend.spends else tries.REHEARSED):
            self.say("waiting", f"some requests failed for a reason that may pass: asked again in {pause:.3g} s")
            await self.rest(pause)
        return True

    # ----------------------------------------------------------------- telling

    def say(self, status: str, message: str = "") -> None:
        """Note where the run stands, here and in the ledger."""
        if (status, message) != (self.status, self.message):
            self.status, self.message = status, message
            self.ledger.say(self.record.id, status, message)

    @property
    def _is_over_and_unread(self) -> bool:
        """Whether nothing but a damaged file keeps answers from being read that are all there were."""
        return isinstance(self.error, LedgerDamaged) and all(chunk.state in OVER for chunk in self.chunks())

    def _close(self) -> None:
        """Say how it ended, in the ledger and to whoever waits, and leave the run to others."""
        try:
            self._finish()
        except LedgerError as error:  # a full disk, say: the end is not noted, and who waits is told
            self.error = self.error or error
        finally:
            self._leave_others()
            self.lock.release()
            self.lock_held = False

    def _finish(self) -> None:
        self.sheet.settle()
        self._load_given_up()
        unsent = self.own(*UNSENT)
        self.error = self.error or ending.stopped(self, unsent)
        if self.error is not None and not self._is_over_and_unread:
            self.say("paused", ending.message(self.error, self.before))
        elif self.canceling:
            self.say("canceled")
        else:
            self.say("done")
        with suppress(LedgerError):  # a full disk, say: the run is over all the same
            self.ledger.back_up()
