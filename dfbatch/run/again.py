"""Requests asked again: what the user names, and what nobody answered. Tries by cause are in `tries.py`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.contradictions import for_another
from dfbatch.distinct import locate
from dfbatch.errors import LedgerDamaged, OptionError
from dfbatch.ledger.states import CLAIMING, FORGONE, LOST, OVERSIZED, REJECTED
from dfbatch.models import Models
from dfbatch.requests import Digester, changed, unmarked
from dfbatch.results import CODE, OUTCOMES
from dfbatch.run.claims import claim, reusable
from dfbatch.run.recovery import asked_in
from dfbatch.run.spools import Terms, Wanted, copied, parts_from, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.run.sheet import Sheet

FAILED: Final = ("errored", "expired", "canceled", "missing", "truncated", "invalid")


def chosen(sheet: Sheet, which: str | Sequence[str] | None) -> np.ndarray[Any, Any]:
    """The requests with these outcomes; by default all that failed."""
    names = FAILED if which is None else (which,) if isinstance(which, str) else tuple(which)
    for name in names:
        if name not in OUTCOMES[1:] or name in ("succeeded", "skipped"):
            raise OptionError(
                f"which={name!r} cannot be asked again", hint="one or more of " + ", ".join((*FAILED, "refused"))
            )
    return np.flatnonzero(np.isin(sheet.found["outcome"], [CODE[name] for name in names]))


def changed_terms(record: RunRecord, kind: str, *, max_tokens: int | None = None, model: str | None = None) -> Terms:
    """How requests are asked again by hand."""
    terms = Terms.of(record, kind)
    if max_tokens is None and model is None:
        return terms
    spec, models = record.spec, Models()
    before, other = models.find(record.model), models.find(model or record.model)
    shared = changed(
        spec.head.encode(),
        model=model,
        max_tokens=max_tokens,
        judged=spec.full,
        betas=spec.betas,
        who=record.who,
        params=lambda params: for_another(params, before, other) if model else dict(params),
    )
    limit = max_tokens or record.max_tokens
    return dataclasses.replace(
        terms, shared=shared.digest, max_tokens=limit, allowed=limit, model=model or "", head=shared.head.decode()
    )


def unanswered(ledger: Ledger, record: RunRecord, sheet: Sheet) -> np.ndarray[Any, Any]:
    """The requests that nobody answered for good and nobody is going to: others left them, or they were given up."""
    settled = np.zeros(len(sheet.requests), bool)
    for origin, chunk in enumerate(sheet.chunks):
        mine = sheet.source == origin
        settled[mine] = reusable(sheet.found[mine], chunk, record.max_tokens)
    for chunk in ledger.chunks(record.id):
        if settled.all():
            break
        own = chunk.run == record.id
        if chunk.state not in (*CLAIMING, REJECTED, LOST, FORGONE, OVERSIZED) or (not own and sheet.has(chunk)):
            continue
        digests = asked_in(ledger, chunk)["digest"]
        settled |= locate(sheet.requests["digest"], digests) >= 0
    return np.flatnonzero(~settled)


def give_up(ledger: Ledger, record: RunRecord, chunk: ChunkRecord, event: str, *, error: str, asks: bool) -> bool:
    """Give up a chunk in doubt; one of this run is asked again as it was, in the same moment and hence once."""
    copies = copied(ledger, chunk, record) if asks and chunk.run == record.id else []
    if ledger.happen(chunk.id, event, error=error, halves=copies):
        if copies and event == "absent":  # the copy holds its prompts; an API overloaded for hours would fill the disk
            ledger.chunk_file(chunk.id, "spool").unlink(missing_ok=True)
        return True
    remove(ledger, [copy.id for copy in copies])
    return False


def ask_unanswered(ledger: Ledger, record: RunRecord, sheet: Sheet, *, kind: str = "") -> bool:
    """Plan new chunks for those; whether there is any."""
    wanted, terms = unanswered(ledger, record, sheet), Terms.of(record, kind)
    return bool(len(ask(ledger, record, sheet, wanted, terms=terms, reuse=record.spec.reuse)))


def ask(
    ledger: Ledger,
    record: RunRecord,
    sheet: Sheet,
    wanted: np.ndarray[Any, Any],
    *,
    terms: Terms,
    reuse: bool,
    reword: Callable[[int, bytes], bytes] = lambda _, part: part,
) -> np.ndarray[Any, Any]:
    """Plan new chunks for these requests, from the spools that still hold them; returns which they are."""
    if not len(wanted):
        return wanted
    damages: list[LedgerDamaged] = []
    held = parts_from(ledger, ledger.chunks(record.id), sheet.requests["digest"][wanted], damaged=damages.append)
    if damages and len(held) < len(wanted):
        raise damages[0]
    order = sorted(held)
    asked: np.ndarray[Any, Any] = wanted[order]
    if len(asked):
        requests = sheet.requests[asked]
        if terms.shared != record.shared:  # asked of another model: not the same request any more
            digester = Digester(terms.shared)
            sample = asked // (len(sheet.requests) // record.spec.samples)
            requests["digest"] = [
                digester.one(unmarked(held[at]), int(nth)) for at, nth in zip(order, sample, strict=True)
            ]
        parts = [reword(int(wanted[index]), held[index]) for index in order]
        lengths = np.array([len(part) for part in parts], np.int64)
        again = Wanted(requests, lengths, lambda which: (parts[index] + b"\n" for index in which.tolist()))
        claim(ledger, record, again, terms=terms, reuse=reuse)
    return asked
