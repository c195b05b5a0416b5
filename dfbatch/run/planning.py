"""What a plan is made of: a call rendered and looked up but not claimed, tokens counted, answers of earlier runs.

The figures are put together in `forecasts.py`. Nothing is sent that costs, and nothing stays in the ledger
but what the server told of the model.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch import forecasts
from dfbatch.contradictions import NOTICE, contradictions
from dfbatch.errors import DfbatchError, NotFound, PlanChanged
from dfbatch.forecasts import Line, Plan, Range
from dfbatch.jobs import Job, Prefix
from dfbatch.pricing import dollars
from dfbatch.requests import unmarked
from dfbatch.run import thread
from dfbatch.run.budgets import foretold
from dfbatch.run.claims import Claimed, claim
from dfbatch.run.clock import current
from dfbatch.run.ending import first_line
from dfbatch.run.history import history, longest, prefix_of, priced
from dfbatch.run.leading import why_batch
from dfbatch.run.limits import day, noted
from dfbatch.run.limits import of as limits_of
from dfbatch.run.prepare import prepare
from dfbatch.run.prices import known
from dfbatch.run.report import part_text
from dfbatch.run.sizing import Sizing, digest_of
from dfbatch.run.spools import shared_of
from dfbatch.run.using import in_use
from dfbatch.run.why import not_reused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dfbatch.backends import Backend
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.models import Model
    from dfbatch.options import Options
    from dfbatch.run.claims import Claiming
    from dfbatch.run.history import History
    from dfbatch.run.prepare import Prepared
    from dfbatch.run.spools import Terms, Wanted

    Array = np.ndarray[Any, np.dtype[Any]]

COUNTED: Final = 20  # requests whose tokens the server counts
AT_ONCE: Final = 4
PATIENCE: Final = 30.0  # seconds for all counts
SILENT: Final = "tokens in are guessed: this server does not count them"
NARROWER: Final = "how long answers will be is not known yet: a preview of 20 rows makes this plan narrower"
MUCH_LESS: Final = 0.5  # of a plan's dollars: below it a cheaper model is told
MARK: Final = '"cache_control"'
OWN_MARKS: Final = "the dollars do not count what cache marks of your own save, or cost"


def planned(
    frame: Any,
    prompt: Any,
    schema: Any,
    options: Options,
    *,
    series: str | None,
    ledger: Ledger,
    backend: Backend,
    begin: Callable[[Claiming], Any],
) -> Plan:
    """The plan of a call; `begin` begins the run, with the claiming that holds it to this plan."""
    sizing = Sizing()
    ready = prepare(frame, prompt, schema, options, series=series, ledger=ledger, backend=backend, claiming=sizing)
    try:
        why = not_reused(ledger, ready.record, ready.claimed.cover)
    finally:
        ready.lock.release()
        shutil.rmtree(ledger.run_file(ready.record.id, "rows.npy").parent, ignore_errors=True)
    model = known(ledger.folder, options.prices).find(options.model)
    told = noted(ledger, backend, ready.record, direct=bool(sizing.direct.any())) if len(sizing.new) else []
    measured = _measured(ledger, backend, sizing, model)
    past = history(ledger, ready.record)
    tokens_out, hint = _answers(past, measured.each, ready.record.max_tokens, longest(ready.record, model))
    count = max(1, len(sizing.new))
    ahead = _ahead(ready.record, sizing, model, measured, tokens_out.likely / count if len(past.output) else 0.0)
    job = _job(sizing, model, measured, past, tokens_out.likely / count) if model else None
    cached = _cached(job, ready.record, sizing.sample)
    less = cheaper(ready.record, job, known(ledger.folder, options.prices).listed) if job and len(sizing.new) else ""
    return Plan(
        model=ready.record.model,
        rows=ready.record.rows,
        skipped=ready.record.skipped,
        requests=ready.record.requests,
        reused=ready.record.requests - len(sizing.new),
        to_send=len(sizing.new),
        chunks=len(sizing.chunks),
        bytes=sizing.bytes,
        tokens_in=measured.tokens,
        tokens_out=tokens_out,
        **_dollars(job, _copies(ready, sizing.new), measured.tokens, tokens_out),
        first=tuple(forecasts.shortened(part_text(part) or "") for part in sizing.first),
        as_if=not ready.record.spends,
        notes=tuple(filter(None, (*told, why, measured.note, hint, cached, *ahead, less))),
        begin=lambda: begin(Exactly(sizing.digest)),
    )


@dataclass(frozen=True, slots=True)
class Exactly:
    """Claims what was planned, and nothing else (a `Claiming`)."""

    digest: bytes

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
        """Raise PlanChanged, before anything is claimed, where the requests are others now."""
        if digest_of(wanted.requests) != self.digest:
            raise PlanChanged(
                "this is not what was planned: the frame or the prompt function has changed since",
                "nothing was sent",
                hint="plan again: df.claude.plan(…)",
            )
        return claim(ledger, record, wanted, terms=terms, reuse=reuse, before=before)


# ------------------------------------------------------------------ measuring


@dataclass(frozen=True, slots=True)
class _Measured:
    """Tokens of the prompts: of each request to send, of all, of what they share, and what is to be said of them."""

    each: Array
    tokens: Range
    note: str = ""
    shared: float = 0.0
    own: Array = field(default_factory=lambda: np.empty(0))  # of what each shares with its group alone


def _measured(ledger: Ledger, backend: Backend, sizing: Sizing, model: Model | None) -> _Measured:
    """By the server's counts of a sample; else by characters."""
    if not len(sizing.new) or sizing.record is None:
        return _Measured(np.empty(0), Range(0.0, 0.0, 0.0, "nothing to send"))
    at = forecasts.strata(sizing.sizes[sizing.sampled], COUNTED)
    told, note = _told(ledger, backend, sizing.record, [sizing.sample[index] for index in at.tolist()])
    prefix, guessed = _guessed(sizing.record, sizing.sample, model)
    if told:
        which = at[[index for index, _ in told]]
        tokens = np.array([float(count) for _, count in told])
        share, how, note = forecasts.COUNTED, f"count_tokens of {len(told)} request{'s' * (len(told) != 1)}", ""
    else:
        which, tokens = np.arange(len(guessed)), guessed
        share, how = forecasts.GUESSED, "from characters"
    line = Line.through(sizing.sizes[sizing.sampled[which]], tokens)
    scale = float(tokens.mean() / guessed[which].mean())
    total = line.total(sizing.sizes, share=share, how=how)
    own = scale * (model.dense if model else 1.0) * sizing.prefixes
    return _Measured(line.at(sizing.sizes), total, note, scale * prefix, own)


def _guessed(record: RunRecord, sample: Sequence[bytes], model: Model | None) -> tuple[float, Array]:
    """Tokens by characters: of what a cache could keep, and of each request, the shared part counted once."""
    dense = model.dense if model else 1.0
    shared = shared_of(record, "")
    params = msgspec.json.decode(shared.head.removesuffix(b",") + shared.tail)
    common = forecasts.of_request(params, dense=dense)
    own = [forecasts.characters(msgspec.json.decode(b"[" + part + b"]"), dense=dense) for part in sample]
    params.pop("output_config", None)
    return forecasts.of_request(params, dense=dense), common + np.array(own)


def _told(
    ledger: Ledger, backend: Backend, record: RunRecord, sample: Sequence[bytes]
) -> tuple[list[tuple[int, int]], str]:
    """What the server counts of a sample, by index; where it does not, why. Only a missing model is raised."""
    shared = shared_of(record, "")
    try:
        backend.ready(ledger.folder)
        bodies = [shared.head + part + shared.tail for part in sample]
        return thread.start(_counts(backend, bodies, record.spec.betas)).result(), SILENT
    except NotFound:
        raise
    except TimeoutError:
        return [], f"tokens in are guessed: the server did not count within {PATIENCE:g} s"
    except DfbatchError as error:
        return [], f"tokens in are guessed, not counted: {first_line(error)}"


async def _counts(backend: Backend, bodies: Sequence[bytes], betas: Sequence[str]) -> list[tuple[int, int]]:
    """Count the first alone: where that fails, no other is tried."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(body: bytes) -> int | None:
        async with gate:
            return await backend.count(body, betas)

    async with in_use(backend), asyncio.timeout(PATIENCE):
        counts: list[Any] = [await one(bodies[0])]
        if counts[0] is not None:
            counts += await asyncio.gather(*map(one, bodies[1:]), return_exceptions=True)
    return [(index, count) for index, count in enumerate(counts) if isinstance(count, int)]


# -------------------------------------------------------------------- money


def _answers(known: History, prompts: Array, max_tokens: int, most: int) -> tuple[Range, str]:
    """Tokens of the answers to these prompts, `most` at most, and a hint where nothing is known of them."""
    count = len(prompts)
    if not len(known.output):
        how = "from the schema" if most < max_tokens else "from max_tokens"
        return forecasts.unknown(count, most, how), NARROWER if count else ""
    return forecasts.answered(known.output, count, max_tokens, prompts=known.prompts, asked=prompts), ""


def _job(sizing: Sizing, model: Model, measured: _Measured, known: History, answer: float) -> Job:
    """The requests to send, by what money depends on."""
    record = sizing.record
    assert record is not None
    count = int((~sizing.direct & ~sizing.warm).sum())
    marked = measured.shared + measured.own
    doubt = forecasts.GUESSED * (1 - min(1.0, float(marked.sum()) / max(1.0, measured.tokens.likely)))
    prefix = Prefix()
    if sizing.prefixes.any():
        each = np.where(measured.own > 0, marked, measured.shared if record.spec.cache else 0.0)
        prefix = priced(each, sizing.lifetime, model, known.hits, count, doubt=doubt)
    elif record.spec.cache:
        prefix = prefix_of(record, model, known.hits, count, tokens=measured.shared, doubt=doubt)
    us = b'"inference_geo":"us"' in record.spec.head.encode()
    return Job(model, measured.each, answer, sizing.direct, sizing.warm, prefix, us)


def _ahead(
    record: RunRecord, sizing: Sizing, model: Model | None, measured: _Measured, answer: float
) -> tuple[str, str]:
    """What a budget will do to the run, and why its pilot goes in a batch, where that is not what was said."""
    pilot = max(0, int(sizing.direct.sum()) - 1)
    slow = why_batch(record) if sizing.piloted and record.spec.pilot != "batch" else ""
    told = f"the pilot goes in a batch, and the rest may wait an hour for it: {slow}" if slow else ""
    if not answer:  # nothing is known of the answers, hence of how many batches they will take
        return "", told
    each, sizes = measured.each, sizing.sizes
    return foretold(record, model, tokens=each, sizes=sizes, answer=answer, pilot=pilot), told


def _copies(ready: Prepared, new: Array) -> Array:
    """How many rows ask each request that is to be sent."""
    asks = ready.row_request[ready.row_request >= 0]
    samples = ready.record.spec.samples
    copies: Array = np.tile(np.bincount(asks, minlength=ready.record.requests // samples), samples)[new]
    return copies


def _dollars(job: Job | None, copies: Array, tokens_in: Range, tokens_out: Range) -> dict[str, Any]:
    """As it is sent, through ordinary calls, with a request for every row, and without a cache."""
    if job is None:
        return dict.fromkeys(("dollars", "sync", "without_dedupe", "without_caching"))
    return {
        "dollars": job.dollars(tokens_in, tokens_out),
        "sync": job.likely(np.ones(len(copies))),
        "without_dedupe": job.likely(job.shares + (copies - 1) * job.model.batch),  # one goes ahead all the same
        "without_caching": job.likely(job.shares, cached=False),
    }


def cheaper(record: RunRecord, job: Job, listed: Sequence[Model]) -> str:
    """One line about the cheapest model that takes the same job, where that costs less than half; else empty.

    The answers are taken to be as long as those of the model that is planned.
    """
    usd = job.likely(job.shares)
    prices = [(other.likely(other.shares), other.model) for other in _others(record, job, listed)]
    least, model = min(prices, key=lambda found: found[0], default=(usd, job.model))
    if least >= usd * MUCH_LESS:
        return ""
    return (
        f'model="{model.id}" takes the same job for about {dollars(least)}, of {dollars(usd)} here; whether its'
        " answers are as good, a preview shows"
    )


def _others(record: RunRecord, job: Job, listed: Sequence[Model]) -> Iterator[Job]:
    """The same job for every other model that takes it, without a prompt cache."""
    asked, soon = limits_of(record, direct=bool(job.direct.any())), day(current().now()) + NOTICE
    for model in listed:
        dense = model.dense / job.model.dense
        other = replace(job, model=model, prompts=job.prompts * dense, answer=job.answer * dense, prefix=Prefix())
        fits = model.context is not None and float(other.prompts.max()) + record.max_tokens <= model.context
        elsewhere = job.us and model.geo == 1.0
        if model.id == job.model.id or not model.price.output or not fits or elsewhere or model.is_retired(soon):
            continue
        if not contradictions(replace(asked, model=model.id), model):
            yield other


def _cached(job: Job | None, record: RunRecord, sample: Sequence[bytes]) -> str:
    """What the dollars say of the prompt cache."""
    if MARK in record.spec.head or any(MARK.encode() in unmarked(part) for part in sample):
        return OWN_MARKS
    return job.prefix.how if job else ""
