"""A run in words and tables: the snapshot for displays, failed rows, one row in full, the table of runs."""

from __future__ import annotations

import html
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dfbatch import pricing
from dfbatch.columns import Builder, Column, cell
from dfbatch.kinds import TEXT, Kind
from dfbatch.ledger.files import lines
from dfbatch.ledger.records import (
    COLLECTED,
    ENDED,
    PLANNED,
    RELEASED,
    SUBMITTED,
    SUBMITTING,
    BatchRecord,
    ChunkRecord,
    RunRecord,
)
from dfbatch.progress import BatchMark, Snapshot
from dfbatch.results import OUTCOMES, PENDING, SUCCEEDED, answer, error_text, parse
from dfbatch.run.spools import parts_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dfbatch.ledger import Ledger
    from dfbatch.plan import Forecast
    from dfbatch.run import Run
    from dfbatch.run.loop import Work
    from dfbatch.run.sheet import Sheet

SEE_FAILURES = "run.failures() shows why; run.retry() asks them again (run = dfbatch.last_run())"
_MARKS = {PLANNED: "planned", SUBMITTED: "waiting", ENDED: "collecting", COLLECTED: "done"}


def snapshot(run: Run, work: Work, ledger: Ledger, take: np.ndarray[Any, Any], *, since: float) -> Snapshot:
    """What displays show of a run."""
    now = work.clock.now()
    chunks = [chunk for chunk in ledger.chunks(run.id) if chunk.state != RELEASED]
    own = {chunk.id for chunk in chunks if chunk.run == run.id}
    outcomes = tally(work.sheet.outcomes(take))
    answered = work.sheet.source[take[take >= 0]] if len(work.sheet.requests) else np.empty(0, np.int32)
    borrowed = [at for at, chunk in enumerate(work.sheet.chunks) if chunk.id not in own]
    return Snapshot(
        run=run.id,
        name=run.name,
        status=run.status,
        model=run.record.model,
        answered_by=work.backend.answered_by or run.record.answered_by,
        rows=run.record.rows,
        requests=run.record.requests,
        reused=int(np.isin(answered, borrowed).sum()),
        counts=outcomes,
        batches=tuple(_mark(chunk, ledger.batch(chunk.id), work, now) for chunk in chunks),
        elapsed=now - since,
        spent=str(run.cost),
        message=run.message,
    )


def tally(outcomes: np.ndarray[Any, Any]) -> dict[str, int]:
    """Rows by outcome."""
    counts = np.bincount(outcomes, minlength=len(OUTCOMES)).tolist()
    return {name: count for name, count in zip(OUTCOMES, counts, strict=True) if count}


def _mark(chunk: ChunkRecord, batch: BatchRecord | None, work: Work, now: float) -> BatchMark:
    state: Any = _MARKS.get(chunk.state, "failed")
    if chunk.state == SUBMITTING:
        state = "sending" if chunk.id in work.posting else "in doubt"
    if chunk.state == SUBMITTED and batch is not None and batch.status == "canceling":
        state = "canceling"
    age = now - batch.accepted if batch is not None and state in ("waiting", "canceling") else None
    return BatchMark(str(chunk.ordinal + 1), state, chunk.requests, age, batch.id if batch else None)


def keys(ledger: Ledger, record: RunRecord) -> list[Column]:
    """The values of `key=`, one a row, where the run had one."""
    if record.spec.key is None:
        return []
    cells = [msgspec.json.decode(line) for line in lines(ledger.run_file(record.id, "keys.jsonl"))]
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
    with ledger.chunk_file(sheet.chunks[source].id, "jsonl").open("rb") as file:
        file.seek(int(mark["offset"]))
        return file.read(int(mark["length"]))


def answer_text(ledger: Ledger, sheet: Sheet, request: int) -> str:
    """What the model wrote for a request, or what the server said instead."""
    line = parse(raw_line(ledger, sheet, request))
    if line is None:
        return ""
    if line.result.message is not None:
        return answer(line.result.message)
    return error_text(line.result.error) if line.result.type == "errored" else line.result.type


def failed_columns(
    ledger: Ledger, record: RunRecord, sheet: Sheet, take: np.ndarray[Any, Any], errors: Column
) -> list[Column]:
    """Rows without an answer, the most frequent cause first."""
    outcomes = sheet.outcomes(take)
    failed = np.flatnonzero(~np.isin(outcomes, (SUCCEEDED, PENDING)))
    causes = [(OUTCOMES[outcomes[row]], str(errors.values[row] or "")) for row in failed.tolist()]
    frequency = Counter(causes)
    order = sorted(range(len(failed)), key=lambda at: (-frequency[causes[at]], causes[at], int(failed[at])))
    rows = failed[order].tolist()
    asked = _asked(ledger, record, sheet, take, rows)
    told = [answer_text(ledger, sheet, int(take[row])) if take[row] >= 0 else "" for row in rows]
    size = len(rows)
    columns: list[tuple[str, Kind, list[Any]]] = [
        ("row", Kind("int"), rows),
        ("status", TEXT, [causes[at][0] for at in order]),
        ("error", TEXT, [causes[at][1] or None for at in order]),
        ("answer", TEXT, [text or None for text in told]),
        ("prompt", TEXT, asked),
    ]
    built = []
    for name, kind, values in columns:
        builder = Builder(name, kind, size)
        builder.put(range(size), values)
        built.append(builder.column())
    return built


def announcement(record: RunRecord, asked: int, cost: Forecast | None) -> str:
    """One line: a run's id, its rows, how many requests are sent, the forecast, how to come back."""
    parts = [f"run {record.id}: {record.rows:,} rows, {asked:,} requests to send"]
    parts += [f"{record.requests - asked:,} reused"] if record.requests > asked else []
    parts += [str(cost)] if cost and asked else []
    return " · ".join([*parts, f"dfbatch.open({record.id!r}).result()"])


def failed_rows(record: RunRecord, counts: dict[str, int], errors: Column) -> list[str]:
    """How many rows have no answer, and the commonest cause."""
    failed = {name: count for name, count in counts.items() if name not in ("succeeded", "skipped")}
    parts = ", ".join(f"{count:,} {name}" for name, count in sorted(failed.items(), key=lambda item: -item[1]))
    told = f"{sum(failed.values()):,} of {record.rows:,} rows of run {record.id} have no answer: {parts}"
    causes = Counter(str(errors.values[row]) for row in np.flatnonzero(errors.valid).tolist())
    return [told, *(f"most often: {cause[:200]} ({count:,}×)" for cause, count in causes.most_common(1))]


def _asked(
    ledger: Ledger, record: RunRecord, sheet: Sheet, take: np.ndarray[Any, Any], rows: Sequence[int]
) -> list[str | None]:
    """What rows asked, from the spools; those that succeeded are no longer kept there."""
    wanted = take[list(rows)]
    digests = sheet.requests["digest"][wanted[wanted >= 0]]
    chunk_ids = [chunk.id for chunk in ledger.chunks(record.id)]
    found = parts_from(ledger, chunk_ids, digests)
    by_digest = {digests[index]: line for index, line in found.items()}
    return [
        _prompt_text(by_digest.get(sheet.requests["digest"][request], b"")) if request >= 0 else None
        for request in wanted.tolist()
    ]


def _prompt_text(part: bytes) -> str | None:
    if not part:
        return None
    messages: list[dict[str, Any]] = msgspec.json.decode(b"[" + part + b"]")
    content = messages[-1]["content"] if len(messages) == 1 else messages
    return content if isinstance(content, str) else msgspec.json.encode(content).decode()


@dataclass(frozen=True, slots=True)
class Row:
    """One row in full; prints as text."""

    row: int
    status: str
    error: str | None
    asked: str | None
    answer: str
    values: dict[str, Any]
    model: str

    @classmethod
    def of(  # noqa: D102, PLR0917
        cls, ledger: Ledger, record: RunRecord, sheet: Sheet, take: np.ndarray[Any, Any], errors: Column, row: int
    ) -> Row:
        from dfbatch.run.layout import laid_out

        request = int(take[row])
        columns = laid_out(sheet, record.spec, take[[row]], extras=False)
        return cls(
            row=row,
            status=OUTCOMES[sheet.outcomes(take[[row]])[0]],
            error=cell(errors, row),
            asked=_asked(ledger, record, sheet, take, [row])[0],
            answer=answer_text(ledger, sheet, request) if request >= 0 else "",
            values={column.name: cell(column, 0) for column in columns},
            model=record.model,
        )

    def __repr__(self) -> str:
        """As a person reads it."""
        lines_ = [f"row {self.row}: {self.status}" + (f" ({self.error})" if self.error else ""), f"model: {self.model}"]
        lines_ += [f"asked: {self.asked}"] if self.asked else ["asked: (kept until it succeeded)"]
        lines_ += [f"answer: {self.answer}", *(f"{name}: {value!r}" for name, value in self.values.items())]
        return "\n".join(lines_)


def runs_html(records: Sequence[RunRecord], statuses: Sequence[str]) -> str:
    """The table of runs."""
    head = "".join(f"<th>{name}</th>" for name in ("run", "made", "status", "rows", "model", "name"))
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in _cells(record, status)) + "</tr>"
        for record, status in zip(records, statuses, strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(record: RunRecord, status: str) -> tuple[str, ...]:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
    return record.id, made, status, f"{record.rows:,}", record.model, record.name


def as_if_prices(record: RunRecord, tokens: pricing.Tokens) -> tuple[float | None, float | None]:
    """What these tokens cost in a batch and synchronously, USD."""
    return pricing.cost(record.model, tokens), pricing.cost(record.model, tokens, batch=False)
