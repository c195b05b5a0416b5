"""How requests were asked by a run: how often, with which limits one after the other, and what all of it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfbatch.pricing import dollars
from dfbatch.run.costs import by_request

if TYPE_CHECKING:
    from dfbatch.ledger.records import RunRecord
    from dfbatch.models import Models
    from dfbatch.run.sheet import Sheet

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Attempts:
    """What became of some requests before their last answer; USD is None where a price is not known.

    >>> print(Attempts(2, 2, (50, 200), 0.0045))
    asked twice, $0.0045 spent on them
    >>> print(Attempts(1, 3, (50,), 0.0))
    asked 1 to 3 times
    """

    fewest: int = 0
    most: int = 0
    limits: tuple[int, ...] = ()  # max_tokens, each time that it changed
    usd: float | None = 0.0
    as_if: bool = False

    @classmethod
    def of(cls, sheet: Sheet, record: RunRecord, models: Models, requests: Array) -> Attempts:
        """The attempts of this run alone: what earlier runs asked is theirs."""
        these = np.unique(requests[requests >= 0])
        counts = np.zeros(len(sheet.requests), np.int64)
        limits: list[int] = []
        for chunk in sorted(sheet.chunks, key=lambda chunk: chunk.seq):
            if (bill := sheet.bills.get(chunk.id)) is not None:
                targets = bill.targets[bill.targets >= 0]
                np.add.at(counts, targets, 1)
                if np.isin(these, targets).any() and limits[-1:] != [chunk.max_tokens]:
                    limits.append(chunk.max_tokens)
        if not len(these):
            return cls()
        usd = by_request(sheet, record, models)
        spent = None if usd is None else float(usd[these].sum())
        return cls(int(counts[these].min()), int(counts[these].max()), tuple(limits), spent, not record.spends)

    def __str__(self) -> str:
        """`asked twice, $0.0045 spent on them`; empty where they were asked once, and cost nothing."""
        spent = f"{dollars(self.usd, as_if=self.as_if)} spent on them" if self.usd else ""
        often = self.often if self.most > 1 or spent else ""
        return ", ".join(filter(None, [often, spent]))

    @property
    def often(self) -> str:
        """How often they were asked, in words."""
        if self.fewest < self.most:
            return f"asked {self.fewest} to {self.most} times"
        return f"asked {_TIMES.get(self.most, f'{self.most} times')}"


_TIMES = {1: "once", 2: "twice"}
