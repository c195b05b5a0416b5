"""What earlier answers to the same prompt tell of those to come: their tokens, hits of the cache, a forecast by them.

Nothing is fetched: all of it is in the ledger. A plan counts tokens besides (`planning.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch import forecasts, lengths
from dfbatch.caching import prefix_tokens
from dfbatch.errors import LedgerDamaged
from dfbatch.forecasts import Forecast, Range, forecast
from dfbatch.hits import Hits
from dfbatch.jobs import Job, Prefix
from dfbatch.ledger.states import COLLECTED
from dfbatch.pricing import column
from dfbatch.requests import prefix_bytes
from dfbatch.results import CODE, SUCCEEDED
from dfbatch.run.now import DIRECT
from dfbatch.run.recovery import found_of
from dfbatch.run.spools import shared_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.models import Model

    Array = np.ndarray[Any, np.dtype[Any]]

ASKED_ANEW: Final = ("longer", "corrected")  # kinds of chunks whose answers are not those of a first try
FEW: Final = 10  # answers from which a forecast is made: fewer seldom hold a long one
PLENTY: Final = 100_000  # answers that are looked at, the newest ones
_PARTS: Final = ("input", "written", "read", "output")
_TOKENS: Final = np.dtype([(name, "<f8") for name in _PARTS])


@dataclass(frozen=True, slots=True)
class History:
    """Answers to one prompt: tokens out and in, the bytes of what was asked, and hits of the cache."""

    output: Array = field(default_factory=lambda: np.empty(0))
    prompts: Array = field(default_factory=lambda: np.empty(0))
    own: float = 0.0  # bytes of a request's own part, on average
    hits: Hits = field(default_factory=Hits)


def history(ledger: Ledger, record: RunRecord) -> History:
    """The newest answers to the prompt of a run, in whatever runs of this ledger."""
    answers, marked = [np.empty(0, _TOKENS)], [np.empty(0, _TOKENS)]
    own = asked = seen = 0
    for chunk, run in _alike(ledger, record):
        try:
            found = found_of(ledger, chunk)
        except LedgerDamaged:  # it tells nothing
            continue
        answers.append(_tokens(found[np.isin(found["outcome"], (SUCCEEDED, CODE["truncated"]))]))
        own += chunk.bytes - chunk.requests * shared_of(run, chunk.head).overhead
        asked, seen = asked + chunk.requests, seen + len(answers[-1])
        same = (run.spec.cache, run.spec.leads) == (record.spec.cache, record.spec.leads)
        if same and chunk.kind not in (*DIRECT, "warm"):
            marked.append(_tokens(found))
        if seen >= PLENTY:
            break
    every = np.concatenate(answers)
    prompts = every["input"] + every["written"] + every["read"]
    return History(every["output"], prompts, max(0.0, own / max(1, asked)), Hits.among(np.concatenate(marked)))


def _alike(ledger: Ledger, record: RunRecord) -> Iterator[tuple[ChunkRecord, RunRecord]]:
    """Chunks that asked the same prompt and are answered, newest first, with their runs."""
    runs: dict[str, RunRecord] = {}
    for chunk in reversed(ledger.claims(record.shared)):
        if chunk.state != COLLECTED or chunk.kind in ASKED_ANEW or chunk.model:
            continue
        runs = runs or {run.id: run for run in ledger.runs() if run.shared == record.shared}
        run = runs.get(chunk.run)
        if run is not None and run.spec.prompt == record.spec.prompt:
            yield chunk, run


def _tokens(found: Array) -> Array:
    made = np.empty(len(found), _TOKENS)
    for name in _PARTS:
        made[name] = column(found, name)
    return made


def prefix_of(record: RunRecord, model: Model, hits: Hits, count: int, *, tokens: float, doubt: float) -> Prefix:
    """The part that all requests of a run share, of about so many tokens, where it is marked."""
    if not record.spec.cache:
        return Prefix()
    tokens, doubt = (hits.prefix, 0.0) if hits.prefix else (tokens, doubt)
    return priced(np.array([tokens]), record.spec.cache, model, hits, count, doubt=doubt)


def priced(tokens: Array, lifetime: str, model: Model, hits: Hits, count: int, *, doubt: float) -> Prefix:
    """What so many batched requests read from the cache, or write to it; those too short for it are not kept."""
    kept = np.where(tokens >= (model.prefix or 0), tokens, 0.0)
    return Prefix(kept, lifetime, hits.price(model, lifetime, count), doubt) if kept.any() else Prefix()


def longest(record: RunRecord, model: Model | None) -> int:
    """The most tokens of an answer: by the schema, where it bounds them and nothing is thought before; max_tokens."""
    unasked = model is not None and model.thinks and '"thinking":' not in record.spec.head
    asked = '"thinking":' in record.spec.head and '"thinking":{"type":"disabled"' not in record.spec.head
    bound = None if unasked or asked else lengths.tokens(record.spec.full)
    return record.max_tokens if bound is None else min(record.max_tokens, bound)


def foreseen(
    ledger: Ledger, record: RunRecord, chunks: Sequence[ChunkRecord], model: Model | None, *, as_if: bool = False
) -> Forecast:
    """What these chunks of a run may cost in a batch: by answers to the same prompt, else by their bytes alone."""
    count, size = sum(chunk.requests for chunk in chunks), sum(chunk.bytes for chunk in chunks)
    blind = forecast(model, size, count, longest(record, model), as_if=as_if)
    if model is None or not count or blind.high is None:
        return blind
    known = history(ledger, record)
    if len(known.output) < FEW:
        return blind
    told = _by(known, record, model, size, count)
    how = f"by {len(known.output):,} earlier answers"
    return Forecast(min(told.low, blind.high), min(told.high, blind.high), as_if, how)


def _by(known: History, record: RunRecord, model: Model, size: int, count: int) -> Range:
    """As large as requests were, each in proportion to the bytes of its own part; the shared part is the same."""
    shared = shared_of(record, "")
    common = prefix_tokens(prefix_bytes(shared), model)
    seen = max(1.0, float(known.prompts.mean()))
    base = min(float(common), seen)
    grown = max(0.0, size / count - shared.overhead) / known.own if known.own else 1.0
    each = max(1.0, base + (seen - base) * grown)
    doubt = min(1.0, forecasts.COUNTED + forecasts.GUESSED * abs(1 - grown))  # bytes are tokens only roughly
    tokens_in = Range(count * each * (1 - doubt), count * each, count * each * (1 + doubt))
    asked = base + (known.prompts - base) * grown
    tokens_out = forecasts.answered(known.output, count, record.max_tokens, prompts=known.prompts, asked=asked)
    prefix = prefix_of(record, model, known.hits, count, tokens=base, doubt=forecasts.GUESSED * (1 - base / each))
    us = b'"inference_geo":"us"' in shared.head
    none = np.zeros(1, bool)
    job = Job(model, np.array([each]), tokens_out.likely / count, none, none, prefix, us)
    return job.dollars(tokens_in, tokens_out, times=np.array([float(count)]))
