"""How much of a chunk a budget allows now, and what a run says where that is too little. Who asks is `gate.py`.

What is under way or in doubt counts as the most that it may cost: by the answers so far, where it is of the same random
order as they are, else as if every answer were as long as max_tokens.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch import waves
from dfbatch.bounds import Sample
from dfbatch.errors import BudgetReached
from dfbatch.ledger.states import ABANDONED, OVER, PLANNED, RELEASED, SPLIT
from dfbatch.pricing import besides, dollars
from dfbatch.progress.words import many
from dfbatch.run import budgets, costs
from dfbatch.run.budgets import ALIKE
from dfbatch.run.ending import BUDGET
from dfbatch.run.now import PILOT_NOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

    Array = np.ndarray[Any, np.dtype[Any]]

FEW: Final = 2  # answers by which others are told


class Allowance:
    """What one run may still spend, chunk by chunk."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._worst: dict[str, float] = {}  # by chunk: the most that one of its requests may cost, USD
        self.passed: set[str] = set()  # chunks that may go, and went or are about to

    def held(self, asking: ChunkRecord) -> list[ChunkRecord]:
        """What is admitted, under way, in doubt, lost or given up, and may cost something that is not known yet."""
        own = self._work.own(PLANNED)
        admitted = [chunk for chunk in own if chunk.id in self.passed and chunk.id != asking.id]
        return [*costs.under_way(self._work), *admitted]

    def returned(self, chunk: ChunkRecord) -> None:
        """Forget a chunk that passed and was not accepted."""
        self.passed.discard(chunk.id)
        self._worst.pop(chunk.id, None)  # a batch costs half of what is asked at once

    async def look_up(self, chunk: ChunkRecord) -> None:
        """The most that requests may cost, of all chunks that count for this one: their spools are read once."""
        near = [each for each in self._work.own() if self._alike(each) and each.state not in OVER]
        new = [each for each in (chunk, *self.held(chunk), *near) if each.id not in self._worst]
        for each in {each.id: each for each in new}.values():
            self._worst[each.id] = await asyncio.to_thread(budgets.worst, self._work, each)

    def size(self, chunk: ChunkRecord, held: Sequence[ChunkRecord], budget: float, *, waits: bool) -> int:
        """How many requests of a chunk may go now; none where those are too few for a batch.

        A later batch may tell more where something under way `waits`.
        """
        left = budget - self.spent - self._unknown - self._reserved(each for each in held if not self._alike(each))
        if left <= 0 < self._worst[chunk.id]:
            return 0
        if self._alike(chunk):
            ahead = sum(each.requests for each in held if self._alike(each))
            rest, of, cuts = self._rest(), self._of(), budgets.cuts(self._work.ledger, self._work.record.id)
            return waves.going(
                self._sample(), left, chunk.requests, rest=rest, ahead=ahead, of=of, cuts=cuts, waits=waits
            )
        left -= self._reserved_alike(held)
        sample = Sample(most=self._worst[chunk.id])
        if chunk.kind == PILOT_NOW:  # in seconds: as many as may go, in as many parts as it takes
            return sample.affordable(left, chunk.requests)
        return waves.going(sample, left, chunk.requests, waits=waits)

    @property
    def spent(self) -> float:
        """USD so far."""
        return costs.spent(self._work) or 0.0

    @property
    def _unknown(self) -> float:
        """What lost replies may have cost at most."""
        return costs.unknown(self._work)

    def _alike(self, chunk: ChunkRecord) -> bool:
        """Whether the costs of a chunk can be told by the answers so far."""
        return chunk.kind in ALIKE and not self._work.record.spec.strict

    def _reserved(self, chunks: Iterable[ChunkRecord]) -> float:
        return math.fsum(each.requests * self._worst[each.id] for each in chunks)

    def _reserved_alike(self, held: Sequence[ChunkRecord]) -> float:
        """The most that what is under way may cost, of what answers tell."""
        ahead = sum(each.requests for each in held if self._alike(each))
        return self._sample().next(ahead, self._of()) if ahead else 0.0

    def _sample(self) -> Sample:
        alike = [each for each in self._work.own() if self._alike(each) and each.id in self._worst]
        return Sample.of(costs.sampled(self._work), max((self._worst[each.id] for each in alike), default=0.0))

    def _of(self) -> int:
        """Requests of the run that are in one random order."""
        own = [each for each in self._work.own() if each.state not in (SPLIT, RELEASED, ABANDONED)]
        return sum(each.requests for each in own if each.kind in (*ALIKE, PILOT_NOW))

    def _rest(self) -> int:
        planned = [each for each in self._work.own(PLANNED) if each.id not in self.passed]
        return sum(each.requests for each in planned if self._alike(each))

    # ----------------------------------------------------------------- telling

    def reached(self, chunk: ChunkRecord, held: Sequence[ChunkRecord], budget: float) -> BudgetReached:
        """What to raise where nothing of a chunk may go, and nothing is waited for."""
        run_id, spent = self._work.record.id, self.spent
        reserved = self._reserved(each for each in held if not self._alike(each)) + self._reserved_alike(held)
        left = budget - spent - self._unknown - reserved
        waiting = sum(each.requests for each in self._work.own() if each.state not in OVER)
        most = self._worst[chunk.id]
        alike = self._alike(chunk)
        sample = self._sample() if alike else Sample(most=most)
        fits = sample.affordable(left, chunk.requests, of=self._of() if alike else 0) if left > 0 else 0
        some = f"{fits:,} of {many(waiting, 'request')}" if fits else f"not one of {many(waiting, 'request')}"
        held_back = f"; up to {dollars(reserved)} more for what is in doubt or lost" if reserved else ""
        return BudgetReached(
            f"run {run_id} paused with {dollars(max(0.0, left))} left of {BUDGET} {dollars(budget)}: too little for a"
            f" batch worth sending ({some}, up to {dollars(most)} each)",
            f"{dollars(spent)} is spent{held_back}; what is answered is kept: run.partial()",
            *filter(None, [besides(self._unknown)]),
            hint=self.way_on(budget),
            spent=spent,
            left=budget - spent,
        )

    def way_on(self, budget: float) -> str:
        """What finishes the run, and what that is likely to cost."""
        expected = costs.expected(self._work)
        told = f" (likely to cost {dollars(expected.likely)})" if expected else ""
        need = max(self.needed(), 1.01 * budget)
        return f"dfbatch.open({self._work.record.id!r}).resume(budget={rounded(need)}) finishes it{told}"

    def needed(self) -> float:
        """The budget that lets all go in a few batches, where the rest is as dear as the high end of the forecast."""
        work = self._work
        ahead = [each for each in work.own() if each.state not in OVER and each.id not in work.sheet.bills]
        alike = [each for each in ahead if self._alike(each)]
        for each in ahead:
            if each.id not in self._worst:
                self._worst[each.id] = budgets.worst(work, each)
        certain = self.spent + self._unknown + self._reserved(each for each in ahead if not self._alike(each))
        count, sample = sum(each.requests for each in alike), self._sample()
        if not count:
            return certain
        return certain + waves.enough(sample.costs, self._assumed(sample, count), sample.most)

    def _assumed(self, sample: Sample, count: int) -> Array:
        """Costs of so many more: like those seen, but as dear in all as the high end of the forecast."""
        expected = costs.expected(self._work)
        if expected is None or len(sample.costs) < FEW:
            return np.full(count, sample.most)
        chance = np.random.default_rng(len(sample.costs))
        drawn: Array = chance.choice(sample.costs, count)
        dear = max(0.0, expected.high - self.spent) / max(1e-12, float(drawn.sum()))
        return np.minimum(drawn * max(1.0, dear), sample.most)


def rounded(usd: float) -> str:
    """An amount to type: rounded up to two digits.

    >>> rounded(12.341), rounded(0.0312)
    ('13', '0.032')
    """
    if usd <= 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return f"{math.ceil(usd / unit) * unit:.2g}" if unit < 1 else f"{math.ceil(usd / unit) * unit:.0f}"
