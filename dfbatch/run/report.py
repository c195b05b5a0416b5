"""A run in words: the snapshot for displays, what was asked and answered, one row in full.

Rows that failed are in `failures.py`, many runs in `listing.py`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dfbatch import pricing
from dfbatch.columns import Builder, Column
from dfbatch.errors import LedgerDamaged
from dfbatch.kinds import Kind
from dfbatch.ledger.files import translated
from dfbatch.ledger.states import (
    ABANDONED,
    COLLECTED,
    ENDED,
    IN_DOUBT,
    OVER,
    PLANNED,
    POSTED,
    RELEASED,
    SPLIT,
    SUBMITTED,
)
from dfbatch.progress import BatchMark, Snapshot
from dfbatch.progress.words import many
from dfbatch.requests import unmarked
from dfbatch.results import OUTCOMES, answer, parse
from dfbatch.run import ending, ends
from dfbatch.run.spools import parts_from
from dfbatch.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.forecasts import Forecast
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import BatchRecord, ChunkRecord, RunRecord
    from dfbatch.pricing import Cost
    from dfbatch.progress import Peek
    from dfbatch.run import Run
    from dfbatch.run.loop import Work
    from dfbatch.run.sheet import Sheet

log = logging.getLogger("dfbatch")

_TRIES = ("again", "longer", "empty", "corrected", "hand")  # kinds of chunks that ask again
_STILL = ("done", "canceled", "paused")  # no time passes for these
_MARKS = {PLANNED: "planned", SUBMITTED: "waiting", ENDED: "collecting", COLLECTED: "done"}


def snapshot(run: Run, work: Work, take: np.ndarray[Any, Any], *, peek: Peek, took: Sequence[float]) -> Snapshot:
    """What displays show of a run; `peek` are its first answers, `took` how long batches took before."""
    ledger, now = work.ledger, work.clock.now()
    counts, cost, status = run.counts, run.cost, run.status  # which lay what is collected first
    all_chunks = ledger.chunks(run.id)
    chunks = [chunk for chunk in all_chunks if chunk.state not in (RELEASED, SPLIT, ABANDONED)]
    own = {chunk.id for chunk in chunks if chunk.run == run.id}
    answered = work.sheet.source[take[take >= 0]] if len(work.sheet.requests) else np.empty(0, np.int32)
    borrowed = [at for at, chunk in enumerate(work.sheet.chunks) if chunk.id not in own]
    return Snapshot(
        run=run.id,
        name=run.name,
        status=status,
        model=run.record.model,
        answered_by=work.backend.answered_by or run.record.answered_by,
        rows=run.record.rows,
        requests=run.record.requests,
        reused=int(np.isin(answered, borrowed).sum()),
        counts=counts,
        batches=tuple(_mark(chunk, ledger.batch(chunk.id), now, own=chunk.id in own) for chunk in chunks),
        elapsed=max(0.0, (_last_change(run.record, all_chunks) if status in _STILL else now) - run.record.created),
        spent=str(cost),
        message=run.message,
        reserved=pricing.dollars(cost.reserved, as_if=cost.as_if) if cost.reserved else "",
        forecast=_forecast(cost) if status not in _STILL else "",
        foretold=_foretold(cost),
        saved=_saved(cost),
        retries=sum(chunk.requests for chunk in chunks if chunk.kind in _TRIES and chunk.state not in OVER),
        ends=ends.told(work, took) if status not in _STILL else "",
        peek=peek,
        tries=bool(run.record.spec.retries) and status not in _STILL,
        tied=work.backend.kind == "local",
        why=_why(run),
        way_on=ending.way_on(run.id, run.message) if status == "paused" else "",
    )


def _why(run: Run) -> str:
    """Why an earlier run on these rows is not reused, and what that costs."""
    known = run.forecast is not None and run.forecast.high is not None
    return f"{run.why} · asking again costs {run.forecast}" if run.why and known else run.why


def _forecast(cost: Cost) -> str:
    """The range in which the whole run will end, in words."""
    if cost.forecast is None or cost.forecast.low == cost.forecast.high:
        return ""
    if cost.forecast.how == pricing.FROM_BYTES:
        return f"at most {pricing.dollars(cost.forecast.high, as_if=cost.as_if)}"
    return f"{pricing.dollars(cost.forecast.low)} to {pricing.dollars(cost.forecast.high, as_if=cost.as_if)}"


def _foretold(cost: Cost) -> str:
    """What was expected before most of it was sent, and how far off that was."""
    if cost.outlook is None or cost.error is None:
        return ""
    low, high = pricing.dollars(cost.outlook.low), pricing.dollars(cost.outlook.high, as_if=cost.as_if)
    return f"{low} to {high} ({cost.outlook.how}), off by {pricing.off_by(cost.error)}"


def _saved(cost: Cost) -> tuple[tuple[str, str], ...]:
    """What was not paid: by what, and how much in words."""
    if cost.saved is None:
        return ()
    sums = [
        ("batches", cost.saved.batch),
        ("equal rows", cost.saved.dedupe),
        ("reuse", cost.saved.reuse),
        (f"the prompt cache ({cost.hits:.0%} hits)" if cost.hits else "the prompt cache", cost.saved.cache),
    ]
    return tuple((how, pricing.dollars(usd, as_if=cost.as_if)) for how, usd in sums if usd > 0)


def _last_change(record: RunRecord, chunks: Sequence[ChunkRecord]) -> float:
    """When something last happened to the run: borrowed chunks may come in after its own."""
    return max([record.created, *(chunk.changed for chunk in chunks)])


def tally(outcomes: np.ndarray[Any, Any]) -> dict[str, int]:
    """Rows by outcome."""
    counts = np.bincount(outcomes, minlength=len(OUTCOMES)).tolist()
    return {name: count for name, count in zip(OUTCOMES, counts, strict=True) if count}


def _mark(chunk: ChunkRecord, batch: BatchRecord | None, now: float, *, own: bool) -> BatchMark:
    state: Any = _MARKS.get(chunk.state, "failed")
    if chunk.state in POSTED:
        state = "sending"
    if chunk.state in IN_DOUBT:
        state = "in doubt"
    if chunk.state == SUBMITTED and batch is not None and batch.status == "canceling":
        state = "canceling"
    age = now - batch.accepted if batch is not None and state in ("waiting", "canceling") else None
    return BatchMark(str(chunk.ordinal + 1), state, chunk.requests, age, batch.id if batch else None, own)


def keys(ledger: Ledger, record: RunRecord) -> list[Column]:
    """The values of `key=`, one a row, where the run had one; missing where the file that has them is damaged."""
    if record.spec.key is None:
        return []
    try:
        cells = [msgspec.json.decode(line) for line in ledger.read_lines(ledger.run_file(record.id, "keys.jsonl"))]
    except (LedgerDamaged, msgspec.MsgspecError) as damage:
        log.warning("%s: the values of key= are missing", str(damage).partition("\n")[0])
        cells = [None] * record.rows
    builder = Builder(record.spec.key, _kind_of(cells), len(cells))
    builder.put(range(len(cells)), cells)
    return [builder.column()]


def _kind_of(cells: Sequence[Any]) -> Kind:
    types = {type(value) for value in cells} - {type(None)}
    for name, kind in ((int, "int"), (float, "float"), (str, "str"), (bool, "bool")):
        if types == {name}:
            return Kind(kind)  # type: ignore[arg-type]  # the four names above are kinds
    return Kind("json")


def raw_line(ledger: Ledger, sheet: Sheet, request: int) -> bytes:
    """The line of results that answered a request, as it came; empty where none did."""
    source = int(sheet.source[request])
    if source < 0:
        return b""
    mark = sheet.found[request]
    path = ledger.chunk_file(sheet.chunks[source].id, "jsonl")
    with translated(path):
        if not path.exists():
            raise ledger.damaged(path, "is gone")
        with path.open("rb") as file:
            file.seek(int(mark["offset"]))
            return file.read(int(mark["length"]))


def answer_text(ledger: Ledger, sheet: Sheet, request: int) -> str:
    """What the model wrote for a request; empty where no answer came, only an error."""
    line = parse(raw_line(ledger, sheet, request))
    return "" if line is None or line.result.message is None else answer(line.result.message)


def announcement(record: RunRecord, asked: int, cost: Forecast | None, why: str) -> str:
    """One line: a run's id, its rows, how many requests are sent, the forecast, why, how to come back."""
    parts = [f"run {record.id}: {many(record.rows, 'row')}, {many(asked, 'request')} to send"]
    parts += [f"{record.requests - asked:,} reused"] if record.requests > asked else []
    parts += [str(cost)] if cost and asked else []
    parts += [why] if why else []
    return " · ".join([*parts, f"dfbatch.open({record.id!r}).answers()"])


def asked(
    ledger: Ledger, record: RunRecord, sheet: Sheet, take: np.ndarray[Any, Any], rows: Sequence[int]
) -> list[str | None]:
    """What rows asked, from the spools; those that succeeded are no longer kept there."""
    wanted = take[list(rows)]
    digests = sheet.requests["digest"][wanted[wanted >= 0]]
    found = parts_from(ledger, ledger.chunks(record.id), digests)
    by_digest = {digests[index]: line for index, line in found.items()}
    return [
        part_text(by_digest.get(sheet.requests["digest"][request], b"")) if request >= 0 else None
        for request in wanted.tolist()
    ]


def part_text(part: bytes) -> str | None:
    """A row's own part of a request as text, as the user asked it; None where it is not kept."""
    if not part:
        return None
    try:
        messages: list[dict[str, Any]] = msgspec.json.decode(b"[" + unmarked(part) + b"]", type=list[dict[str, Any]])
    except msgspec.MsgspecError:  # of a damaged spool in a ledger without checksums
        return None
    return content_text(messages[-1]["content"] if len(messages) == 1 else messages)


def content_text(content: Any) -> str:
    """A prompt as text: blocks and messages are shown as JSON."""
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()


@dataclass(frozen=True, slots=True)
class Row:
    """One row in full; prints as text. `asked` is None where that is not known any more; `about` says why, or whence.

    >>> Row(3, "skipped", "null in column 'text'", None, "not sent", "", {"answer": None}, "claude-haiku-4-5")
    row 3: skipped (null in column 'text')
    model: claude-haiku-4-5
    asked: not sent
    answer: None
    """

    row: int
    status: str
    error: str | None
    asked: str | None
    about: str
    answered: str
    values: dict[str, Any]
    model: str

    def __repr__(self) -> str:
        """As a person reads it."""
        about = f" ({self.about})" if self.about and self.asked is not None else ""
        told = [
            f"row {self.row}: {self.status}" + (f" ({self.error})" if self.error else ""),
            f"model: {self.model}",
            f"asked{about}: {self.about if self.asked is None else self.asked}",
            *([f"answered: {self.answered}"] if self.answered else []),
            *(f"{name}: {value!r}" for name, value in self.values.items()),
        ]
        return visible("\n".join(told))
