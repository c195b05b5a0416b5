"""What may be sent now: the rest of a run waits for its pilot, and nothing goes that a budget might not cover.

A chunk passes whole, in part (a random draw of it; the rest waits), or not at all. What is under way or in doubt counts
as the most that it may cost.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from dfbatch.bounds import Sample
from dfbatch.errors import BudgetReached, PilotFailed
from dfbatch.ledger.states import COLLECTED, ENDED, IN_DOUBT, OVER, PLANNED, POSTED, SUBMITTED
from dfbatch.pricing import dollars
from dfbatch.results import CODE
from dfbatch.run import costs
from dfbatch.run.budgets import budget_of, worst
from dfbatch.run.spools import drawn, remove

if TYPE_CHECKING:
    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

LED: Final = ("warm", "pilot", "now")  # what waits for some of what goes ahead
_UNTOLD: Final = (PLANNED, *POSTED)
_UNJUDGED: Final = (*_UNTOLD, *IN_DOUBT, SUBMITTED, ENDED)
AHEAD: Final = [("preflight", _UNTOLD), ("warm", _UNJUDGED), ("pilot", _UNJUDGED), ("now", _UNJUDGED)]
USELESS: Final = tuple(CODE[name] for name in ("refused", "truncated", "invalid", "errored"))
ENOUGH: Final = 20  # answers from which a share is judged
SURE: Final = 1.645  # standard errors: the share is above the limit with a confidence of 95 %
SMALLEST: Final = 50  # of what waits, one part in so many is worth a batch of its own …
LARGEST: Final = 2  # … and one in so many, while something is under way that will tell more
FAILED: Final = "the pilot failed"
LOOK: Final = 60.0  # seconds between looks while something is under way; what is collected wakes at once


class Gate:
    """Lets the chunks of one run pass, one after the other."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._looks: dict[int, int] = {}  # by the size of the sample: the how many-eth look it is
        self._worst: dict[str, float] = {}  # by chunk: the most that one of its requests may cost, USD
        self._passed: dict[str, float] = {}  # the most that chunks which passed may cost, USD
        self.open = False  # after the user's word: the pilot's verdict does not count any more

    async def admit(self, queue: list[ChunkRecord]) -> list[ChunkRecord]:
        """The last of a queue, or a part of it and the rest; nothing where the run is not to send any more.

        What goes ahead is waited for. The queue is emptied where sending has stopped.
        """
        chunk = queue[-1]
        if chunk.kind in LED:
            await self._wait(queue, for_=AHEAD[: 1 if chunk.kind == "warm" else 2])
        if not chunk.kind:
            await self._wait(queue, for_=AHEAD)
            if await self._settled(queue):
                self._heed_pilot()
        if not await self._settled(queue):
            return []
        return await self._afford(queue)

    async def _settled(self, queue: list[ChunkRecord]) -> bool:
        """Wait until all that is collected is laid, in this process too; whether sending goes on."""
        work = self._work
        while queue and work.may_send and any(each.id not in work.sheet.laid for each in work.chunks(COLLECTED)):
            await work.clock.pause(LOOK, work.stirring)
        return bool(queue) and work.may_send

    async def _wait(self, queue: list[ChunkRecord], for_: list[tuple[str, tuple[str, ...]]]) -> None:
        """Until no chunk of these kinds is in these states any more, be it another run's."""
        work = self._work
        while queue and work.may_send and any(self._is(kind, states) for kind, states in for_):
            if not queue[-1].kind:
                work.say("pilot", "the first part is under way; the rest follows when its answers can be used")
            await work.clock.pause(LOOK, work.stirring)

    def _is(self, kind: str, states: tuple[str, ...]) -> bool:
        return any(chunk.kind == kind for chunk in self._work.chunks(*states))

    # ------------------------------------------------------------------ pilot

    def _heed_pilot(self) -> None:
        work, spec = self._work, self._work.record.spec
        led = spec.pilot in ("batch", "now") or (spec.pilot and any(each.kind == "pilot" for each in work.chunks()))
        if work.may_send and led and spec.max_failed is not None and not self.open:
            self._judge(spec.max_failed)

    def _judge(self, limit: float) -> None:
        """Raise where too many of the answers that are there cannot be used."""
        work = self._work
        outcomes = work.sheet.found["outcome"][work.sheet.source >= 0]
        useless, count = int(np.isin(outcomes, USELESS).sum()), len(outcomes)
        if count < ENOUGH or _at_least(useless, count) <= limit:
            return
        raise PilotFailed(
            f"{FAILED}: {useless:,} of the first {count:,} answers cannot be used ({useless / count:.0%}), more than"
            f" max_failed={limit:g}",
            "nothing else was sent; the answers are kept: run.failures() shows what is wrong with them",
            hint="mend prompt, schema or max_tokens and run the cell again;"
            f" dfbatch.open({work.record.id!r}).resume() sends the rest all the same",
        )

    # ----------------------------------------------------------------- budget

    async def _afford(self, queue: list[ChunkRecord]) -> list[ChunkRecord]:
        """As much of a chunk as the budget covers for sure; waits for what is under way where that is too little."""
        work, chunk = self._work, queue[-1]
        while queue and work.may_send:
            budget = budget_of(work)
            if budget is None:
                return [chunk]
            spent, reserved = costs.spent(work) or 0.0, self._reserved(chunk)
            size, bound = self._affordable(chunk, budget - spent - reserved)
            least = chunk.requests // (LARGEST if reserved else SMALLEST)
            if size >= chunk.requests:
                self._passed[chunk.id] = bound
                return [chunk]
            if size >= max(1, least) and (made := self._cut(chunk, size)):
                self._passed[made[0].id] = bound
                return made
            if reserved <= 0:
                raise self._reached(spent, budget, chunk)
            work.say("waiting", f"the budget of {dollars(budget)} covers no more before what is under way has come")
            await work.clock.pause(LOOK, work.stirring)
        return []

    def _reserved(self, asking: ChunkRecord) -> float:
        """The most that what is admitted, under way, in doubt or lost may cost: as it passed, or in the worst case."""
        work, under_way = self._work, costs.under_way(self._work)
        for chunk in under_way:
            if chunk.id not in self._passed:
                self._passed[chunk.id] = chunk.requests * self._most(chunk)
        admitted = [chunk for chunk in work.own(PLANNED) if chunk.id in self._passed and chunk.id != asking.id]
        return math.fsum(self._passed[chunk.id] for chunk in (*under_way, *admitted))

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
            f"run {run_id} paused: its budget of {dollars(budget)} is reached, {dollars(spent)} of it spent",
            f"{waiting:,} requests are not sent; what is answered is kept: run.partial()",
            f"one more may cost up to {least}",
            hint=f"dfbatch.open({run_id!r}).resume(budget={_rounded(more)}) goes on",
            spent=spent,
            left=budget - spent,
        )


def _at_least(useless: int, count: int) -> float:
    """The lower end of Wilson's interval for a share: it is at least that, with a confidence of 95 %."""
    share, z2 = useless / count, SURE**2
    middle = share + z2 / (2 * count)
    spread = SURE * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return (middle - spread) / (1 + z2 / count)


def _rounded(usd: float) -> str:
    """An amount to type: rounded up to two digits.

    >>> _rounded(12.341), _rounded(0.0312)
    ('13', '0.032')
    """
    if usd <= 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return f"{math.ceil(usd / unit) * unit:.2g}" if unit < 1 else f"{math.ceil(usd / unit) * unit:.0f}"
