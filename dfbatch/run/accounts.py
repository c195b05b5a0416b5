"""What all runs of the ledger cost, by run, model or day, from what was found when their batches were collected."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dfbatch import pricing
from dfbatch.errors import LedgerDamaged, OptionError
from dfbatch.ledger.states import COLLECTED
from dfbatch.pricing import NONE, Tokens, besides, dollars
from dfbatch.progress.words import plain
from dfbatch.run.costs import BATCHED
from dfbatch.run.prices import known
from dfbatch.run.recovery import found_of
from dfbatch.run.unheard import unheard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord

DAY: Final = 86_400.0  # seconds

_BY: Final[dict[str, Callable[[RunRecord, ChunkRecord], str]]] = {
    "run": lambda record, _: f"{record.id} {plain(record.name)}".rstrip(),
    "model": lambda record, chunk: chunk.model or record.model,
    "day": lambda _, chunk: time.strftime("%Y-%m-%d", time.localtime(chunk.changed)),
}


@dataclass(frozen=True, slots=True)
class Account:
    """One line: what it is about, requests answered, tokens, USD (None: a price is not known)."""

    about: str
    requests: int = 0
    tokens: Tokens = NONE
    spent: float | None = 0.0
    as_if: bool = False
    unknown: float | None = 0.0  # USD at most that may have been billed besides: replies that were lost

    def __str__(self) -> str:
        """The line."""
        usd, used = dollars(self.spent, as_if=self.as_if), self.tokens
        line = f"{self.about:<24} {self.requests:>10,} requests  {usd:>14}  ({used.input:,} in, {used.output:,} out)"
        return "  ".join(filter(None, [line, besides(self.unknown)]))

    def plus(self, other: Account) -> Account:
        """Both."""
        known_too = self.spent is not None and other.spent is not None
        return Account(
            self.about,
            self.requests + other.requests,
            self.tokens + other.tokens,
            (self.spent or 0.0) + (other.spent or 0.0) if known_too else None,
            self.as_if,
            None if None in (self.unknown, other.unknown) else (self.unknown or 0.0) + (other.unknown or 0.0),
        )


def accounts(ledger: Ledger, *, since: float, by: str) -> list[Account]:
    """A line for each run, model or day in which something was collected since then, in order; sums at the end.

    What was spent and what is as-if (the local model, an emulator) is never summed.
    """
    if by not in _BY:
        raise OptionError(f"by={by!r}", hint="one of " + ", ".join(map(repr, _BY)))
    lines: dict[tuple[str, bool], Account] = {}
    for record in reversed(ledger.runs()):
        for chunk in ledger.chunks(record.id):
            counts = chunk.state == COLLECTED or chunk.unheard
            if counts and chunk.run == record.id and chunk.changed >= since:
                account = _account(ledger, record, chunk, _BY[by](record, chunk))
                key = (account.about, account.as_if)
                lines[key] = lines[key].plus(account) if key in lines else account
    return [*lines.values(), *_totals(lines.values())]


def _totals(lines: Iterable[Account]) -> list[Account]:
    totals: dict[bool, Account] = {}
    for line in lines:
        totals[line.as_if] = totals.get(line.as_if, Account("all", as_if=line.as_if)).plus(line)
    return [totals[as_if] for as_if in sorted(totals)]


def spent(ledger: Ledger, record: RunRecord, chunks: Iterable[ChunkRecord]) -> float | None:
    """USD that a run's own chunks cost, as far as they are collected."""
    total = Account("")
    for chunk in chunks:
        if chunk.run == record.id and chunk.state == COLLECTED:
            total = total.plus(_account(ledger, record, chunk, ""))
    return total.spent


def _account(ledger: Ledger, record: RunRecord, chunk: ChunkRecord, about: str) -> Account:
    if chunk.state != COLLECTED:
        return Account(about, as_if=not record.spends, unknown=unheard([chunk]))
    try:
        found = found_of(ledger, chunk)
    except LedgerDamaged:
        return Account(about, requests=chunk.requests, spent=None, as_if=not record.spends)
    model = known(ledger.folder, record.spec.prices).find(chunk.model or record.model)
    each = pricing.costs(model, found, batch=chunk.kind in BATCHED)
    return Account(
        about,
        requests=len(found),
        tokens=Tokens.of(found),
        spent=None if each is None else float(each.sum()),
        as_if=not record.spends,
        unknown=unheard([chunk]),
    )
