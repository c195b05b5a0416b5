"""Chunks in doubt: their batches are looked for in listings, and known for sure by the nonce in their results.

A listing says how many requests a batch has and when it was made, not whose it is. So a batch of the right count is a
candidate; what proves it is a line of its results. Absence counts as proof only after complete listings over ten
minutes of the server's time: the one assumption, that an accepted batch is listed by then. Where the API itself
answered that it is overloaded, one minute: it has refused, and is believed but for what listings show.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from dfbatch.distinct import locate
from dfbatch.errors import NotFound
from dfbatch.ledger.states import ABANDONED, IN_DOUBT, ORPHANED, PLANNED, POSTED, PROVISIONAL, SUBMITTED
from dfbatch.progress.words import duration
from dfbatch.requests import NONCE_WIDTH
from dfbatch.results import lines_in, parse
from dfbatch.run.again import give_up
from dfbatch.run.doubts import PROOF, proof
from dfbatch.run.polling import cancel, check_place
from dfbatch.run.recovery import asked_in
from dfbatch.run.relics import record_of

if TYPE_CHECKING:
    from dfbatch.backends import Batch
    from dfbatch.ledger.records import BatchRecord, ChunkRecord
    from dfbatch.run.loop import Work

log = logging.getLogger("dfbatch")

MARGIN: Final = 600.0  # seconds that the server's clock may disagree with what we take it for
FIRST: Final = 2.0  # seconds between listings at first; doubles …
SLOWEST: Final = 60.0  # … up to this
TOLD: Final = 1.0  # seconds: what the server's clock is told in
PEEKED: Final = 1 << 24  # bytes of results in which a line with an id is looked for: the longest answers have 1 MB


class Search:
    """Looks for the batches of a run's chunks in doubt, and for those it gave up, should they surface late."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._pause = FIRST
        self._due = 0.0
        self._final: set[str] = set()  # abandoned chunks that were looked for when nothing was open any more
        self._seen: dict[str, set[str]] = {}  # by chunk: every batch that may be its
        self._gone: dict[str, float] = {}  # chunks of which one is gone, untold: since when, in the server's clock
        self._hopeless: set[str] = set()  # chunks of which nobody will ever tell

    def _sought(self) -> list[ChunkRecord]:
        work = self._work
        sought = [chunk for chunk in work.chunks(*IN_DOUBT) if work.looks_after(chunk)]
        return sought + [chunk for chunk in work.own(ABANDONED) if work.lock_held]

    def interval(self) -> float:
        """Seconds to the next listing."""
        in_doubt = any(self._work.looks_after(chunk) for chunk in self._work.chunks(*IN_DOUBT))
        return min(max(0.05, self._due - self._work.clock.now()), SLOWEST) if in_doubt else SLOWEST

    def soon(self) -> None:
        """Look at once: a chunk has just come to be in doubt."""
        self._pause, self._due = FIRST, 0.0

    def hopes(self, chunk: ChunkRecord) -> bool:
        """Whether listings may yet tell what became of a chunk in doubt."""
        return chunk.id not in self._hopeless

    async def look(self) -> None:
        """List batches where chunks are in doubt and it is time; carry over what came to light."""
        work = self._work
        sought = self._sought()
        if not self._is_time(sought):
            return
        self._pause = min(self._pause * 2, SLOWEST)
        self._due = work.clock.now() + self._pause
        listing = await work.backend.find(min(chunk.intended for chunk in sought) - MARGIN)
        for chunk in sought:
            check_place(work, f"chunk {chunk.ordinal}", chunk)
        work.hear(listing.now)
        known = work.ledger.known([batch.id for batch in listing.batches])
        unknown = [batch for batch in listing.batches if batch.id not in known]
        unknown = [batch for batch in unknown if not await self._is_told(batch, sought)]
        for chunk in sought:
            self._judge(work.ledger.chunk(chunk.id), unknown, listing.now)
        self._due = min(self._due, work.clock.now() + self._to_proof(listing.now))

    def _to_proof(self, now: float) -> float:
        """Seconds until the first of the chunks in doubt may be proved absent."""
        orphans = self._work.chunks(ORPHANED)
        left = [chunk.orphaned + proof(chunk.doubt) + TOLD - now for chunk in orphans if chunk.orphaned]
        return min([max(FIRST, seconds) for seconds in left], default=SLOWEST)

    def _is_time(self, sought: list[ChunkRecord]) -> bool:
        """Abandoned chunks are looked for while anything is unsent or open, and once at the end."""
        in_doubt = any(chunk.state in IN_DOUBT for chunk in sought)
        if in_doubt or (sought and self._work.chunks(PLANNED, *POSTED, SUBMITTED)):
            return not 0 < self._due - self._work.clock.now() <= SLOWEST
        late = {chunk.id for chunk in sought}
        last, self._final = late - self._final, self._final | late
        return bool(last)

    def _judge(self, chunk: ChunkRecord, unknown: list[Batch], now: float) -> None:
        """One candidate is adopted, unproved; none for long enough is proof that nothing was accepted."""
        if chunk.state not in IN_DOUBT:
            return
        ledger = self._work.ledger
        candidates = {batch.id: batch for batch in unknown if _fits(batch, chunk)}
        adopted = ledger.batch(chunk.id) if chunk.state == PROVISIONAL else None
        gone = self._untold(chunk, {*candidates, *([adopted.id] if adopted else [])}) - candidates.keys()
        if gone:
            self._lament(chunk, gone, now)
        elif adopted and adopted.id not in candidates:
            ledger.happen(chunk.id, "disproved", error=chunk.error)
        elif adopted and len(candidates) > 1:
            ledger.happen(chunk.id, "another candidate", error=chunk.error)
        if not chunk.orphaned:
            ledger.note(chunk.id, orphaned=now)
        elif not candidates and not gone and now - chunk.orphaned > proof(chunk.doubt):
            log.warning("run %s: chunk %d was not accepted: it is in no listing", chunk.run, chunk.ordinal)
            why = f"the server never accepted it: in no listing for {duration(proof(chunk.doubt))}"
            give_up(ledger, self._work.record, chunk, "absent", error=why, asks=not self._work.canceling)
            self._work.restart = True
        elif len(candidates) == 1 and not adopted and not gone:
            (batch,) = candidates.values()
            ledger.happen(chunk.id, "candidate", error=chunk.error, batch=self._record(chunk, batch, proved=False))

    def _untold(self, chunk: ChunkRecord, now: set[str]) -> set[str]:
        """All batches, of now and of before, that may be the chunk's."""
        seen = self._seen.setdefault(chunk.id, set())
        seen |= now
        return seen - self._work.ledger.known([*seen])

    def _lament(self, chunk: ChunkRecord, gone: set[str], now: float) -> None:
        """A batch that may be the chunk's is gone, and did not tell: that proves nothing, now or later."""
        since = self._gone.setdefault(chunk.id, now)
        if now - since >= PROOF and chunk.id not in self._hopeless:
            self._hopeless.add(chunk.id)
            names = ", ".join(sorted(gone))
            why = f"batch {names}, which may have been it, was deleted at the server before it could tell"
            self._work.ledger.note(chunk.id, error=why)
            log.warning("run %s: chunk %d stays in doubt: %s", chunk.run, chunk.ordinal, why)

    async def _is_told(self, batch: Batch, sought: list[ChunkRecord]) -> bool:
        """Whether a batch told whose it is: of a chunk of any run of this ledger, which is noted, or a stranger's."""
        if not batch.ended or not any(_fits(batch, chunk) for chunk in sought):
            return False
        nonces = await self._nonces(batch.id)
        if not nonces:
            return False
        ours = self._work.ledger.with_nonces(nonces)
        if not ours:
            self._work.ledger.is_stranger(batch.id)
        for chunk in ours:
            self._work.ledger.happen(chunk.id, "proved", batch=self._record(chunk, batch, proved=True))
            log.info("run %s: chunk %d is batch %s, by its nonce", chunk.run, chunk.ordinal, batch.id)
            await self._cancel_younger(chunk)
        return True

    async def _cancel_younger(self, late: ChunkRecord) -> None:
        """A lost batch has surfaced after its requests were asked again: what still runs of those is canceled."""
        work = self._work
        if late.state != ABANDONED:
            return
        for chunk in work.ledger.younger(late):
            if chunk.run != work.record.id or not self._holds_all(late, chunk):
                continue
            batch = work.ledger.batch(chunk.id)
            if chunk.state in (PLANNED, *POSTED):
                work.ledger.happen(chunk.id, "cancel")
            elif chunk.state == SUBMITTED and batch:
                log.warning("run %s: a lost batch surfaced: %s, which asks the same, is canceled", chunk.run, batch.id)
                await cancel(work, chunk, batch)

    def _holds_all(self, late: ChunkRecord, younger: ChunkRecord) -> bool:
        theirs, ours = (asked_in(self._work.ledger, chunk)["digest"] for chunk in (late, younger))
        return bool((locate(ours, theirs) >= 0).all())

    async def _nonces(self, batch_id: str) -> set[str]:
        """The nonces in the first lines of a batch's results; none where they cannot be had yet."""
        read = b""
        try:
            async with aclosing(self._work.backend.results(batch_id)) as blocks:  # type: ignore[type-var]
                async for block in blocks:
                    read += block
                    found = _nonces_in(read[: read.rfind(b"\n") + 1])
                    if found or len(read) > PEEKED:
                        return found
        except NotFound:
            return set()
        return _nonces_in(read)

    def _record(self, chunk: ChunkRecord, batch: Batch, *, proved: bool) -> BatchRecord:
        accepted = (batch.created or chunk.intended) - self._work.offset
        return record_of(chunk.id, batch, self._work.backend, accepted=accepted, proved=proved)


def _nonces_in(read: bytes) -> set[str]:
    """What the ids of these lines begin with."""
    found: set[str] = set()
    for raw in read.split(b"\n"):
        line = parse(raw)
        named = [line] if line else [other for other, _, _ in lines_in(raw)]
        found.update(each.custom_id[:NONCE_WIDTH] for each in named)
    return found


def _fits(batch: Batch, chunk: ChunkRecord) -> bool:
    """Whether a batch may be the chunk's: as many requests, and made after they were sent."""
    early = batch.created is not None and batch.created < chunk.intended - MARGIN
    return batch.requests == chunk.requests and not early
