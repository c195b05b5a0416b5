"""What may be sent now: the rest of a run waits for its pilot, and nothing goes that a budget might not cover.

A chunk passes whole, in part (a random draw of it; the rest waits), or not at all. What is under way or in doubt counts
as the most that it may cost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from dfbatch.bounds import Sample, wilson
from dfbatch.errors import BudgetReached, PilotFailed
from dfbatch.ledger.states import (
    ABANDONED,
    COLLECTED,
    ENDED,
    FORGONE,
    IN_DOUBT,
    LOST,
    OVER,
    PLANNED,
    POSTED,
    SPLIT,
    SUBMITTED,
)
from dfbatch.pricing import FROM_BYTES, besides, dollars
from dfbatch.results import CODE
from dfbatch.run import costs, outlook
from dfbatch.run.budgets import budget_of, worst
from dfbatch.run.ending import BUDGET, FAILED
from dfbatch.run.spools import drawn, remove

if TYPE_CHECKING:
    from dfbatch.forecasts import Range
    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

_UNTOLD: Final = (PLANNED, *POSTED)
_UNJUDGED: Final = (*_UNTOLD, *IN_DOUBT, SUBMITTED, ENDED)
AHEAD: Final = {"preflight": _UNTOLD, "warm": _UNJUDGED, "pilot": _UNJUDGED, "now": _UNJUDGED}  # waited for by …
BEHIND: Final = {"warm": ("preflight",), "pilot": ("preflight", "warm"), "now": ("preflight", "warm"), "": tuple(AHEAD)}
ORDER: Final = tuple(AHEAD)
USELESS: Final = tuple(CODE[name] for name in ("refused", "truncated", "invalid", "errored"))
ENOUGH: Final = 20  # answers from which a share is judged
SURE: Final = 1.645  # standard errors: the share is above the limit with a confidence of 95 %
SMALLEST: Final = 50  # of what waits, one part in so many is worth a batch of its own …
LARGEST: Final = 2  # … and one in so many, while something is under way that will tell more
LOOK: Final = 60.0  # seconds between looks while something is under way; what is collected wakes at once


class Gate:
    """Lets the chunks of one run pass, one after the other."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._looks: dict[int, int] = {}  # by the size of the sample: the how many-eth look it is
        self._worst: dict[str, float] = {}  # by chunk: the most that one of its requests may cost, USD
        self._passed: dict[str, float] = {}  # the most that chunks which passed may cost, USD
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
        self._passed.pop(chunk.id, None)
        self._worst.pop(chunk.id, None)  # a batch costs half of what is asked at once

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
                work.say("pilot", "the first part is under way; the rest follows when its answers can be used")
            await work.clock.pause(LOOK, work.stirring)

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
        led = spec.pilot in ("batch", "now") or (spec.pilot and any(each.kind == "pilot" for each in work.chunks()))
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
        work, budget = self._work, budget_of(self._work)
        if budget is None or expected.low <= budget:
            return
        span = f"{dollars(expected.low)} to {dollars(expected.high)}"
        raise PilotFailed(
            f"{FAILED}: {expected.how} the run would cost {span}, more than {BUDGET} {dollars(budget)}",
            "nothing else was sent; the answers are kept: run.partial()",
            hint=f"dfbatch.open({work.record.id!r}).resume(budget={_rounded(expected.high)}) sends the rest;"
            " .resume() sends as much as the budget covers",
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
        work = self._work
        while self._goes_on:
            budget = budget_of(work)
            if budget is None:
                return [chunk]
            held = self._held(chunk)
            spent, reserved = costs.spent(work) or 0.0, costs.unknown(work) + math.fsum(map(self._bound, held))
            size, bound = self._affordable(chunk, budget - spent - reserved)
            waits = any(map(self._may_end, held))
            least = chunk.requests // (LARGEST if waits else SMALLEST)
            if size >= chunk.requests:
                self._passed[chunk.id] = bound
                return [chunk]
            if size >= max(1, least) and (made := self._cut(chunk, size)):
                self._passed[made[0].id] = bound
                return made
            if not waits:
                raise self._reached(spent, budget, chunk)
            work.say("waiting", f"the budget of {dollars(budget)} covers no more before what is under way has come")
            await work.clock.pause(LOOK, work.stirring)
        return []

    def _held(self, asking: ChunkRecord) -> list[ChunkRecord]:
        """What is admitted, under way, in doubt, lost or given up, and may cost something that is not known yet."""
        admitted = [chunk for chunk in self._work.own(PLANNED) if chunk.id in self._passed and chunk.id != asking.id]
        return [*costs.under_way(self._work), *admitted]

    def _bound(self, chunk: ChunkRecord) -> float:
        """The most that a chunk may cost: as it passed, or in the worst case."""
        if chunk.id not in self._passed:
            self._passed[chunk.id] = chunk.requests * self._most(chunk)
        return self._passed[chunk.id]

    def _most(self, chunk: ChunkRecord) -> float:
        """The most that one request of a chunk can cost, looked up once."""
        if chunk.id not in self._worst:
            self._worst[chunk.id] = worst(self._work, chunk)
        return self._worst[chunk.id]

    def _affordable(self, chunk: ChunkRecord, left: float) -> tuple[int, float]:
        """How many requests of a chunk may go, and what they cost at most (USD)."""
        work = self._work
        most = self._most(chunk)
        alike = chunk.kind in ("", "pilot") and not work.record.spec.strict
        seen = costs.answered(work) if alike else np.empty(0)
        self._looks.setdefault(len(seen), len(self._looks) + 1)
        size, bound = Sample.of(seen, most).affordable(left, chunk.requests, look=self._looks[len(seen)])
        return (size if left > 0 or most == 0 else 0), bound

    def _cut(self, chunk: ChunkRecord, size: int) -> list[ChunkRecord]:
        """A random part of a chunk, and the rest, in its place."""
        work = self._work
        made = drawn(work.ledger, chunk, work.record, size)
        if work.ledger.happen(chunk.id, "cut", halves=made) == "ask again":
            return made
        remove(work.ledger, [part.id for part in made])
        return []

    def _reached(self, spent: float, budget: float, chunk: ChunkRecord) -> BudgetReached:
        work, run_id = self._work, self._work.record.id
        waiting = sum(each.requests for each in work.own() if each.state not in OVER)
        expected = costs.expected(work)
        more = expected.high if expected else spent + waiting * self._most(chunk)
        least = dollars(self._most(chunk))
        return BudgetReached(
            f"run {run_id} paused: {BUDGET} {dollars(budget)} is reached, {dollars(spent)} of it spent",
            f"{waiting:,} requests are not sent; what is answered is kept: run.partial()",
            f"one more may cost up to {least}",
            *filter(None, [besides(costs.unknown(work))]),
            hint=f"dfbatch.open({run_id!r}).resume(budget={_rounded(more)}) goes on",
            spent=spent,
            left=budget - spent,
        )


def _rounded(usd: float) -> str:
    """An amount to type: rounded up to two digits.

    >>> _rounded(12.341), _rounded(0.0312)
    ('13', '0.032')
    """
    if usd <= 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return f"{math.ceil(usd / unit) * unit:.2g}" if unit < 1 else f"{math.ceil(usd / unit) * unit:.0f}"
