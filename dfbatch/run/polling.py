"""The state of batches we know: when to look, what to make of it, and what a batch that is gone means.

Looking for batches we do not know is in `search.py`.
"""

from __future__ import annotations

import logging
import time
import zlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from dfbatch.backends.faults import certain
from dfbatch.errors import ApiError, RateLimited, Unauthorized, WrongWorkspace
from dfbatch.ledger.states import ENDED, SUBMITTED
from dfbatch.progress.words import many
from dfbatch.run.ending import first_line

if TYPE_CHECKING:
    from dfbatch.backends import Batch
    from dfbatch.ledger.records import BatchRecord, ChunkRecord
    from dfbatch.run.loop import Work

log = logging.getLogger("dfbatch")

PLACE: Final = ("organization", "workspace")
SLOWEST: Final = 120.0  # seconds: the end of a batch is noticed within this …
EAGER: Final = 5.0  # … or this, while it is young …
SHARE: Final = 0.05  # … or this part of its age
FIRST_LOOK: Final = 0.1  # seconds after a chunk was accepted, where only a few are open; doubles with its age
FEW: Final = 4
FIRST_RETRY: Final = 1.0  # seconds until results that were not there are asked for again; doubles
BELIEVED_LOST: Final = 300.0  # seconds that a batch we know may answer 404: reads lag behind writes
KEPT_DAYS: Final = (
    29  # results can be had for this long after creation; platform.claude.com, Message Batches, August 2026
)
NEAR: Final = timedelta(hours=1)  # an end this near is told
LAST_DAYS: Final = 3  # so many days before results vanish it is told


class Poller:
    """Looks at the open batches of one run."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._gone_since: dict[str, float] = {}
        self._looks = 0
        self._due = 0.0
        self._warned: set[str] = set()
        self._warned_gone: set[str] = set()
        self._placed = False  # whether the server told where this key belongs
        self._later: dict[str, float] = {}  # chunks whose results were not to be had: when to ask again

    def open(self) -> list[tuple[ChunkRecord, BatchRecord]]:
        """Chunks that the server has, and their batches."""
        return self._work.ledger.open_batches(self._work.record.id)

    def interval(self) -> float:
        """Seconds to the next look; where nothing is open, whatever happens wakes the loop."""
        due = [*self._later.values(), *([self._due] if self._work.chunks(SUBMITTED) else [])]
        return min(max(0.0, min(due) - self._work.clock.now()), SLOWEST) if due else SLOWEST

    def may_collect(self, chunk: ChunkRecord) -> bool:
        """Whether it is time to ask for the results of a batch that has ended."""
        if self._later.get(chunk.id, 0.0) > self._work.clock.now():
            return False
        self._later.pop(chunk.id, None)
        return True

    def soon(self) -> None:
        """A chunk was just accepted: where only a few are open, its end is looked for at once."""
        eager = FIRST_LOOK if len(self.open()) <= FEW else EAGER
        self._due = min(self._due, self._work.clock.now() + eager)

    def now(self) -> None:
        """Look at the next opportunity."""
        self._due = 0.0

    def _pause(self, found: list[tuple[ChunkRecord, BatchRecord]]) -> float:
        """Seconds between looks, by the age of the youngest open batch."""
        youngest = max(0.0, min(self._work.clock.now() - batch.accepted for _, batch in found))
        soon = max(FIRST_LOOK, min(EAGER, youngest)) if len(found) <= FEW else EAGER
        self._looks += 1
        jitter = 0.9 + 0.1 * (zlib.crc32(f"{self._work.record.id} {self._looks}".encode()) % 100) / 100
        return min(SLOWEST, max(soon, SHARE * youngest)) * jitter

    async def poll(self) -> None:
        """Ask for the state of all open batches where it is time, in as few calls as possible."""
        work = self._work
        found = self.open()
        if found and work.canceling:
            await self._cancel(found)
        if not found or 0 < self._due - work.clock.now() <= SLOWEST:
            return
        told = await work.backend.poll({batch.id for _, batch in found})
        self._due = work.clock.now() + self._pause(found)
        for chunk, record in found:
            batch = told[record.id]
            if batch is None:
                await self.missed(chunk)
            elif batch.archived_at:
                self._gone(chunk, f"the results of batch {batch.id} were archived on {batch.archived_at}")
            else:
                self._note(chunk, record, batch)

    def _note(self, chunk: ChunkRecord, record: BatchRecord, batch: Batch) -> None:
        self._gone_since.pop(chunk.id, None)
        if batch.processing_status != record.status or batch.ended:
            self._work.ledger.update_batch(chunk.id, status=batch.processing_status, ended_at=batch.ended_at or "")
        if batch.ended:
            self._work.ledger.happen(chunk.id, "ended")

    async def _cancel(self, found: list[tuple[ChunkRecord, BatchRecord]]) -> None:
        for chunk, batch in found:
            if chunk.run == self._work.record.id and batch.status == "in_progress":
                self._work.ledger.happen(chunk.id, "cancel")
                await cancel(self._work, chunk, batch)

    async def missed(self, chunk: ChunkRecord) -> None:
        """A 404 on a batch that we know is believed only after minutes, and never of a key that cannot see it."""
        batch = self._work.ledger.batch(chunk.id)
        assert batch is not None
        if not self._placed:  # a 404 need not tell whose key this is, a listing does
            await self._work.backend.probe()
            self._placed = True
        check_place(self._work, f"batch {batch.id}", batch)
        now = self._work.clock.now()
        since = self._gone_since.setdefault(chunk.id, now)
        if chunk.id not in self._warned_gone:
            self._warned_gone.add(chunk.id)
            log.info("run %s: %s", chunk.run, self._missing(chunk, batch.id))
        if now - since >= BELIEVED_LOST:
            self._gone(chunk, f"batch {batch.id} is not there any more: it was deleted at the server")
        elif chunk.state == ENDED:
            self._later[chunk.id] = now + min(max(FIRST_RETRY, now - since), SLOWEST)

    def _gone(self, chunk: ChunkRecord, why: str) -> None:
        self._work.ledger.happen(chunk.id, "gone", error=why)
        log.warning("run %s: %s", chunk.run, why)

    def missing(self) -> str:
        """One line about batches of which the server says that they are not there; empty where it shows all."""
        gone = [chunk for chunk in self._work.chunks(SUBMITTED, ENDED) if chunk.id in self._gone_since]
        known = [(chunk, batch) for chunk in gone if (batch := self._work.ledger.batch(chunk.id))]
        if not known:
            return ""
        first = min(known, key=lambda pair: self._gone_since[pair[0].id])
        more = f" (and {many(len(known) - 1, 'more batch')})" if len(known) > 1 else ""
        return self._missing(first[0], first[1].id) + more

    def _missing(self, chunk: ChunkRecord, batch_id: str) -> str:
        """What is believed of a batch that answers 404, until when, and what comes then."""
        until = time.strftime("%H:%M", time.localtime(self._gone_since[chunk.id] + BELIEVED_LOST))
        what = f"the results of batch {batch_id} are" if chunk.state == ENDED else f"batch {batch_id} is"
        return (
            f"the server says that {what} not there (404); that may pass, so it is asked again until {until}"
            f" ({BELIEVED_LOST / 60:.0f} minutes); then the run pauses and says how to go on"
        )

    def notice(self) -> str:
        """One line about a batch that cannot be seen, or about the end of a batch's life, where it is near."""
        if missing := self.missing():
            return missing
        told = [line for chunk, batch in self.open() if (line := self._near(chunk, batch))]
        return told[0] if told else ""

    def _near(self, chunk: ChunkRecord, batch: BatchRecord) -> str:
        now = self._work.clock.now() + self._work.offset
        ends = moment(batch.expires_at)
        kept = kept_until(batch.created_at)
        if ends and timedelta(0) <= ends - datetime.fromtimestamp(now, ends.tzinfo) <= NEAR:
            line = f"batch {batch.id} expires at {ends:%H:%M} UTC: what is not answered by then is not billed"
        elif kept and (days := (kept - datetime.fromtimestamp(now, kept.tzinfo)).days) <= LAST_DAYS:
            line = f"the results of batch {batch.id} can be had for {days} days, until {kept.date()}"
            if days < 0:
                line = f"the results of batch {batch.id} could be had until {kept.date()}"
        else:
            return ""
        if chunk.id not in self._warned:
            self._warned.add(chunk.id)
            log.warning("run %s: %s", chunk.run, line)
        return line


async def cancel(work: Work, chunk: ChunkRecord, batch: BatchRecord) -> None:
    """Ask the server to stop a batch; one that has ended meanwhile, or is gone, is told by the next look."""
    try:
        told = await work.backend.cancel(batch.id)
    except ApiError as error:
        if not certain(error.status) or isinstance(error, Unauthorized | RateLimited):
            raise
        log.info("run %s: batch %s cannot be canceled: %s", chunk.run, batch.id, first_line(error))
        work.ledger.update_batch(chunk.id, status="canceling", ended_at="")
        work.poller.now()
    else:
        work.ledger.update_batch(chunk.id, status=told.processing_status, ended_at=told.ended_at or "")


def check_place(work: Work, what: str, known: BatchRecord | ChunkRecord) -> None:
    """Raise where this key is of another organization or workspace: it cannot see what it asks for."""
    for name in PLACE:
        theirs, ours = getattr(known, name), getattr(work.backend, name, "")
        if theirs and ours and theirs != ours:
            run_id = work.record.id
            raise WrongWorkspace(
                f"{what} of run {run_id} belongs to {name} {theirs}, and this key to {ours}",
                "nothing is lost, and nothing was sent: the batch goes on",
                hint=f"set ANTHROPIC_API_KEY to a key of that {name}, then dfbatch.open({run_id!r}).wait()",
            )


def moment(text: str) -> datetime | None:
    """A time as the server wrote it."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    return told if told.tzinfo else None


def kept_until(created_at: str) -> datetime | None:
    """When the results of a batch vanish."""
    created = moment(created_at)
    return created and created + timedelta(days=KEPT_DAYS)
