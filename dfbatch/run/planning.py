"""What a plan is made of: a call rendered and looked up but not claimed, tokens counted, answers of earlier runs.

The figures are put together in `forecasts.py`. Nothing is sent that costs, and nothing stays in the ledger.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch import chunks, forecasts
from dfbatch.errors import DfbatchError, NotFound, PlanChanged
from dfbatch.forecasts import Line, Plan, Range
from dfbatch.ledger.files import read_array
from dfbatch.ledger.states import COLLECTED
from dfbatch.requests import body_length
from dfbatch.results import CODE, SUCCEEDED
from dfbatch.run import thread
from dfbatch.run.claims import Claimed, Cover, claim, cover
from dfbatch.run.ending import first_line
from dfbatch.run.leading import parts
from dfbatch.run.now import DIRECT
from dfbatch.run.prepare import prepare
from dfbatch.run.prices import known
from dfbatch.run.report import part_text
from dfbatch.run.spools import shared_of
from dfbatch.run.using import in_use
from dfbatch.run.why import not_reused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dfbatch.backends import Backend
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.models import Model
    from dfbatch.options import Options
    from dfbatch.run.claims import Claiming
    from dfbatch.run.prepare import Prepared
    from dfbatch.run.spools import LinesOf, Terms

    Array = np.ndarray[Any, np.dtype[Any]]

COUNTED: Final = 20  # requests whose tokens the server counts
GUESSED: Final = 200  # requests whose characters are counted, where it does not
HEAVY: Final = 8_000_000  # bytes of all of those at most
AT_ONCE: Final = 4
PATIENCE: Final = 30.0  # seconds for all counts
SHOWN: Final = 3  # requests in a plan
SILENT: Final = "tokens in are guessed: this server does not count them"
NARROWER: Final = "how long answers will be is not known yet: a preview of 20 rows makes this plan narrower"
ASKED_ANEW: Final = ("longer", "corrected")  # kinds of chunks whose answers are not those of a first try


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
    measured = _measured(ledger, backend, sizing, model)
    tokens_out, hint = _answers(ledger, ready.record, len(sizing.new))
    amount, sync, apart = _dollars(ready, sizing, model, measured, tokens_out)
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
        dollars=amount,
        sync=sync,
        without_dedupe=apart,
        first=tuple(forecasts.shortened(part_text(part) or "") for part in sizing.first),
        as_if=not ready.record.spends,
        notes=tuple(filter(None, (why, measured.note, hint))),
        begin=lambda: begin(Exactly(sizing.digest)),
    )


def digest_of(requests: Array) -> bytes:
    """One digest of all requests, whatever their order."""
    return hashlib.sha256(np.sort(requests["digest"]).tobytes()).digest()


@dataclass(slots=True)
class Sizing:
    """Looks up what is paid for and takes the sizes of the rest; claims nothing (a `Claiming`)."""

    digest: bytes = b""
    new: Array = field(default_factory=lambda: np.empty(0, np.int64))  # indices of requests to send
    sizes: Array = field(default_factory=lambda: np.empty(0, np.float64))  # bytes of their own parts
    direct: Array = field(default_factory=lambda: np.empty(0, bool))  # whether they go through `/v1/messages`
    sample: list[bytes] = field(default_factory=list)  # parts of some of them, and …
    sampled: Array = field(default_factory=lambda: np.empty(0, np.int64))  # … which those are
    first: list[bytes] = field(default_factory=list)
    chunks: list[chunks.Cut] = field(default_factory=list)
    bytes: int = 0
    record: RunRecord | None = None

    def __call__(
        self,
        ledger: Ledger,
        record: RunRecord,
        requests: Array,
        lengths: Array,
        lines_of: LinesOf,
        *,
        terms: Terms,
        reuse: bool,
        before: Callable[[], None],  # noqa: ARG002 - of `Claiming`: a plan works without the network
    ) -> Claimed:
        """No chunks, and what would be drawn on."""
        found = Cover(np.zeros(len(requests), bool), {}, under_way=False)
        if reuse:
            found = cover(_Untouched(ledger), terms.shared, requests["digest"], allowed=terms.allowed)  # type: ignore[arg-type]
        self.digest, self.record = digest_of(requests), record
        self.new = np.flatnonzero(~found.covered)
        self.sizes = lengths[self.new].astype(np.float64)
        self._cut(ledger, record, lengths, known=sum(found.chunks.values()), terms=terms)
        self._draw(lines_of)
        return Claimed([], found)

    def _cut(self, ledger: Ledger, record: RunRecord, lengths: Array, *, known: int, terms: Terms) -> None:
        shared = shared_of(record, terms.head)
        self.direct = np.zeros(len(self.new), bool)
        for part in parts(ledger, record, self.new, known=known, terms=terms):
            if part.kind in DIRECT:
                self.direct |= np.isin(self.new, part.which)
            sizes = lengths[part.which if part.order is None else part.which[part.order]]
            cuts = chunks.cut(sizes + shared.overhead, chunk_size=terms.size or "auto")
            self.chunks += cuts
            self.bytes += sum(body_length(shared, int(sizes[cut.start : cut.stop].sum()), len(cut)) for cut in cuts)

    def _draw(self, lines_of: LinesOf) -> None:
        if not len(self.new):
            return
        fits = int(HEAVY / max(1.0, float(self.sizes.mean())))
        self.sampled = forecasts.strata(self.sizes, max(SHOWN, min(GUESSED, fits)))
        self.sample = _parts(lines_of, self.new[self.sampled])
        self.first = _parts(lines_of, self.new[:SHOWN])


class _Untouched:
    """A ledger that is read and not written: what a dead process left unsent counts as released, and is not."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def happen(self, *_: Any, **__: Any) -> str:
        """As if it had happened."""
        return "nothing"


def _parts(lines_of: LinesOf, which: Array) -> list[bytes]:
    return [b"".join(lines_of(np.array([index]))).removesuffix(b"\n") for index in which.tolist()]


@dataclass(frozen=True, slots=True)
class Exactly:
    """Claims what was planned, and nothing else (a `Claiming`)."""

    digest: bytes

    def __call__(
        self,
        ledger: Ledger,
        record: RunRecord,
        requests: Array,
        lengths: Array,
        lines_of: LinesOf,
        *,
        terms: Terms,
        reuse: bool,
        before: Callable[[], None],
    ) -> Claimed:
        """Raise PlanChanged, before anything is claimed, where the requests are others now."""
        if digest_of(requests) != self.digest:
            raise PlanChanged(
                "this is not what was planned: the frame or the prompt function has changed since",
                "nothing was sent",
                hint="plan again: df.claude.plan(…)",
            )
        return claim(ledger, record, requests, lengths, lines_of, terms=terms, reuse=reuse, before=before)


# ------------------------------------------------------------------ measuring


@dataclass(frozen=True, slots=True)
class _Measured:
    """Tokens of the prompts: of each request to send, of all, and what is to be said of them."""

    each: Array
    tokens: Range
    note: str = ""


def _measured(ledger: Ledger, backend: Backend, sizing: Sizing, model: Model | None) -> _Measured:
    """By the server's counts of a sample; else by characters."""
    if not len(sizing.new) or sizing.record is None:
        return _Measured(np.empty(0), Range(0.0, 0.0, 0.0, "nothing to send"))
    at = forecasts.strata(sizing.sizes[sizing.sampled], COUNTED)
    told, note = _told(ledger, backend, sizing.record, [sizing.sample[index] for index in at.tolist()])
    if told:
        which = sizing.sampled[at[[index for index, _ in told]]]
        tokens = np.array([float(count) for _, count in told])
        share, how, note = forecasts.COUNTED, f"count_tokens of {len(told)} request{'s' * (len(told) != 1)}", ""
    else:
        which, tokens = sizing.sampled, _guessed(sizing.record, sizing.sample, model)
        share, how = forecasts.GUESSED, "from characters"
    line = Line.through(sizing.sizes[which], tokens)
    return _Measured(line.at(sizing.sizes), line.total(sizing.sizes, share=share, how=how), note)


def _guessed(record: RunRecord, sample: Sequence[bytes], model: Model | None) -> Array:
    """Tokens by characters, the shared part counted once."""
    dense = model.dense if model else 1.0
    shared = shared_of(record, "")
    common = forecasts.of_request(msgspec.json.decode(shared.head.removesuffix(b",") + shared.tail), dense=dense)
    own = [forecasts.characters(msgspec.json.decode(b"[" + part + b"]"), dense=dense) for part in sample]
    return common + np.array(own)


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


def _history(ledger: Ledger, record: RunRecord) -> Array:
    """How many tokens the answers to the same prompt had, in runs of this ledger."""
    alike = {run.id for run in ledger.runs() if run.shared == record.shared and run.spec.prompt == record.spec.prompt}
    lengths = [np.empty(0, np.uint32)]
    for chunk in ledger.claims(record.shared):
        if chunk.state == COLLECTED and chunk.run in alike and chunk.kind not in ASKED_ANEW:
            found = read_array(ledger.chunk_file(chunk.id, "found.npy"))
            lengths.append(found["output"][np.isin(found["outcome"], (SUCCEEDED, CODE["truncated"]))])
    return np.concatenate(lengths)


# -------------------------------------------------------------------- money


def _answers(ledger: Ledger, record: RunRecord, count: int) -> tuple[Range, str]:
    """Tokens of the answers, and a hint where nothing is known of them."""
    history = _history(ledger, record)
    if len(history):
        return forecasts.answered(history, count, record.max_tokens), ""
    return forecasts.unknown(count, record.max_tokens), NARROWER if count else ""


def _dollars(
    ready: Prepared, sizing: Sizing, model: Model | None, measured: _Measured, tokens_out: Range
) -> tuple[Range | None, float | None, float | None]:
    """In a batch, through ordinary calls, and with a request for every row."""
    if model is None:
        return None, None, None
    asks = ready.row_request[ready.row_request >= 0]
    samples = ready.record.spec.samples
    copies = np.tile(np.bincount(asks, minlength=ready.record.requests // samples), samples)[sizing.new]
    us = b'"inference_geo":"us"' in ready.record.spec.head.encode()
    answer = tokens_out.likely / max(1, len(copies))

    def usd(times: Array) -> tuple[float, float]:
        return forecasts.usd(model, measured.each, answer, times=times, us=us)

    amount = forecasts.spend(*usd(np.where(sizing.direct, 1.0, model.batch)), measured.tokens, tokens_out)
    return amount, sum(usd(np.ones(len(copies)))), sum(usd(copies)) * model.batch
