"""What may be sent now: the rest of a run waits for its pilot, and nothing goes that a budget might not cover.

A chunk passes whole, in part (a random draw of it; the rest waits), or not at all. What is under way or in doubt counts
as the most that it may cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dfbatch.bounds import wilson
from dfbatch.errors import PilotFailed
from dfbatch.ledger.states import (
    ABANDONED,
    COLLECTED,
    ENDED,
    FORGONE,
    IN_DOUBT,
    LOST,
    PLANNED,
    POSTED,
    SPLIT,
    SUBMITTED,
)
from dfbatch.pricing import FROM_BYTES, dollars
from dfbatch.progress.words import many
from dfbatch.results import CODE
from dfbatch.run import costs, outlook
from dfbatch.run.allowance import Allowance
from dfbatch.run.budgets import budget_of
from dfbatch.run.ending import BUDGET, FAILED
from dfbatch.run.leading import why_batch
from dfbatch.run.now import DIRECT, PILOT_NOW
from dfbatch.run.spools import drawn, remove

if TYPE_CHECKING:
    from dfbatch.forecasts import Range
    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

_UNTOLD: Final = (PLANNED, *POSTED)
_UNJUDGED: Final = (*_UNTOLD, *IN_DOUBT, SUBMITTED, ENDED)
# What is waited for, while it is in which state, and by what.
AHEAD: Final = {"preflight": _UNTOLD, **dict.fromkeys(("warm", PILOT_NOW, "pilot", "now"), _UNJUDGED)}
_PILOTED: Final = ("preflight", "warm")
BEHIND: Final = {
    "warm": ("preflight",),
    PILOT_NOW: ("preflight",),
    **dict.fromkeys(("pilot", "now"), _PILOTED),
    "": tuple(AHEAD),
}
ORDER: Final = tuple(AHEAD)
PILOTS: Final = (PILOT_NOW, "pilot")
USELESS: Final = tuple(CODE[name] for name in ("refused", "truncated", "invalid", "errored"))
ENOUGH: Final = 20  # answers from which a share is judged
SURE: Final = 1.645  # standard errors: the share is above the limit with a confidence of 95 %
LOOK: Final = 60.0  # seconds between looks while something is under way; what is collected wakes at once


class Gate:
    """Lets the chunks of one run pass, one after the other."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._allowance = Allowance(work)
        self.stopped = False  # something keeps the run from sending
        self.open = False  # after the user's word: the pilot's verdict does not count any more

    def take(self, queue: list[ChunkRecord]) -> ChunkRecord:
        """The next of a queue: what goes ahead first, so that nothing waits for what is behind it."""
        ranks = [ORDER.index(chunk.kind) if chunk.kind in ORDER else len(ORDER) for chunk in queue]
        first = min(ranks)
        return queue.pop(max(at for at, rank in enumerate(ranks) if rank == first))

    async def admit(self, chunk: ChunkRecord) -> list[ChunkRecord]:
        """The chunk, or a part of it and the rest; nothing where the run is not to send any more.

        What goes ahead of it is waited for.
        """
        await self._wait(chunk, BEHIND.get(chunk.kind, ()))
        await self._settle()
        if self._work.restart and not chunk.kind:  # something else is to be sent, which may go ahead: in the next round
            return []
        if self._goes_on and not chunk.kind:
            self._heed_pilot()
        return await self._afford(chunk)

    def returned(self, chunk: ChunkRecord) -> None:
        """A chunk that passed was not accepted: nothing is held for it until it is admitted anew.

        Else a chunk that asks would wait for it to end, and it would wait for its turn to ask.
        """
        self._allowance.returned(chunk)

    @property
    def _goes_on(self) -> bool:
        return self._work.may_send and not self.stopped

    async def _settle(self) -> None:
        """Wait until all that is collected is laid, in this process too."""
        work = self._work
        while self._goes_on and any(each.id not in work.sheet.laid for each in work.chunks(COLLECTED)):
            await work.clock.pause(LOOK, work.stirring)

    async def _wait(self, chunk: ChunkRecord, kinds: tuple[str, ...]) -> None:
        """Until no chunk of these kinds is waited for any more, be it another run's."""
        work = self._work
        while self._goes_on and any(self._awaits(each) for each in work.chunks() if each.kind in kinds):
            if not chunk.kind:
                if work.restart:
                    return
                work.say("pilot", self._waits_for())
            await work.clock.pause(LOOK, work.stirring)

    def _waits_for(self) -> str:
        """What the rest waits for, how long that may be, and what can be done."""
        ahead = [each for each in self._work.chunks() if each.kind in AHEAD and self._awaits(each)]
        pilots = [each for each in ahead if each.kind in PILOTS]
        count = sum(each.requests for each in pilots or ahead)
        some, goes = many(count, "request"), "goes" if count == 1 else "go"
        if pilots and any(each.kind == PILOT_NOW for each in pilots):
            return (
                f"{some} {goes} ahead at once, to see what answers are like and cost; the rest follows within minutes"
            )
        if not pilots and all(each.kind in DIRECT for each in ahead):
            return f"{some} {goes} ahead at once; the rest follows within minutes"
        why = why_batch(self._work.record) if pilots else "to write the prompt cache"
        return (
            f"{some} {goes} ahead in a batch{f' ({why})' if why else ''}, and the rest waits for that: most batches end"
            " within an hour, 24 hours at most"
            f"{'; pilot=False sends all at once' if pilots else '; cache=None sends all at once'}"
        )

    def _awaits(self, ahead: ChunkRecord) -> bool:
        return ahead.state in AHEAD[ahead.kind] and self._may_end(ahead)

    def _may_end(self, chunk: ChunkRecord) -> bool:
        """Whether waiting may bring the answers of a chunk: not of one that is lost, or of which none will tell."""
        if chunk.state in IN_DOUBT:
            return self._work.search.hopes(chunk)
        return chunk.state not in (LOST, FORGONE, ABANDONED)

    # ------------------------------------------------------------------ pilot

    def _heed_pilot(self) -> None:
        work, spec = self._work, self._work.record.spec
        led = spec.pilot not in ("", "auto") or (spec.pilot and any(each.kind in PILOTS for each in work.chunks()))
        if led and spec.max_failed is not None and not self.open:
            self._judge(spec.max_failed)
        expected = self._foreseen()
        if led and expected is not None and not self.open:
            self._weigh(expected)

    def _foreseen(self) -> Range | None:
        """What the run will cost by answers that are there, before the rest goes; those of its own pilot are kept."""
        work = self._work
        rest = [chunk for chunk in work.own() if not chunk.kind]
        if any(chunk.state not in (PLANNED, SPLIT) for chunk in rest):
            return None
        expected = costs.expected(work)
        if expected is None or expected.how == FROM_BYTES:
            return None
        if len(rest) < len(work.own()):
            outlook.note(work.ledger, work.record.id, expected)
        return expected

    def _weigh(self, expected: Range) -> None:
        """Raise where the budget will not do, by the low end of the forecast."""
        budget = budget_of(self._work)
        if budget is None or expected.low <= budget:
            return
        span = f"{dollars(expected.low)} to {dollars(expected.high)}"
        raise PilotFailed(
            f"{FAILED}: {expected.how} the run would cost {span}, more than {BUDGET} {dollars(budget)}",
            "nothing else was sent; the answers are kept: run.partial()",
            hint=f"{self._allowance.way_on(budget)}; .resume() sends as much as the budget covers",
        )

    def _judge(self, limit: float) -> None:
        """Raise where too many of the answers that are there cannot be used."""
        work = self._work
        outcomes = work.sheet.found["outcome"][work.sheet.source >= 0]
        useless, count = int(np.isin(outcomes, USELESS).sum()), len(outcomes)
        if count < ENOUGH or wilson(useless, count, errors=SURE)[0] <= limit:
            return
        raise PilotFailed(
            f"{FAILED}: {useless:,} of the first {count:,} answers cannot be used ({useless / count:.0%}), more than"
            f" max_failed={limit:g}",
            "nothing else was sent; the answers are kept: run.failures() shows what is wrong with them",
            hint="mend prompt, schema or max_tokens and run the cell again;"
            f" dfbatch.open({work.record.id!r}).resume() sends the rest all the same",
        )

    # ----------------------------------------------------------------- budget

    async def _afford(self, chunk: ChunkRecord) -> list[ChunkRecord]:
        """As much of a chunk as the budget covers for sure; waits for what is under way where that is too little."""
        work, allowance = self._work, self._allowance
        while self._goes_on:
            budget = budget_of(work)
            if budget is None:
                return [chunk]
            await allowance.look_up(chunk)
            held = allowance.held(chunk)
            waits = any(map(self._may_end, held))
            size = allowance.size(chunk, held, budget, waits=waits)
            if size >= chunk.requests:
                allowance.passed.add(chunk.id)
                return [chunk]
            if size and (made := self._cut(chunk, size)):
                allowance.passed.add(made[0].id)
                return made
            if not waits:
                raise allowance.reached(chunk, held, budget)
            work.say("waiting", f"{BUDGET} {dollars(budget)} covers no more before what is under way has come")
            await work.clock.pause(LOOK, work.stirring)
        return []

    def _cut(self, chunk: ChunkRecord, size: int) -> list[ChunkRecord]:
        """A random part of a chunk, and the rest, in its place."""
        work = self._work
        made = drawn(work.ledger, chunk, work.record, size)
        if work.ledger.happen(chunk.id, "cut", halves=made) == "ask again":
            return made
        remove(work.ledger, [part.id for part in made])
        return []
