"""From a call to a run on disk: everything is checked and claimed here, and nothing is sent."""

from __future__ import annotations

import contextlib
import enum
import math
import secrets
import shutil
import time
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch import schemas
from dfbatch.contradictions import crowded, retiring, without_thinking
from dfbatch.distinct import distinct, occurrences
from dfbatch.errors import OptionError, RetirementWarning, SchemaError, UnknownColumn, explain, outside
from dfbatch.forecasts import Range
from dfbatch.frames import adapter as adapter_of
from dfbatch.ledger.records import RunRecord, Spec
from dfbatch.prompts import compile_prompt, example_turns
from dfbatch.prompts.naming import fillable, near_miss
from dfbatch.requests import Digester, Shared, shared
from dfbatch.run import layout, outlook
from dfbatch.run.budgets import brake, named
from dfbatch.run.claims import Claimed, asked_before, claim
from dfbatch.run.clock import current
from dfbatch.run.groups import Planner
from dfbatch.run.history import foreseen
from dfbatch.run.limits import as_told, day, of
from dfbatch.run.prices import known
from dfbatch.run.rows import Asked, Scratch, ask, encoded_keys
from dfbatch.run.sheet import Sheet
from dfbatch.run.spools import Terms, Wanted, remove
from dfbatch.run.written import left_beside, replaced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dfbatch.backends import Backend
    from dfbatch.caching import Caching
    from dfbatch.forecasts import Forecast
    from dfbatch.frames import Adapter
    from dfbatch.frames.cells import Table
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.lock import Lock
    from dfbatch.models import Model
    from dfbatch.options import Options
    from dfbatch.prompts import Prompt
    from dfbatch.run.claims import Claiming
    from dfbatch.schemas import Schema

CITED: Final = b'"citations":{"enabled":true'  # as encoded; within a text its quotes would be escaped


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run on disk, claimed and locked, not sent: what `Run` is made of."""

    record: RunRecord
    sheet: Sheet
    schema: Schema
    row_request: np.ndarray[Any, Any]
    lock: Lock
    claimed: Claimed
    replaced: tuple[str, ...]
    forecast: Forecast
    prompt: Prompt


def prepare(
    frame: Any,
    prompt: Any,
    schema: Any,
    options: Options,
    *,
    series: str | None,
    ledger: Ledger,
    backend: Backend,
    claiming: Claiming = claim,
) -> Prepared:
    """Check the call, render all rows, claim what nobody has asked yet."""
    adapter = adapter_of(frame)
    read = schemas.read(schema)
    answers = layout.answer_columns(read, options)
    names = adapter.names(frame)
    _check_key(options.key, names)
    written = layout.all_names(answers, options)
    gives_way: list[str] = []
    if series is None:
        own, beside = written[: len(answers)], written[len(answers) :]
        gives_way = replaced(adapter, frame, own, beside, ledger, overwrite=options.overwrite)
        if gives_way and (told := left_beside(adapter, frame, written, gives_way, ledger)):
            warnings.warn(told, stacklevel=outside())
    compiled = compile_prompt(prompt, names, series=series, replaced=gives_way, same_for_all=options.same_for_all)
    _warn_of_fields(options.system, compiled)
    model = known(ledger.folder, options.prices).find(options.model)
    common = _shared(compiled, read, options, backend, without_thinking(options.params, model))
    run_id = secrets.token_hex(4)
    folder = ledger.run_file(run_id, "rows.npy").parent
    lock = ledger.lock(run_id)
    lock.acquire()
    try:
        wanted = dict.fromkeys([*compiled.needs, *([options.key] if options.key else [])])
        table = _snapshot(adapter, frame, list(wanted))
        asked = ask(table, compiled, Digester(common.digest), on_null=options.on_null, scratch=folder / "scratch")
        made = _Made(ledger, backend, options, adapter, compiled, read, answers, common, run_id, claiming)
        return made.claimed(asked, table, lock, tuple(gives_way))
    except BaseException:
        remove(ledger, ledger.forget(run_id))  # where it was claimed already
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)
        raise


@dataclass(frozen=True, slots=True)
class _Made:
    """The parts of a call, checked, on their way to a run."""

    ledger: Ledger
    backend: Backend
    options: Options
    adapter: Adapter
    prompt: Prompt
    schema: Schema
    answers: list[tuple[str, Any]]
    shared: Shared
    run_id: str
    claiming: Claiming

    def claimed(self, asked: Asked, table: Table, lock: Lock, gives_way: tuple[str, ...]) -> Prepared:
        """Equal rows made one, the run's files written, its requests claimed."""
        firsts = distinct(asked.digests, asked.asks)
        if not self.options.dedupe:
            _tell_apart(
                asked, firsts.requests["position"][firsts.row_request], Digester(self.shared.digest), self._scratch
            )
            firsts = distinct(asked.digests, asked.asks)
        if self.schema.wire is not None:
            self._refuse_citations(asked, firsts.requests["position"])
        asked.rows["request"] = firsts.row_request
        offsets, lengths = (part[firsts.requests["position"]] for part in (asked.offsets, asked.lengths))
        requests = self._sampled(firsts.requests, offsets, lengths, rows=len(asked.rows))
        offsets, lengths = (np.tile(part, self.options.samples) for part in (offsets, lengths))
        cache, wanted = self._cached(requests, offsets, lengths)
        record = self._record(asked, len(requests), cache)
        self.ledger.write_array(self.ledger.run_file(self.run_id, "rows.npy"), asked.rows)
        self.ledger.write_array(self.ledger.run_file(self.run_id, "requests.npy"), requests)
        if self.options.key:
            self.ledger.write_lines(
                self.ledger.run_file(self.run_id, "keys.jsonl"), encoded_keys(table, self.options.key)
            )
        claimed = self.claiming(
            self.ledger,
            record,
            wanted,
            terms=Terms.of(record),
            reuse=self.options.reuse,
            before=lambda: self.backend.ready(self.ledger.folder),
        )
        self._scratch.path.unlink()
        sheet = Sheet(requests, self.schema, tuple(self.options.include), self.run_id)
        count = sum(chunk.requests for chunk in claimed.chunks)
        model = known(self.ledger.folder, self.options.prices).find(self.options.model)
        cost = foreseen(self.ledger, record, claimed.chunks, model, as_if=not self.backend.spends)
        if count and self.backend.kind != "local":
            brake(cost, record.model, model, budget=record.spec.budget, spends=self.backend.spends)
        if count:
            self._advise(record, model)
        self._note(cost, claimed, model)
        return Prepared(record, sheet, self.schema, firsts.row_request, lock, claimed, gives_way, cost, self.prompt)

    def _refuse_citations(self, asked: Asked, positions: np.ndarray[Any, Any]) -> None:
        """Raise where a document asks for citations beside a schema: the API refuses every such request."""
        row = None
        if CITED not in self.shared.head:
            if not self.prompt.may_have_blocks:
                return
            found = self._scratch.parts(asked.offsets[positions], asked.lengths[positions])
            row = next((int(at) for at, part in zip(positions, found, strict=True) if CITED in part), None)
            if row is None:
                return
        raise OptionError(
            f"citations with schema= are refused by the API{'' if row is None else f' (row {row})'}",
            "citations need free text, and a schema allows JSON alone; nothing was sent",
            hint='leave schema= out and read the citations with include=["message"], or switch the citations off',
        )

    def _advise(self, record: RunRecord, model: Model | None) -> None:
        """Warn of a model that retires soon, and of thinking that takes the room of answers."""
        if self.backend.kind == "local":
            return
        told = as_told(self.ledger.folder, record, model)
        if soon := retiring(told, day(current().now())):
            hint = f'model="{told.successor}"' if told.successor else "ask another model"
            warnings.warn(explain(soon, hint=hint), RetirementWarning, stacklevel=outside())
        if note := crowded(of(record, direct=False), told):
            warnings.warn(note, stacklevel=outside())

    def _note(self, cost: Forecast, claimed: Claimed, model: Model | None) -> None:
        """Keep the forecast; what goes through `/v1/messages` has no batch's discount."""
        if model is None or not claimed.chunks or cost.low is None or cost.high is None:
            return
        full = all(chunk.kind == "now" for chunk in claimed.chunks)
        low, high = (usd / (model.batch if full else 1.0) for usd in (cost.low, cost.high))
        outlook.note(self.ledger, self.run_id, Range(low, math.sqrt(low * high), high, cost.how))

    def _sampled(
        self, once: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any], *, rows: int
    ) -> np.ndarray[Any, Any]:
        """The requests of all samples, the first ones first: those are what a call without samples asks.

        Every other one has a digest of its own, and a position behind those of the sample before it.
        """
        digester = Digester(self.shared.digest)
        requests = np.tile(once, self.options.samples)
        for sample in range(1, self.options.samples):
            these = requests[sample * len(once) : (sample + 1) * len(once)]
            these["position"] += sample * rows
            these["digest"] = [digester.one(part, sample) for part in self._scratch.parts(offsets, lengths)]
        return requests

    @property
    def _scratch(self) -> Scratch:
        return Scratch(self.ledger.run_file(self.run_id, "scratch"))

    def _cached(
        self, requests: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]
    ) -> tuple[Caching, Wanted]:
        """What is marked for the prompt cache: what all requests share, and prefixes of groups of them."""
        model = known(self.ledger.folder, self.options.prices).find(self.options.model)
        said = self.options.cache if self.backend.kind != "local" else None
        everything, blocks = np.arange(len(requests)), self.prompt.may_have_blocks
        planner = Planner(said, model, self.shared, self._scratch, offsets, lengths, everything, blocks)
        if self.options.reuse and planner.counts():
            known_ones = asked_before(
                self.ledger, self.shared.digest, requests["digest"], allowed=self.options.max_tokens
            )
            planner = replace(planner, new=np.flatnonzero(~known_ones.covered))
        cache, groups = planner.decide()
        if cache.warning:
            warnings.warn(cache.warning, stacklevel=outside())
        if groups:
            return cache, groups.wanted(requests, self._scratch, offsets, lengths)
        scratch = self._scratch
        return cache, Wanted(requests, lengths, lambda which: scratch.lines(offsets[which], lengths[which]))

    def _record(self, asked: Asked, requests: int, cache: Caching) -> RunRecord:
        options = self.options
        spec = Spec(
            prompt=self.prompt.text,
            reads=list(self.prompt.reads),
            key=options.key,
            full=self.schema.full,
            shape=self.schema.shape,
            columns=self.answers,
            include=list(options.include),
            prefix=layout.extras_prefix(options),
            unpack=options.unpack,
            into=options.into,
            system=options.system,
            betas=list(options.betas),
            head=self.shared.head.decode(),
            tail=self.shared.tail.decode(),
            on_error=options.on_error,
            dtype_backend=options.dtype_backend,
            reasons=asked.reasons,
            reuse=options.reuse,
            chunk_size=None if options.chunk_size == "auto" else options.chunk_size,
            backend=self.backend.recipe,
            retries=options.retries,
            correct=options.correct,
            samples=options.samples,
            prices={name: dict(price) for name, price in options.prices.items()},
            preflight=options.preflight and self.backend.kind != "local",
            pilot=("now" if options.pilot else "") if isinstance(options.pilot, bool) else str(options.pilot),
            max_failed=options.max_failed,
            cache=cache.lifetime,
            leads=cache.leads,
            marked=cache.marked,
            budget=named(options.budget),
            strict=options.budget_mode == "strict",
            function=self.prompt.text.partition(" (")[0] if self.prompt.kind == "callable" else "",
        )
        return RunRecord(
            id=self.run_id,
            created=time.time(),
            name=options.name or "",
            status="planned",
            message="",
            frame=self.adapter.kind,
            rows=len(asked.rows),
            requests=requests,
            skipped=int((~asked.asks).sum()),
            model=options.model,
            max_tokens=options.max_tokens,
            shared=self.shared.digest,
            who=self.backend.who,
            backend=self.backend.kind,
            answered_by=self.backend.answered_by,
            spends=self.backend.spends,
            spec=spec,
        )


def _tell_apart(asked: Asked, first: np.ndarray[Any, Any], digester: Digester, scratch: Scratch) -> None:
    """Give equal rows digests of their own: `dedupe=False` asks each of them."""
    count = occurrences(asked.digests, asked.asks)
    again = np.flatnonzero(count)
    places = asked.offsets[first[again]]  # the part of the first of them is in the scratch file for sure
    asked.offsets[again] = places
    parts = scratch.parts(places, asked.lengths[again])
    asked.digests[again] = [
        digester.one(row_part, seen) for row_part, seen in zip(parts, count[again].tolist(), strict=True)
    ]


def _check_key(key: str | None, names: list[str]) -> None:
    if key is not None and key not in names:
        near = near_miss(key, names)
        hint = f"did you mean key={near!r}?" if near else "name a column that tells rows apart"
        raise UnknownColumn(f"no column {key!r} for key=", f"columns: {', '.join(names[:20])}", hint=hint)


def _warn_of_fields(system: object, prompt: Prompt) -> None:
    """A system prompt that looks like a template goes out with its braces: that is said."""
    if fields := fillable(system, prompt.names):
        warnings.warn(
            explain(
                f"system= is sent as it is, never as a template: {', '.join(fields)} is not filled in",
                hint="name columns in the prompt, which is a template",
            ),
            stacklevel=outside(),
        )


def _snapshot(adapter: Adapter, frame: Any, names: list[str]) -> Table:
    return adapter.snapshot(frame, names)


def _shared(prompt: Prompt, schema: Schema, options: Options, backend: Backend, params: Mapping[str, Any]) -> Shared:
    turns = example_turns(prompt, options.examples, as_json=lambda answer: _example_answer(schema, answer))
    try:
        return shared(
            model=options.model,
            max_tokens=options.max_tokens,
            system=options.system,
            turns=turns,
            params=params,
            wire=schema.wire,
            judged=schema.full,
            betas=options.betas,
            who=backend.who,
        )
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise OptionError(
            f"params, system or examples hold something that is not JSON: {error}",
            "nothing was sent",
            hint="use texts, numbers, booleans, None, lists and dicts",
        ) from error


def _example_answer(schema: Schema, answer: Any) -> str:
    """An example's answer as the model would write it; one that does not fit the schema is refused."""
    if schema.shape == "text":
        return str(answer)
    bare = _plain(answer)
    if schema.shape == "scalar" and not (isinstance(bare, dict) and bare.keys() == {layout.ANSWER}):
        bare = {layout.ANSWER: bare}
    text = msgspec.json.encode(bare, enc_hook=str).decode()
    try:
        schema.judge(text)
    except schemas.Invalid as invalid:
        raise SchemaError(str(invalid)) from invalid
    return text


def _plain(answer: Any) -> Any:
    if isinstance(answer, enum.Enum):
        return answer.value
    with contextlib.suppress(AttributeError):
        return answer.model_dump(mode="json")
    return answer
