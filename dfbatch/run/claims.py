"""Equal requests are paid once: what is paid for or under way already is drawn on, the rest becomes our chunks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dfbatch.distinct import locate
from dfbatch.errors import LedgerDamaged
from dfbatch.ledger.states import CLAIMING, COLLECTED, UNSENT
from dfbatch.results import CODE, SUCCEEDED
from dfbatch.run.leading import parts
from dfbatch.run.recovery import asked_in, found_of
from dfbatch.run.spools import remove, spool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.run.spools import Terms, Wanted

PAID = tuple(CODE[name] for name in ("refused", "truncated", "invalid"))  # paid for, and no good answer


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim came to: our new chunks, and what is drawn on."""

    chunks: list[ChunkRecord]
    cover: Cover


class Claiming(Protocol):
    """Writes a new run with its chunks: `claim`, or what lays back batches that were sent before."""

    def __call__(
        self,
        ledger: Ledger,
        record: RunRecord,
        wanted: Wanted,
        *,
        terms: Terms,
        reuse: bool,
        before: Callable[[], None],
    ) -> Claimed:
        """The chunks it came to."""


def claim(
    ledger: Ledger,
    record: RunRecord,
    wanted: Wanted,
    *,
    terms: Terms,
    reuse: bool,
    before: Callable[[], None] = lambda: None,
) -> Claimed:
    """Write the run (where it is new) with chunks for whatever nobody has asked yet, in one transaction.

    `before` is called where the network will be needed.

    Files come first, so that the transaction is short; where somebody claimed meanwhile, it is all looked up again.
    """
    while True:
        version = ledger.claims_version(terms.shared)
        if reuse:
            found = cover(ledger, terms.shared, wanted.requests["digest"], allowed=terms.allowed)
        else:
            found = Cover(np.zeros(len(wanted.requests), bool), {}, under_way=False)
        new = np.flatnonzero(~found.covered)
        if len(new) or found.under_way:
            before()
        chunks = _spooled(ledger, record, wanted, new=new, found=found, terms=terms)
        try:
            if ledger.begin(record, chunks, found.chunks, shared=terms.shared, unless_changed=version):
                return Claimed(chunks, found)
        except BaseException:
            remove(ledger, [chunk.id for chunk in chunks])
            raise
        remove(ledger, [chunk.id for chunk in chunks])


def _spooled(
    ledger: Ledger,
    record: RunRecord,
    wanted: Wanted,
    *,
    new: np.ndarray[Any, Any],
    found: Cover,
    terms: Terms,
) -> list[ChunkRecord]:
    """Chunks for these requests: those that go ahead alone, then all others."""
    made: list[ChunkRecord] = []
    try:
        for part in parts(ledger, record, new, known=sum(found.chunks.values()), terms=terms, groups=wanted.groups):
            these, how = wanted.only(part.which), replace(terms, kind=part.kind)
            made += spool(ledger, record, these, terms=how, order=part.order, after=len(made))
    except BaseException:
        remove(ledger, [chunk.id for chunk in made])
        raise
    return made


@dataclass(frozen=True, slots=True)
class Cover:
    """What is covered (one bool a request), and the chunks that cover it, by id."""

    covered: np.ndarray[Any, Any]
    chunks: dict[str, int]  # chunk id → how many of the requests it answers
    under_way: bool  # whether one of them has no results yet


def cover(ledger: Ledger, shared: str, digests: np.ndarray[Any, Any], *, allowed: int) -> Cover:
    """Look the digests up among all chunks with this shared part.

    A good answer comes first, then one that is under way, then whatever else was paid for.
    """
    covered = np.zeros(len(digests), bool)
    used: dict[str, int] = {}
    waits = False
    claims = ledger.claims(shared)
    collected = [chunk for chunk in claims if chunk.state == COLLECTED]
    passes: list[tuple[ChunkRecord, tuple[int, ...]]] = [(chunk, (SUCCEEDED,)) for chunk in collected]
    passes += [(chunk, ()) for chunk in claims if chunk.state != COLLECTED]
    passes += [(chunk, PAID) for chunk in collected]
    unknown: dict[str, LedgerDamaged] = {}
    for chunk, outcomes in passes:
        if covered.all():
            break
        try:
            wanted = _answered(ledger, chunk, outcomes, digests, open_ones=~covered, allowed=allowed)
        except LedgerDamaged as damage:
            unknown[chunk.id] = damage
            continue
        if wanted.any():
            covered |= wanted
            used[chunk.id] = used.get(chunk.id, 0) + int(wanted.sum())
            waits |= chunk.state != COLLECTED
    if unknown:
        _stop_at(ledger, unknown, [chunk for chunk in claims if chunk.id in unknown], digests[~covered])
    return Cover(covered, used, waits)


def _answered(
    ledger: Ledger,
    chunk: ChunkRecord,
    outcomes: tuple[int, ...],
    digests: np.ndarray[Any, Any],
    *,
    open_ones: np.ndarray[Any, Any],
    allowed: int,
) -> np.ndarray[Any, Any]:
    """Which of the requests that are open yet a chunk answers with one of these outcomes, or is going to answer."""
    spot = locate(digests, asked_in(ledger, chunk)["digest"])
    wanted: np.ndarray[Any, Any] = (spot >= 0) & open_ones
    may_be_longer = chunk.state != COLLECTED and chunk.allowed > allowed  # its answer, than what is asked for here
    if not wanted.any() or not _holds(ledger, chunk) or may_be_longer:
        return np.zeros(len(digests), bool)
    if chunk.state == COLLECTED:
        found = found_of(ledger, chunk)[spot[wanted]]
        wanted[wanted] = reusable(found, chunk, allowed) & np.isin(found["outcome"], outcomes)
    return wanted


def _stop_at(
    ledger: Ledger,
    unknown: dict[str, LedgerDamaged],
    chunks: Sequence[ChunkRecord],
    digests: np.ndarray[Any, Any],
) -> None:
    """Raise where these, which nobody else answers, may be among the requests of chunks that cannot be read."""
    for chunk in chunks:
        if _may_be_paid(ledger, chunk) and (among := _may_ask(ledger, chunk, digests)):
            raise _paid_perhaps(chunk, unknown[chunk.id], among)


def _may_be_paid(ledger: Ledger, chunk: ChunkRecord) -> bool:
    """Whether a chunk that cannot be read may have answers that were paid for."""
    return chunk.state not in UNSENT and _holds(ledger, chunk)


def _may_ask(ledger: Ledger, chunk: ChunkRecord, digests: np.ndarray[Any, Any]) -> int:
    """How many of these a chunk may have asked whose map is damaged: all that its run asked, else any."""
    try:
        asked = ledger.read_array(ledger.run_file(chunk.run, "requests.npy"))["digest"]
    except LedgerDamaged:
        return len(digests)
    return int((locate(digests, asked) >= 0).sum())


def _paid_perhaps(chunk: ChunkRecord, damage: LedgerDamaged, among: int) -> LedgerDamaged:
    """What stops a call that would ask, and pay for, what a damaged run may have asked already."""
    return LedgerDamaged(
        str(damage).partition("\n")[0],
        f"{among:,} of the requests of this call may be among the {chunk.requests:,} that it paid for: which of them it"
        " was cannot be told, and nothing was sent",
        hint=f"dfbatch.repair({damage.run_id!r}) fetches its results again for free, while the server keeps them"
        f" (29 days); to ask, and pay for, them again: reuse=False, or dfbatch.open({damage.run_id!r}).forget()",
        path=damage.path,
        run_id=damage.run_id,
        wrong=damage.wrong,
    )


def asked_before(ledger: Ledger, shared: str, digests: np.ndarray[Any, Any], *, allowed: int) -> Cover:
    """What would be covered, with nothing changed by looking."""
    return cover(_Untouched(ledger), shared, digests, allowed=allowed)  # type: ignore[arg-type]


class _Untouched:
    """A ledger that is read and not written: what a dead process left unsent counts as released, and is not."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def happen(self, *_: Any, **__: Any) -> str:
        """As if it had happened."""
        return "nothing"


def _holds(ledger: Ledger, chunk: ChunkRecord) -> bool:
    """Whether a chunk's claim counts. One that was never sent, by a process that is gone, is released to us."""
    if chunk.state in UNSENT and ledger.lock(chunk.run).is_free():
        return not ledger.happen(chunk.id, "release")
    return chunk.state in CLAIMING


def reusable(found: np.ndarray[Any, Any], chunk: ChunkRecord, asked: int) -> np.ndarray[Any, Any]:
    """Which outcomes of a chunk answer requests that ask for at most `asked` tokens.

    All that was paid for is final: succeeded ones if they fit, or if the call that brought them allowed no more than
    this one; truncated ones if no more is asked than they had.
    """
    outcome = found["outcome"]
    fits = (outcome == SUCCEEDED) & ((found["output"] <= asked) | (chunk.allowed <= asked))
    cut = (outcome == CODE["truncated"]) & (asked <= chunk.max_tokens)
    usable: np.ndarray[Any, Any] = fits | cut | (outcome == CODE["refused"]) | (outcome == CODE["invalid"])
    return usable
