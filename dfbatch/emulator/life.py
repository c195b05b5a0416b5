"""A batch from creation to archive, on the emulator's clock: accept, list, cancel, end, delete.

Nothing happens by timer: whoever looks at a batch first settles what has become of it by now. Counts stay frozen until
it has ended. Not here: answering (processing.py), what an ending delivers (endings.py), HTTP (routes/).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dfbatch.emulator import ids, records
from dfbatch.emulator.clock import DAY, FOREVER
from dfbatch.emulator.endings import Ending, write_billed, write_results
from dfbatch.emulator.errors import invalid, not_found
from dfbatch.emulator.folder import private_open
from dfbatch.emulator.schedule import Law, answering_order, timetable
from dfbatch.emulator.store import Batch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dfbatch.emulator.clock import Clock
    from dfbatch.emulator.folder import BatchFolder, Folder
    from dfbatch.emulator.limits import Limits
    from dfbatch.emulator.schedule import Timetable
    from dfbatch.emulator.store import Store

LIFETIME = DAY  # reference §1.4: what is not finished 24 h after creation expires
RETENTION = 29 * DAY  # results go 29 days after creation, not after the end


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast new batches go: a law of durations, how many requests at a time, how many times faster than life."""

    law: Law
    lanes: int
    speed: float
    seed: int


class Life:
    """All batches of one emulator. Every verb may be called from any thread."""

    def __init__(
        self, store: Store, folder: Folder, clock: Clock, *, limits: Limits, pace: Pace, instant: bool
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.stopping = False
        self._store = store
        self._limits = limits
        self._pace = pace
        self._instant = instant
        self._change = threading.Condition(threading.RLock())
        self._live = {batch.id: batch for batch in store.live()}
        self._tables: dict[str, Timetable] = {}
        self._answered: dict[str, int] = {}
        self._aside: set[str] = set()
        self._under_way = ""
        for batch in self._live.values():
            _undo_half_an_ending(folder.batch(batch.id))

    # ── for requesters ──

    def accept(self, body: Path, entries: NDArray[np.void], batch: Batch) -> Batch:
        """If there is room in the queue. Durable before it returns: the files are in place, then the row is written."""
        with self._change:  # from looking at the queue on, so that two at once do not both take its last place
            if self._limits.tier.queue:
                self._limits.admit(self.waiting(), batch.total)
            files = self.folder.batch(batch.id)
            files.root.mkdir(mode=0o700)
            body.rename(files.body)
            with private_open(files.index) as index:
                index.write(entries.tobytes())
            self._store.add(batch)
            self._live[batch.id] = batch
            self._change.notify_all()
        return batch

    def new(self, total: int, *, workspace: str, version: str, betas: list[str], profile: str | None) -> Batch:
        """A batch as it is at its creation, not yet accepted."""
        now = self.clock.now()
        pace = self._pace
        return Batch(
            id=ids.batch_id(),
            workspace=workspace,
            created_at=now,
            expires_at=now + LIFETIME,
            total=total,
            version=version,
            betas=betas,
            profile=profile,
            law=pace.law.text,
            lanes=pace.lanes,
            speed=pace.speed,
            seed=pace.seed,
        )

    def get(self, batch_id: str, workspace: str) -> Batch:
        """The batch as it is now; another workspace's is as unknown as one that never was."""
        with self._change:
            batch = self._live.get(batch_id) or self._store.find(batch_id)
            if batch is None or batch.deleted or batch.workspace != workspace:
                raise not_found(f"Message Batch with id {batch_id} not found.")
            return self._settled(batch)

    def knows(self, batch_id: str) -> bool:
        """Whether there ever was such a batch, in whatever workspace."""
        return self._store.find(batch_id) is not None

    def page(self, workspace: str, *, before: str | None, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """Newest first, and whether there is more in the direction asked."""
        with self._change:
            self.settle()
            if before is not None:
                found = self._store.page(workspace, above=self._seq(before, workspace), limit=limit + 1, upward=True)
                return found[:limit][::-1], len(found) > limit
            below = FOREVER if after is None else self._seq(after, workspace)
            found = self._store.page(workspace, below=below, limit=limit + 1, upward=False)
            return found[:limit], len(found) > limit

    def cancel(self, batch_id: str, workspace: str, *, stuck: bool = False) -> Batch:
        """Start canceling: what has not begun will not; `stuck` makes it stay so."""
        with self._change:
            batch = self.get(batch_id, workspace)
            if batch.ended_at is not None:
                raise invalid(f"Message Batch {batch_id} has already ended and cannot be canceled.")  # [?] §1.6
            if batch.cancel_at is None:
                batch.cancel_at = self.clock.now()
                batch.stuck |= stuck
                if not self._instant and batch_id != self._under_way:
                    batch.closed_at = batch.cancel_at  # none of it has begun, or will
                self._store.save(batch)
                self._change.notify_all()
            return batch

    def delete(self, batch_id: str, workspace: str) -> None:
        """Remove an ended batch with its results."""
        with self._change:
            batch = self.get(batch_id, workspace)
            if batch.ended_at is None:
                raise invalid(f"Message Batch {batch_id} must have ended to be deleted; cancel it first.")  # [?] §1.6
            self._remove(batch)

    def vanish(self, batch_id: str) -> None:
        """Deleted behind the requester's back, whatever its state."""
        with self._change:
            batch = self._live.get(batch_id) or self._store.find(batch_id)
            if batch is not None:
                self._remove(batch)

    def archived_at(self, batch: Batch) -> int | None:
        """When its results went, if they have."""
        moment = batch.created_at + RETENTION
        return moment if batch.ended_at is not None and self.clock.now() >= moment else None

    def waiting(self) -> int:
        """Requests in the organization's queue, of all batches of all workspaces: accepted and not yet processed."""
        with self._change:
            self.settle()
            now = self.clock.now()
            return sum(self._waiting(batch, now) for batch in self._live.values())

    def settle(self) -> None:
        """End every batch whose time has come."""
        with self._change:
            for batch in list(self._live.values()):
                self._settled(batch)

    # ── for the processor ──

    def next_open(self) -> Batch | None:
        """The oldest batch that still needs answers, waiting for one if need be; None when stopping."""
        with self._change:
            while not self.stopping:
                for batch in self._live.values():
                    if batch.closed_at is None and batch.id not in self._aside:
                        self._under_way = batch.id
                        return batch
                self._change.wait()
            return None

    def wants_more(self, batch_id: str, position: int) -> bool:
        """Whether the request at this position (in answering order) is still to be answered."""
        with self._change:
            batch = self._live.get(batch_id)
            if batch is None or self.stopping:
                return False
            if self._instant:
                return position < self._started(batch)
            return batch.cancel_at is None and self.clock.now() < batch.expires_at

    def note_answered(self, batch_id: str, count: int) -> None:
        """So many of its requests have their answers by now."""
        with self._change:
            self._answered[batch_id] = count

    def set_aside(self, batch_id: str) -> None:
        """Leave it open and answer others; until the next start."""
        with self._change:
            self._aside.add(batch_id)
            self._under_way = ""
            self._change.notify_all()

    def close(self, batch_id: str) -> None:
        """No further answer will come."""
        with self._change:
            batch = self._live.get(batch_id)
            if batch is not None:
                batch.closed_at = self.clock.now()
                self._store.save(batch)
                self._settled(batch)
            self._change.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Until every accepted request is answered; False if that takes longer."""
        with self._change:
            return self._change.wait_for(
                lambda: all(batch.closed_at or batch.id in self._aside for batch in self._live.values()), timeout
            )

    def stop(self) -> None:
        """Wake the processor to end."""
        with self._change:
            self.stopping = True
            self._change.notify_all()

    def forget_all(self) -> None:
        """For `/_emulator/reset`."""
        with self._change:
            for batch in list(self._live.values()):
                self._remove(batch)
            self._store.reset()

    def order(self, batch: Batch) -> NDArray[np.int64]:
        """The places in the body, in answering order."""
        return answering_order(batch.total, seed=(batch.seed, batch.seq))

    def timetable(self, batch: Batch) -> Timetable:
        """When its requests start and finish; kept while it lives."""
        with self._change:
            if batch.id not in self._tables:
                law = Law.parse(batch.law)
                made = timetable(law, batch.total, lanes=batch.lanes, speed=batch.speed, seed=(batch.seed, batch.seq))
                self._tables[batch.id] = made
            return self._tables[batch.id]

    # ── within ──

    def _seq(self, batch_id: str, workspace: str) -> int:
        anchor = self._store.find(batch_id)  # a deleted one still marks its place, so that paging goes on
        if anchor is None or anchor.workspace != workspace:
            raise not_found(f"Message Batch with id {batch_id} not found.")
        return anchor.seq

    def _waiting(self, batch: Batch, now: int) -> int:
        started = self._started(batch)  # what a cancel stops from beginning has left the queue
        unfinished = int((self.timetable(batch).finishes[:started] > now - batch.created_at).sum())
        unanswered = 0 if batch.closed_at else started - self._answered.get(batch.id, 0)
        return max(unfinished, unanswered)

    def _started(self, batch: Batch) -> int:
        """How many have begun when all is over; they are the first ones in answering order."""
        if batch.cancel_at is None:
            return batch.total
        return int(np.searchsorted(self.timetable(batch).starts, batch.cancel_at - batch.created_at, side="right"))

    def _ends_at(self, batch: Batch) -> int:
        if batch.stuck:
            return FOREVER
        started = self._started(batch)
        finishes = self.timetable(batch).finishes[:started]
        end = batch.created_at + (int(finishes.max()) if started else 0)
        return min(max(end, batch.cancel_at or 0), batch.expires_at)

    def _settled(self, batch: Batch) -> Batch:
        if batch.ended_at is None and batch.closed_at is not None and self.clock.now() >= self._ends_at(batch):
            self._end(batch)
        return batch

    def _end(self, batch: Batch) -> None:
        files = self.folder.batch(batch.id)
        ending = Ending.of(batch, self.timetable(batch), records.load(files.records))
        write_results(files, ending, order=self.order(batch), seed=(batch.seed, batch.seq))
        write_billed(self.folder.billed / batch.workspace / batch.id, ending)
        ending.count(batch)
        batch.ended_at = max(self._ends_at(batch), batch.closed_at or 0)
        sums = list(records.sums(ending.paid, workspace=batch.workspace, mode="batch"))
        self._store.save(batch, billed=sums)
        files.shrink()
        self._forget(batch)

    def _remove(self, batch: Batch) -> None:
        batch.deleted = True
        self._store.save(batch)
        self._forget(batch)
        self.folder.batch(batch.id).remove()

    def _forget(self, batch: Batch) -> None:
        self._live.pop(batch.id, None)
        self._tables.pop(batch.id, None)
        self._answered.pop(batch.id, None)
        self._change.notify_all()


def _undo_half_an_ending(files: BatchFolder) -> None:
    """Killed between renaming the lines and recording the end: it ends again, from the same lines."""
    if files.results.exists() and not files.lines.exists():
        files.results.replace(files.lines)
