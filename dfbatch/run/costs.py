"""What a run cost, try by try and row by row, and what it did not pay. Sums of tokens are in `pricing.py`."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch import forecasts, pricing
from dfbatch.forecasts import Range, forecast
from dfbatch.hits import Hits, written
from dfbatch.ledger.states import (
    ABANDONED,
    COLLECTED,
    ENDED,
    FORGONE,
    IN_DOUBT,
    LOST,
    OVER,
    POSTED,
    RELEASED,
    SUBMITTED,
)
from dfbatch.pricing import FROM_BYTES, Cost, Saved, Tokens
from dfbatch.run import outlook
from dfbatch.run.history import longest
from dfbatch.run.now import PILOT_NOW
from dfbatch.run.parts import by_outcome, of_bill
from dfbatch.run.stakes import at_most
from dfbatch.run.unheard import unheard

if TYPE_CHECKING:
    from dfbatch.forecasts import Forecast
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.models import Model, Models
    from dfbatch.run.loop import Work
    from dfbatch.run.parts import Parts
    from dfbatch.run.sheet import Bill, Sheet

    Array = np.ndarray[Any, np.dtype[Any]]

PAY_TWICE: Final = "given up by resolve(pay_twice=True): it may be billed too"
FEW: Final = 10  # answers by which the cost of others can be told
BATCHED: Final = (
    "",
    "again",
    "longer",
    "empty",
    "corrected",
    "hand",
    "pilot",
    "warm",
)  # kinds of chunks that go in a batch; others at the full price


def cost(work: Work, take: Array) -> Cost:
    """Every answer that the run's own chunks brought, those that gave way to a better one too.

    `take` names the request of each row. What went through `/v1/messages` is at the full price, everything else at a
    batch's.
    """
    sheet, record = work.sheet, work.record
    told = [_parts(work, chunk) for chunk in sheet.chunks if chunk.id in sheet.bills]
    return Cost(
        spent(work),
        sum((Tokens.of(bill.used) for bill in sheet.bills.values()), Tokens()),
        as_if=not (record.spends and work.backend.spends),
        saved=saved(work, take),
        reserved=reserved(work),
        unknown=unheard(work.own()),
        forecast=expected(work),
        outlook=None if work.own(FORGONE, LOST, RELEASED) else outlook.noted(work.ledger, record.id),
        chunks=tuple(sorted((part.chunk for part in told), key=lambda chunk: chunk.chunk)),
        outcomes=by_outcome(told),
    )


def expected(work: Work) -> Range | None:
    """The range in which the cost of the whole run will end, USD; None where a price is not known."""
    usd = spent(work)
    ahead = [chunk for chunk in work.own() if chunk.state not in OVER and chunk.id not in work.sheet.bills]
    if usd is None or not ahead:
        return None if usd is None else Range(usd, usd, usd, "all is answered")
    requests = sum(chunk.requests for chunk in ahead)
    if told := _by_answers(work, usd, requests):
        return told
    kept = outlook.noted(work.ledger, work.record.id)
    if kept is not None and not work.sheet.bills and kept.how != FROM_BYTES:  # by answers of earlier runs
        return kept
    by_bytes = [_blind(work, chunk) for chunk in ahead]
    lows, highs = [each.low or 0.0 for each in by_bytes], [each.high for each in by_bytes]
    if any(high is None for high in highs):
        return None
    low, high = usd + math.fsum(lows), usd + math.fsum(high for high in highs if high is not None)
    return Range(low, math.sqrt(low * high), high, FROM_BYTES)


def _blind(work: Work, chunk: ChunkRecord) -> Forecast:
    model = work.models.find(chunk.model or work.record.model)
    return forecast(model, chunk.bytes, chunk.requests, min(chunk.max_tokens, longest(work.record, model)))


def _by_answers(work: Work, usd: float, requests: int) -> Range | None:
    """What the run will cost by its own answers: what each cost but for the prompt cache, and how often that is hit."""
    model, spec = work.models.find(work.record.model), work.record.spec
    direct = () if spec.cache else (PILOT_NOW,)  # those have no marks: of what the cache saves they tell nothing
    chunks = [chunk for chunk in _sampled(work, *direct) if chunk.id in work.sheet.bills]
    if model is None or sum(chunk.requests for chunk in chunks) < FEW:
        return _unmarked(work, usd, requests) if model and spec.cache else None
    used = np.concatenate([work.sheet.bills[chunk.id].used for chunk in chunks])
    whole = pricing.costs(model, used)
    if whole is None:
        return None
    hits = Hits.among(used)
    share = hits.price(model, spec.cache or "5m", requests)
    prefixes, paid = _prefixes(model, spec.cache or "5m", used)
    rest = forecasts.rest(usd, whole - paid, requests)
    if not hits.seen:
        return rest
    each = requests * float(prefixes.mean())
    cached = Range(each * share.low, each * share.likely, each * share.high)
    return dataclasses.replace(forecasts.spend(rest, cached), how=rest.how)


def _unmarked(work: Work, usd: float, requests: int) -> Range | None:
    """By the answers of a pilot that had no marks: from all of the input read from the prompt cache to none of it."""
    model = work.models.find(work.record.model)
    bills = [work.sheet.bills[chunk.id] for chunk in _sampled(work, PILOT_NOW) if chunk.id in work.sheet.bills]
    used = np.concatenate([bill.used for bill in bills]) if bills else np.empty(0)
    if len(used) < FEW or (plain := pricing.costs(model, used)) is None:
        return None
    read = pricing.costs(model, _as_read(used))
    low, high = forecasts.rest(usd, plain if read is None else read, requests), forecasts.rest(usd, plain, requests)
    return Range(low.low, math.sqrt(low.likely * high.likely), high.high, high.how)


def _as_read(used: Array) -> Array:
    """The same tokens, as if all input were read from the prompt cache."""
    made: Array = used.copy()
    made["read"] += made["input"]
    made["input"] = 0
    return made


def _prefixes(model: Model, lifetime: str, used: Array) -> tuple[Array, Array]:
    """USD of what each request read from the cache or wrote to it: at the price of input, and as it was paid."""
    read, wrote = pricing.column(used, "read"), pricing.column(used, "written")
    terms = np.where(pricing.column(used, "us") > 0, model.geo, 1.0) * model.batch / pricing.MILLION
    paid = read * model.price.cache_read + wrote * written(model, lifetime)
    return (read + wrote.astype(np.float64)) * model.price.input * terms, paid * terms


def _sampled(work: Work, *more: str) -> list[ChunkRecord]:
    """The chunks answered so far that are a random part of the run."""
    return [chunk for chunk in work.own(COLLECTED) if chunk.kind in ("", "pilot", *more)]


def sampled(work: Work) -> Array:
    """What each request that was answered so far may cost in a batch at most, of the random part of the run.

    They stand in the order in which they were drawn, those of one chunk shuffled. Hits of the prompt cache change with
    the hour: what was read counts as if it had been written, and so does all input of a pilot that had no marks.
    """
    spec, told = work.record.spec, []
    for chunk in sorted(_sampled(work, PILOT_NOW), key=lambda chunk: _accepted(work, chunk)):
        if (bill := work.sheet.bills.get(chunk.id)) is None:
            continue
        used = bill.used
        if chunk.kind == PILOT_NOW and (spec.cache or spec.marked):
            used = _as_read(used)
        usd = pricing.costs(work.models.find(chunk.model or work.record.model), used, cold=True)
        if usd is not None:
            told.append(np.random.default_rng(int.from_bytes(chunk.nonce.encode())).permutation(usd))
    return np.concatenate(told) if told else np.empty(0)


def _accepted(work: Work, chunk: ChunkRecord) -> tuple[float, int]:
    batch = work.ledger.batch(chunk.id)
    return batch.accepted if batch else 0.0, chunk.ordinal


def _usd(models: Models, record: RunRecord, chunk: Any, bill: Bill, **changes: bool) -> Array | None:
    """USD of each request of a chunk."""
    terms = {"batch": chunk.kind in BATCHED, **changes}
    return pricing.costs(models.find(chunk.model or record.model), bill.used, **terms)


def spent(work: Work) -> float | None:
    """USD that all answers of the run's own chunks cost so far."""
    each = [_sum(work, chunk) for chunk in work.sheet.chunks if chunk.id in work.sheet.bills]
    return None if any(usd is None for usd in each) else math.fsum(usd for usd in each if usd is not None)


def unknown(work: Work) -> float:
    """USD that lost replies may have cost at most: to a budget, it is spent."""
    return unheard(work.own()) or 0.0


def _sum(work: Work, chunk: ChunkRecord, **changes: bool) -> float | None:
    """USD of all requests of a chunk, summed up once: a bill does not change any more."""
    key = (chunk.id, *changes.items())
    if key not in work.sums:
        usd = _usd(work.models, work.record, chunk, work.sheet.bills[chunk.id], **changes)
        work.sums[key] = None if usd is None else float(usd.sum())
    return work.sums[key]


def _parts(work: Work, chunk: ChunkRecord) -> Parts:
    """Where the money of a chunk went, told once like its sum."""
    if chunk.id not in work.parts:
        usd = _usd(work.models, work.record, chunk, work.sheet.bills[chunk.id])
        work.parts[chunk.id] = of_bill(chunk, work.ledger.batch(chunk.id), work.sheet.bills[chunk.id], usd)
    return work.parts[chunk.id]


def of_chunk(work: Work, chunk: ChunkRecord) -> Array | None:
    """USD of each request of one of the run's own chunks; None where it is not judged yet, or has no price."""
    bill = work.sheet.bills.get(chunk.id)
    return None if bill is None else _usd(work.models, work.record, chunk, bill)


def under_way(work: Work) -> list[ChunkRecord]:
    """The run's own chunks that may be billed and are not yet in what it spent.

    Of those given up, the ones that the user gave up: what listings did not show was never accepted.
    """
    own = work.own(*POSTED, *IN_DOUBT, SUBMITTED, ENDED, COLLECTED, LOST, FORGONE, ABANDONED)
    own = [chunk for chunk in own if chunk.state != ABANDONED or chunk.error == PAY_TWICE]
    return [chunk for chunk in own if chunk.id not in work.sheet.bills]


def reserved(work: Work) -> float | None:
    """The most that what is under way or in doubt may cost, by its bytes, in USD."""
    total = 0.0
    for chunk in under_way(work):
        most = at_most(work.models, work.record, chunk)
        if most is None:
            return None
        total += most if chunk.kind in BATCHED else 2 * most
    return total


def by_request(sheet: Sheet, record: RunRecord, models: Models) -> Array | None:
    """USD that each request cost this run, all its tries; None where a price is not known."""
    total = np.zeros(len(sheet.requests))
    for chunk in sheet.chunks:
        bill = sheet.bills.get(chunk.id)
        if bill is None:
            continue
        usd = _usd(models, record, chunk, bill)
        if usd is None:
            return None
        laid = bill.targets >= 0
        np.add.at(total, bill.targets[laid], usd[laid])
    return total


def by_row(sheet: Sheet, record: RunRecord, models: Models, take: Array) -> Array | None:
    """USD of each row: the first of equal rows bears what they cost, the others nothing; None where it is not known."""
    usd = by_request(sheet, record, models)
    if usd is None:
        return None
    samples = record.spec.samples
    once = usd.reshape(samples, -1).sum(axis=0)
    rows = np.zeros(len(take))
    first, at = np.unique(np.where(take < 0, -1, take % max(1, len(once))), return_index=True)
    asked = first >= 0
    rows[at[asked]] = once[first[asked]]
    return rows


def saved(work: Work, take: Array) -> Saved | None:
    """What was not paid; None where a price is not known."""
    sheet, record, models = work.sheet, work.record, work.models
    batch = cache = 0.0
    for chunk in sheet.chunks:
        if chunk.id not in sheet.bills:
            continue
        paid, full, plain = (_sum(work, chunk, **way) for way in ({}, {"batch": False}, {"cached": False}))
        if paid is None or full is None or plain is None:
            return None
        batch += full - paid
        cache += plain - paid
    each = pricing.costs(models.find(record.model), sheet.found, cached=False)
    if each is None:
        return None
    foreign = np.isin(sheet.source, [at for at, chunk in enumerate(sheet.chunks) if chunk.run != record.id])
    copies = np.bincount(take[take >= 0], minlength=len(sheet.requests) // record.spec.samples) - 1
    copies = np.tile(np.maximum(copies, 0), record.spec.samples)
    return Saved(batch, dedupe=float((each * copies).sum()), reuse=float(each[foreign].sum()), cache=cache)
