"""Automatic tries by cause, each within a run and each counted in the ledger; what is never tried again says why here.

- what may pass (expired, overloaded, a server's error, a time-out, a rate limit): up to `retries` times, with growing
  pauses; nothing was billed for it
- cut at max_tokens: once, with more
- an answer that does not fit the schema: once, with the message of the check as a turn (`correct=False`: never)
- an answer in which nothing is written: once, as it was
- never: calls of tools without a text, what the API calls invalid, refusals, `pause_turn` and a full context (asking
  again brings the same); canceled ones (somebody wanted that) and absent ones (they may be billed): only `run.retry`
  asks those
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch.distinct import locate
from dfbatch.errors import LedgerDamaged
from dfbatch.ledger.states import ABANDONED, RELEASED, SPLIT
from dfbatch.results import CODE, SUCCEEDED, meaning, parse
from dfbatch.run.again import ask, changed_terms, unanswered
from dfbatch.run.claims import cover
from dfbatch.run.limits import as_told
from dfbatch.run.prices import known
from dfbatch.run.recovery import asked_in
from dfbatch.run.report import raw_line
from dfbatch.run.spools import Terms

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.results import Meaning
    from dfbatch.run.sheet import Sheet

PASSING: Final = ("overloaded_error", "api_error", "timeout_error", "rate_limit_error")
PAUSES: Final = (30.0, 120.0, 600.0)  # seconds before the first, second and later tries
REHEARSED: Final = 0.01  # of these pauses where nothing is spent: no emulator gets better by waiting
LONGER: Final = 4  # times max_tokens, after an answer was cut …
LONGEST: Final = 64_000  # … up to what the model can write; where that is not known, what all current ones can
CUT: Final = "cut short: max_tokens"


def ask_again(ledger: Ledger, record: RunRecord, sheet: Sheet) -> float | None:
    """Plan the next try of what is worth one: seconds to wait before it is sent; None where nothing is."""
    if not record.spec.retries:
        return None
    own = [chunk for chunk in ledger.chunks(record.id) if chunk.run == record.id]
    pause = _again(ledger, record, sheet, own)
    asked = [try_(ledger, record, sheet, own) for try_ in (_longer, _empty, _corrected)]
    return pause or (0.0 if any(asked) else None)


def _tried(ledger: Ledger, sheet: Sheet, own: list[ChunkRecord], kind: str) -> np.ndarray[Any, Any]:
    """How often each request was tried in this way, by this run."""
    counts = np.zeros(len(sheet.requests), np.int64)
    for chunk in own:
        if chunk.kind == kind and chunk.state not in (RELEASED, SPLIT, ABANDONED):
            digests = asked_in(ledger, chunk)["digest"]
            counts += locate(sheet.requests["digest"], digests) >= 0
    return counts


def _ours(record: RunRecord, sheet: Sheet, outcome: str) -> np.ndarray[Any, Any]:
    """Requests with this outcome from a chunk of this run: a reused outcome is final, but for a preview's."""
    mine = [origin for origin, chunk in enumerate(sheet.chunks) if chunk.run == record.id]
    ours: np.ndarray[Any, Any] = np.isin(sheet.source, mine) & (sheet.found["outcome"] == CODE[outcome])
    return ours


def _previewed(ledger: Ledger, record: RunRecord, sheet: Sheet, outcome: str, kind: str) -> np.ndarray[Any, Any]:
    """Requests with this outcome from a preview, which tries nothing again, and that nobody tried in this way since."""
    shown = [at for at, chunk in enumerate(sheet.chunks) if chunk.run != record.id and chunk.kind == "now"]
    untried: np.ndarray[Any, Any] = np.isin(sheet.source, shown) & (sheet.found["outcome"] == CODE[outcome])
    if untried.any():
        quiet = {run.id for run in ledger.runs() if not run.spec.retries}
        untried &= np.isin(sheet.source, [at for at in shown if sheet.chunks[at].run in quiet])
        since = [chunk for chunk in ledger.claims(record.shared) if chunk.run != record.id]
        untried &= _tried(ledger, sheet, since, kind) == 0
    return untried


def _again(ledger: Ledger, record: RunRecord, sheet: Sheet, own: list[ChunkRecord]) -> float | None:
    wanted = _ours(record, sheet, "expired")
    for index in np.flatnonzero(_ours(record, sheet, "errored")).tolist():
        wanted[index] = sheet.errors.get(index, "").partition(":")[0] in PASSING
    if not wanted.any():
        return None
    tried = _tried(ledger, sheet, own, "again")
    wanted &= tried < record.spec.retries
    asked = ask(ledger, record, sheet, np.flatnonzero(wanted), terms=Terms.of(record, "again"), reuse=record.spec.reuse)
    sheet.asked_again(asked)
    return PAUSES[min(int(tried[asked].max()), len(PAUSES) - 1)] if len(asked) else None


def _longer(ledger: Ledger, record: RunRecord, sheet: Sheet, own: list[ChunkRecord]) -> bool:
    model = as_told(ledger.folder, record, known(ledger.folder, record.spec.prices).find(record.model))
    limit = min(LONGER * record.max_tokens, model.most or LONGEST)
    cut = _ours(record, sheet, "truncated") | _previewed(ledger, record, sheet, "truncated", "longer")
    wanted = np.flatnonzero(cut & (_tried(ledger, sheet, own, "longer") == 0))
    wanted = np.array([index for index in wanted.tolist() if sheet.errors.get(index) == CUT], np.int64)
    if limit <= record.max_tokens or not len(wanted):
        return False
    longer = changed_terms(record, "longer", max_tokens=limit)
    terms = dataclasses.replace(longer, allowed=record.max_tokens)  # what the user's call allows stays what it said
    return _asked(sheet, ask(ledger, record, sheet, wanted, terms=terms, reuse=False))


def _empty(ledger: Ledger, record: RunRecord, sheet: Sheet, own: list[ChunkRecord]) -> bool:
    blank = [request for request, told in _unfit(ledger, record, sheet, own, "empty") if told.blank]
    terms = Terms.of(record, "empty")
    return _asked(sheet, ask(ledger, record, sheet, np.array(blank, np.int64), terms=terms, reuse=False))


def _corrected(ledger: Ledger, record: RunRecord, sheet: Sheet, own: list[ChunkRecord]) -> bool:
    unfit = _unfit(ledger, record, sheet, own, "corrected") if record.spec.correct else []
    said = {request: told.text for request, told in unfit if told.outcome == "succeeded"}  # a text, and not that asked

    def reword(request: int, part: bytes) -> bytes:
        return part + b"," + _turns(said[request], sheet.errors.get(request, "it does not fit"))

    wanted, terms = np.array([*said], np.int64), Terms.of(record, "corrected")
    return _asked(sheet, ask(ledger, record, sheet, wanted, terms=terms, reuse=False, reword=reword))


def _unfit(
    ledger: Ledger, record: RunRecord, sheet: Sheet, own: list[ChunkRecord], kind: str
) -> list[tuple[int, Meaning]]:
    """Invalid answers that were not tried in this way yet: the requests, and what their lines say before any schema."""
    unfit = _ours(record, sheet, "invalid") | _previewed(ledger, record, sheet, "invalid", kind)
    if not unfit.any():
        return []
    wanted = np.flatnonzero(unfit & (_tried(ledger, sheet, own, kind) == 0)).tolist()
    lines = [(request, parse(raw_line(ledger, sheet, request))) for request in wanted]
    return [(request, meaning(line.result)) for request, line in lines if line]


def _asked(sheet: Sheet, asked: np.ndarray[Any, Any]) -> bool:
    sheet.asked_again(asked)
    return bool(len(asked))


def _turns(said: str, error: str) -> bytes:
    """The answer as the model's turn, and what is wrong with it as ours."""
    told = f"This answer does not fit the schema: {error}. Answer the question again with JSON that fits it."
    turns = [
        {"role": "assistant", "content": said.rstrip()},  # the API refuses white space at its end
        {"role": "user", "content": told},
    ]
    return msgspec.json.encode(turns)[1:-1]


def waits_for_older(ledger: Ledger, record: RunRecord, sheet: Sheet, *, driven: Callable[[str], bool]) -> bool:
    """Whether an older run, still under way, may yet bring better answers to what its chunks left without.

    Only older ones are waited for, so that no two runs wait for each other.
    """
    failed = _left_by_others(record, sheet)
    runs = {sheet.chunks[int(origin)].run for origin in np.unique(sheet.source[failed])}
    older = {known.id for known in ledger.runs() if (known.created, known.id) < (record.created, record.id)}
    return any(driven(run_id) for run_id in runs & older)


def draw_on_later(ledger: Ledger, record: RunRecord, sheet: Sheet) -> bool:
    """Use the chunks in which others answered, or answered better, meanwhile; whether there is one. It is free."""
    failed = np.union1d(_left_by_others(record, sheet), unanswered(ledger, record, sheet))
    if not record.spec.reuse or not len(failed):
        return False
    version = ledger.claims_version(record.shared)
    try:
        found = cover(ledger, record.shared, sheet.requests["digest"][failed], allowed=record.max_tokens)
    except LedgerDamaged:  # nothing is drawn on that cannot be read
        return False
    here = {chunk.id for chunk in ledger.chunks(record.id)}
    new = [chunk_id for chunk_id in found.chunks if chunk_id not in here]
    return bool(new) and ledger.begin(record, (), new, shared=record.shared, unless_changed=version)


def _left_by_others(record: RunRecord, sheet: Sheet) -> np.ndarray[Any, Any]:
    """Requests without a good answer in a chunk of another run."""
    foreign = [origin for origin, chunk in enumerate(sheet.chunks) if chunk.run != record.id]
    return np.flatnonzero(np.isin(sheet.source, foreign) & (sheet.found["outcome"] != SUCCEEDED))
