"""The waiting thread's side of a run under way: start it, look after it, detach from it. The loop is `loop.py`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

from dfbatch.errors import DiskFull, RunError
from dfbatch.ledger.states import ABANDONED, ACCEPTED, IN_DOUBT, OVER, RELEASED, SPLIT, SUBMITTED, UNSENT
from dfbatch.progress.words import ENDED
from dfbatch.run import thread
from dfbatch.run.ending import MEND, of_the_call, stays
from dfbatch.run.notice import tell_all
from dfbatch.run.why import tell_models

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.handle import Run
    from dfbatch.run.loop import Work
    from dfbatch.run.notice import Notice

STEP: Final = 0.2  # seconds between looks of a waiting thread: interrupts are served this often
LAST_LOOK: Final = 10.0  # seconds that a run may take to end where its ledger is closed
LAST_POST: Final = 600.0  # seconds that a POST under way may hold up the end of the process

live: Final[dict[str, Run]] = {}  # runs under way in this process, by id


class Driver:
    """One run's work on the I/O thread, seen from any other thread."""

    def __init__(self, work: Work, run: Run) -> None:
        self._work = work
        self._run = weakref.ref(run)
        self._id = work.record.id
        self._future: concurrent.futures.Future[None] | None = None
        self._stay: Callable[[], None] = lambda: None  # nothing is to be done any more as the process ends
        self._task: asyncio.Task[None] | None = None
        self._told_models = False
        self._notices: list[Notice] = []  # whom to tell when it has ended
        self._guard = threading.Lock()
        self._starting = threading.RLock()
        self._told = False  # whether those were told of the end that there was

    @property
    def running(self) -> bool:
        """Whether the run is being carried out in this process."""
        return self._future is not None and not self._future.done()

    @property
    def standing(self) -> tuple[str, str]:
        """Where it stands while it is carried out here; a wish to cancel counts at once."""
        work = self._work
        return "canceling" if work.canceling and work.status not in ENDED else work.status, work.message

    def drive(self, *, sending: bool, canceling: bool = False) -> None:
        """See that the run is carried out in this process, once; what it may do can only grow."""
        with self._starting:
            self._drive(sending=sending, canceling=canceling)

    def _drive(self, *, sending: bool, canceling: bool) -> None:
        work = self._work
        if work.damage is not None and not canceling:
            raise work.damage
        if self.running:
            work.canceling |= canceling
            if sending and not work.sending:
                work.sending = work.restart = True
            thread.call(work.wake)
            return
        work.sending, work.canceling = sending, canceling
        if any(chunk.state not in OVER for chunk in work.ledger.chunks(self._id)):
            work.backend.ready(work.ledger.folder)
        work.before = work.message if work.status == "paused" and not sending and stays(work.message) else ""
        if work.status in ("done", "canceled", "paused"):  # it is not any more
            work.status, work.message = ("sending" if sending else "waiting"), ""
        if run := self._run():
            live[self._id] = run  # kept while it is under way, whoever forgets it
        self._stay = leaving = thread.on_leaving(self._leave)
        self._future = thread.start(self._carried())
        self._told = False
        self._future.add_done_callback(lambda future: self._over(future, run, leaving))

    async def _carried(self) -> None:
        self._task = asyncio.current_task()
        await self._work.drive()

    def _break_off(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        """Leave the run as it stands, because its ledger is closed; the POST under way is finished, if that is soon."""
        self._work.sending = False
        deadline = time.monotonic() + LAST_LOOK
        while self._work.posting and self.running and time.monotonic() < deadline:
            self.pause(STEP)
        if self._future is not None and self.running:
            thread.call(self._break_off)
            concurrent.futures.wait([self._future], timeout=LAST_LOOK)
        self._stay()
        live.pop(self._id, None)

    def notify(self, how: Notice, *, over: bool) -> None:
        """Tell when it ends here; at once, where it has ended."""
        with self._guard:
            self._notices.append(how)
            late = self._told or (self._future is None and over)
        if late:
            tell_all(self._run(), [how])

    def _over(self, future: concurrent.futures.Future[None], run: Run | None, leaving: Callable[[], None]) -> None:
        leaving()
        if future is self._future:  # else it is driven anew already
            live.pop(self._id, None)
        with self._guard:
            self._told = future is self._future
            notices = [*self._notices]
        tell_all(run, notices)

    def _chunks(self) -> list[ChunkRecord]:
        gone = (RELEASED, SPLIT, ABANDONED)  # others stand in their place
        return [chunk for chunk in self._work.ledger.chunks(self._id) if chunk.state not in gone]

    def _own(self) -> list[ChunkRecord]:
        return [chunk for chunk in self._chunks() if chunk.run == self._id]

    def _unsent(self) -> int:
        return sum(chunk.state in UNSENT for chunk in self._own())

    @property
    def all_sent(self) -> bool:
        """Whether it is safe to close: no chunk is unsent, none is on its way, and the server knows of a cancel."""
        told = not self._work.canceling or not any(map(self._goes_on, self._own()))
        return told and not self._unsent() and not self._work.posting

    def _goes_on(self, chunk: ChunkRecord) -> bool:
        """Whether the server was not asked yet to stop this one."""
        batch = self._work.ledger.batch(chunk.id) if chunk.state == SUBMITTED else None
        return batch is not None and batch.status == "in_progress"

    @property
    def any_sent(self) -> bool:
        """Whether at least one chunk was accepted, or may have been, or there is none to send."""
        own = self._own()
        return not own or any(chunk.state in (*ACCEPTED, *IN_DOUBT) for chunk in own)

    def pause(self, seconds: float) -> None:
        """Wait, or less where the run ends first."""
        if self._future is not None:
            concurrent.futures.wait([self._future], timeout=seconds)

    def wait_quietly(self) -> None:
        """Let what is under way here come to its end."""
        if self._future is not None:
            concurrent.futures.wait([self._future])

    async def ended(self) -> None:
        """The end of what is under way, for async code."""
        if self._future is not None:
            await asyncio.shield(asyncio.wrap_future(self._future))

    @property
    def tied(self) -> bool:
        """Whether what answers ends with this process."""
        return self._work.backend.kind == "local"

    @property
    def sending(self) -> bool:
        """Whether what is not sent yet will be."""
        return self._work.sending

    def hold(self) -> None:
        """Send nothing further."""
        self._work.sending = False
        thread.call(self._work.wake)

    async def moment(self, seconds: float) -> None:
        """Let seconds pass, or less where the run ends first; on the I/O thread."""
        if self._future is not None:
            await asyncio.wait([asyncio.wrap_future(self._future)], timeout=seconds)

    def let_go(self) -> str:
        """What to tell whoever detaches and lets it go on."""
        unsent = self._unsent()
        more = f"the {unsent} chunks that are not sent follow" if unsent > 1 else "the last chunk follows"
        return (
            f"detached from run {self._id}: it goes on by itself while this process lives"
            f"{f'; {more}' if unsent and self.sending else ''}\n"
            f"Hint: dfbatch.open({self._id!r}) shows it, .wait() comes back, .cancel() cancels"
        )

    def detach(self) -> str:
        """Send nothing further; returns what to tell."""
        self.hold()
        own = self._own()
        sent = sum(chunk.state not in UNSENT for chunk in own)
        asked = sum(chunk.requests for chunk in own if chunk.state not in (*UNSENT, *OVER))
        foreign = sum(chunk.requests for chunk in self._chunks() if chunk.run != self._id and chunk.state not in OVER)
        lent = (
            f"\nit waits for {foreign:,} more that an earlier run sent, and that may be billed too" if foreign else ""
        )
        rest = f"; .resume() sends the other {len(own) - sent}" if sent < len(own) else ""
        return (
            f"detached from run {self._id}: {sent} of {len(own)} chunks sent, nothing further is sent\n"
            f"{asked:,} requests are under way and may be billed; collecting goes on while this process lives{lent}\n"
            f"Hint: dfbatch.open({self._id!r}).wait() comes back{rest}; .cancel() cancels"
        )

    def raise_if_paused(self, run: Run) -> None:
        """Raise what stopped the run, where it has stopped."""
        if self._future is None or not self._future.done():
            return
        self._future.result()
        self._told_models = self._told_models or tell_models(self._work.record, self._work.sheet)
        error = self._work.error
        if error is not None:
            if isinstance(error, RunError):
                error.run = run
            if not isinstance(error, RunError | DiskFull) and not getattr(error, "__notes__", ()):
                error.add_note(self._how_to_go_on())
            raise error

    def _how_to_go_on(self) -> str:
        """For errors that know nothing of runs."""
        go_on, refused = f"dfbatch.open({self._id!r}).resume()", of_the_call(self._work.message)
        if all(chunk.state in UNSENT for chunk in self._own()):
            helps = MEND if refused else f"run the cell again, or {go_on}"
            return f"run {self._id}: nothing was accepted, nothing is billed; {helps}"
        return f"run {self._id}: what is answered is kept; {MEND if refused else f'{go_on} goes on'}"

    def _leave(self) -> None:
        """The process ends: the POST under way is finished, nothing further is sent, and what is unsent is said."""
        self._work.sending = False
        deadline = time.monotonic() + LAST_POST
        while self._work.posting and self.running and time.monotonic() < deadline:
            self.pause(STEP)
        if unsent := self._unsent():
            hint = f"dfbatch.open({self._id!r}).resume() sends them"
            sys.stderr.write(f"dfbatch: run {self._id}: {unsent} chunks not sent. {hint}.\n")
