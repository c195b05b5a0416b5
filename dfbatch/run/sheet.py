"""Results → outcomes and typed columns, one place a request. Which rows share a request is the rows file's to say.

Raw files are read here block by block; fetching them is the loop's.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.recfunctions import repack_fields

from dfbatch.columns import Builder, Column
from dfbatch.distinct import locate
from dfbatch.kinds import TEXT, Kind
from dfbatch.results import BILLED, CODE, FINAL, FOUND, OUTCOMES, PENDING, SUCCEEDED, Usage, content, meaning
from dfbatch.run.reader import Found, Reader
from dfbatch.schemas import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.results import Line
    from dfbatch.schemas import Schema

    Judging = Callable[[str], tuple[Any, ...]]

_NO_USAGE = Usage()
_OUTCOME = Kind("category", categories=OUTCOMES[1:])

EXTRAS: dict[str, Kind] = {  # what `include` may add
    "status": _OUTCOME,
    "error": TEXT,
    "stop_reason": TEXT,
    "input_tokens": Kind("int"),
    "output_tokens": Kind("int"),
    "cost": Kind("float"),
    "custom_id": TEXT,
    "message": Kind("json"),
}


class Bill(NamedTuple):
    """What a chunk's requests used and how each ended, and which of the sheet's requests each of them is (-1: none)."""

    targets: np.ndarray[Any, Any]
    used: np.ndarray[Any, Any]  # the fields of FOUND that are billed
    outcomes: np.ndarray[Any, Any]


@dataclass(slots=True)
class Sheet:
    """All that is known of a run's requests so far; filled chunk by chunk, in any order, any number of times."""

    requests: np.ndarray[Any, Any]  # REQUEST
    schema: Schema
    include: tuple[str, ...] = ()
    run: str = ""  # whose chunks have our positions, also where they were asked of another model
    found: np.ndarray[Any, Any] = field(init=False)  # FOUND
    source: np.ndarray[Any, Any] = field(init=False)  # which chunk answered, an index into `chunks`; -1 none
    chunks: list[ChunkRecord] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)  # request → why it has no answer
    laid: set[str] = field(default_factory=set)  # chunks whose answers are all in place
    strange: int = 0  # lines that were not ours, torn, or there twice
    models: dict[str, str] = field(default_factory=dict)  # by chunk: the model that answered
    bills: dict[str, Bill] = field(
        default_factory=dict
    )  # by chunk of this run: all its answers, those that gave way too
    guard: Any = field(
        default_factory=threading.RLock, repr=False
    )  # whoever looks first lays what is there, others wait
    _before: dict[int, tuple[Any, str | None]] = field(default_factory=dict)  # what requests asked again had
    _builders: list[Builder] = field(init=False)
    _extras: dict[str, Builder] = field(init=False)

    def __post_init__(self) -> None:
        """One builder a column."""
        size = len(self.requests)
        self.found = np.zeros(size, FOUND)
        self.source = np.full(size, -1, np.int32)
        self._builders = [Builder(name, kind, size) for name, kind in self.schema.fields]
        wanted = {*self.include} & {"stop_reason", "message", "custom_id"}
        self._extras = {name: Builder(name, EXTRAS[name], size) for name in wanted}

    def take(self, chunk: ChunkRecord, requests: np.ndarray[Any, Any], raw: Path) -> np.ndarray[Any, Any]:
        """Judge a chunk's results and lay them in place; returns what was found of each of its requests.

        Requests of the chunk that this run does not ask are judged too: their outcome is for later runs.
        """
        with self.guard:
            return self._taken(chunk, requests, raw)

    def _taken(self, chunk: ChunkRecord, requests: np.ndarray[Any, Any], raw: Path) -> np.ndarray[Any, Any]:
        ids = [known.id for known in self.chunks]
        if chunk.id not in ids:
            self.chunks.append(chunk)
            ids.append(chunk.id)
        targets = self._targets(chunk, requests)
        reader = Reader(chunk, requests, raw)
        found = np.zeros(len(requests), FOUND)
        for block in reader.blocks():
            self._note_model(chunk, block)
            marks, laid, chosen = self._judge(block, targets[block.at], ids.index(chunk.id))
            found[block.at] = marks
            for name, builder in self._extras.items():
                builder.put(laid, [_extra(name, block, at, reader) for at in chosen.tolist()])
        self.strange += reader.strange
        if chunk.run == self.run:
            self.bills[chunk.id] = Bill(targets.astype(np.int32), repack_fields(found[BILLED]), found["outcome"].copy())
        self.laid.add(chunk.id)
        return found

    def has(self, chunk: ChunkRecord) -> bool:
        """Whether its answers are laid already."""
        return chunk.id in self.laid

    def _note_model(self, chunk: ChunkRecord, block: Found) -> None:
        message = block.lines[0].result.message if block.lines else None
        if message is not None and message.model:
            self.models.setdefault(chunk.id, message.model)

    def _targets(self, chunk: ChunkRecord, requests: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Which of our requests each request of a chunk is; where we asked it in another way, by its position alone."""
        changed = chunk.run == self.run and chunk.head != ""
        if len(self.requests):
            at = np.searchsorted(self.requests["position"], requests["position"])
            at = np.minimum(at, len(self.requests) - 1)
            if changed or (self.requests["digest"][at] == requests["digest"]).all():
                return at
        return locate(requests["digest"], self.requests["digest"])

    def _judge(
        self, block: Found, targets: np.ndarray[Any, Any], origin: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Judge a block and lay its values; returns what was found, where it was laid, and which lines those are."""
        judge = self.schema.judging
        outcomes, errors, values = _said_all(block.lines, judge, blank=(None,) * len(self._builders))
        marks = _marks(block, outcomes)
        chosen = np.flatnonzero((targets >= 0) & self._gives_way(targets, marks["outcome"], origin))
        laid = targets[chosen]
        self.found[laid], self.source[laid] = marks[chosen], origin
        self._note_errors(laid, chosen, errors)
        if len(chosen) < len(values):
            values = [values[at] for at in chosen.tolist()]
        for builder, cells in zip(self._builders, zip(*values, strict=True), strict=False):
            builder.put(laid, cells)
            self._note_misfits(builder)
        marks["outcome"][chosen] = self.found["outcome"][laid]
        return marks, laid, chosen

    def _gives_way(
        self, targets: np.ndarray[Any, Any], outcomes: np.ndarray[Any, Any], origin: int
    ) -> np.ndarray[Any, Any]:
        """A success stays, unless the older chunk brings one too; of failures the latest try's counts.

        Chunks are taken in any order, so it is theirs in the ledger that decides. Within one chunk the reader has
        chosen by content; judging again here would let the order of lines count.
        """
        before = np.array([*(chunk.seq for chunk in self.chunks), 0])[self.source[targets]]
        here = self.chunks[origin].seq
        good, had = outcomes == SUCCEEDED, self.found["outcome"][targets] == SUCCEEDED
        first = self.source[targets] < 0
        way: np.ndarray[Any, Any] = first | (good & ~had) | (good & had & (here < before))
        way |= ~good & ~had & (here > before)
        way |= self.source[targets] == origin
        return way

    def _note_errors(self, laid: np.ndarray[Any, Any], chosen: np.ndarray[Any, Any], errors: dict[int, str]) -> None:
        if self.errors or errors:
            for at, target in zip(chosen.tolist(), laid.tolist(), strict=True):
                self.errors.pop(target, None)
                if at in errors:
                    self.errors[target] = errors[at]

    def _note_misfits(self, builder: Builder) -> None:
        """A value that the column's type cannot hold is no answer: 2**70 in a column of 64-bit integers."""
        for target in builder.misfits:
            self.found["outcome"][target] = CODE["invalid"]
            self.errors[target] = f"value does not fit {builder.kind!r} - at $.{builder.name}"
        builder.misfits.clear()

    def asked_again(self, requests: np.ndarray[Any, Any]) -> None:
        """These are pending again; what they had comes back where nothing better does."""
        for index in requests.tolist():
            self._before.setdefault(index, (self.found[index].copy(), self.errors.pop(index, None)))
        self.found["outcome"][requests] = PENDING

    def settle(self) -> None:
        """Give requests that were asked again, and are pending still, what they had before."""
        for index, (mark, error) in self._before.items():
            if self.found[index]["outcome"] == PENDING:
                self.found[index] = mark
                self.errors.update({index: error} if error else {})
        self._before.clear()

    def absent(self, requests: np.ndarray[Any, Any], outcome: str, why: str) -> None:
        """Give an outcome to requests of a chunk that have none: it never came back. Asked again, they had one."""
        spot = locate(self.requests["digest"], requests["digest"])
        for index in np.flatnonzero((spot >= 0) & (self.found["outcome"] == PENDING)).tolist():
            if index not in self._before:
                self.found[index]["outcome"] = CODE[outcome]
                self.errors[index] = why

    def left_out(
        self, chunk: ChunkRecord, requests: np.ndarray[Any, Any], found: np.ndarray[Any, Any], why: str
    ) -> None:
        """Requests without a line in what came back of a chunk: a failure like any other, by the order of tries."""
        targets = self._targets(chunk, requests)[found["outcome"] == PENDING]
        targets = targets[targets >= 0]
        origin = [known.id for known in self.chunks].index(chunk.id)
        missing = np.full(len(targets), CODE["missing"])
        laid = targets[self._gives_way(targets, missing, origin)]
        self.found[laid], self.source[laid] = np.zeros(1, FOUND), origin
        self.found["outcome"][laid] = CODE["missing"]
        self.errors.update(dict.fromkeys(laid.tolist(), why))

    def columns(
        self, take: np.ndarray[Any, Any] | Sequence[np.ndarray[Any, Any]] | None = None, *, kinds: Collection[str] = ()
    ) -> list[Column]:
        """The answer's columns, or those of these kinds, fanned out onto rows by `take`, which may be one a column."""
        takes = take if isinstance(take, list) else [take] * len(self._builders)
        asked = zip(self._builders, takes, strict=True)
        return [builder.column(rows) for builder, rows in asked if not kinds or builder.kind.name in kinds]

    def added(self, name: str, take: np.ndarray[Any, Any]) -> Column:
        """One of the columns that `include` adds."""
        if name in self._extras:
            return self._extras[name].column(take)
        if name == "status":
            codes = self.outcomes(take).astype(np.int32) - 1
            return Column(name, _OUTCOME, codes, codes >= 0)
        if name == "error":
            told = np.full(len(self.requests), None, object)
            told[list(self.errors)] = list(self.errors.values())
            texts = _spread(told, take, None)
            return Column(name, TEXT, texts, np.array([text is not None for text in texts], bool))
        tokens = self.found["input" if name == "input_tokens" else "output"].astype(np.int64)
        answered = np.isin(self.found["outcome"], [CODE[outcome] for outcome in FINAL])
        return Column(name, Kind("int"), _spread(tokens, take, 0), _spread(answered, take, fill=False))

    def outcomes(self, take: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The outcome of every row, as a code of OUTCOMES."""
        return _spread(self.found["outcome"], take, CODE["skipped"])


def _said_all(
    lines: Sequence[Line], judge: Judging, *, blank: tuple[None, ...]
) -> tuple[list[int], dict[int, str], list[tuple[Any, ...]]]:
    """What lines say: outcomes, errors by line, values. Written out for the plain, complete answer most lines are."""
    outcomes, errors, values = [SUCCEEDED] * len(lines), dict[int, str](), list[tuple[Any, ...]]()
    for at, line in enumerate(lines):
        result = line.result
        message = result.message
        try:
            if (
                message is not None
                and message.stop_reason == "end_turn"
                and len(message.content) == 1
                and (text := message.content[0].text)
                and not text.isspace()
                and message.content[0].type == "text"
                and result.type == "succeeded"
            ):
                values.append(judge(text))
                continue
            outcome, text, error, _ = meaning(result)
            if outcome == "succeeded":
                values.append(judge(text))
                continue
        except Invalid as invalid:
            outcome, error = "invalid", str(invalid)
        values.append(blank)
        outcomes[at] = CODE[outcome]
        if error:
            errors[at] = error
    return outcomes, errors, values


def _spread(values: np.ndarray[Any, Any], take: np.ndarray[Any, Any], fill: object) -> np.ndarray[Any, Any]:
    """Values of requests fanned out onto rows; `fill` where a row asks nothing."""
    spread = np.full(len(take), fill, values.dtype)
    asks = take >= 0
    spread[asks] = values[take[asks]]
    return spread


def _marks(block: Found, outcomes: list[int]) -> np.ndarray[Any, Any]:
    marks = np.zeros(len(block.lines), FOUND)
    marks["outcome"] = outcomes
    marks["offset"], marks["length"] = block.offset, block.length
    usages = [line.result.message.usage if line.result.message else _NO_USAGE for line in block.lines]
    marks["input"] = [usage.input_tokens or 0 for usage in usages]
    marks["output"] = [usage.output_tokens or 0 for usage in usages]
    if any(usage.cache_creation_input_tokens or usage.cache_read_input_tokens for usage in usages):
        marks["written"] = [usage.cache_creation_input_tokens or 0 for usage in usages]
        marks["read"] = [usage.cache_read_input_tokens or 0 for usage in usages]
        marks["written_1h"] = [
            (usage.cache_creation.ephemeral_1h_input_tokens or 0) if usage.cache_creation else 0 for usage in usages
        ]
    if any(usage.inference_geo == "us" for usage in usages):
        marks["us"] = [usage.inference_geo == "us" for usage in usages]
    return marks


def _extra(name: str, block: Found, at: int, reader: Reader) -> Any:
    line = block.lines[at]
    if name == "custom_id":
        return line.custom_id
    if name == "stop_reason":
        return line.result.message.stop_reason if line.result.message else None
    return content(reader.raw(int(block.offset[at]), int(block.length[at])))["result"].get("message")
