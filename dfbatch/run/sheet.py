"""Results → outcomes and typed columns, one place a request. Which rows share a request is the rows file's to say.

Raw files are read here block by block; fetching them is the loop's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from dfbatch.columns import Builder, Column
from dfbatch.kinds import TEXT, Kind
from dfbatch.ledger.files import lines, read_array
from dfbatch.plan import locate
from dfbatch.pricing import Tokens
from dfbatch.requests import checks_out, positions
from dfbatch.results import CODE, FINAL, FOUND, OUTCOMES, PENDING, SUCCEEDED, Line, Usage, better, meaning, parse
from dfbatch.schemas import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.schemas import Schema

_NO_USAGE = Usage()
_BLOCK = 2048  # result lines that are Python objects at one time
_OUTCOME = Kind("category", categories=OUTCOMES[1:])

EXTRAS: dict[str, Kind] = {  # what `include` may add
    "status": _OUTCOME,
    "error": TEXT,
    "stop_reason": TEXT,
    "input_tokens": Kind("int"),
    "output_tokens": Kind("int"),
    "custom_id": TEXT,
    "message": Kind("json"),
}


@dataclass(slots=True)
class Sheet:
    """All that is known of a run's requests so far; filled chunk by chunk, in any order, any number of times."""

    requests: np.ndarray[Any, Any]  # REQUEST
    schema: Schema
    include: tuple[str, ...] = ()
    found: np.ndarray[Any, Any] = field(init=False)  # FOUND
    source: np.ndarray[Any, Any] = field(init=False)  # which chunk answered, an index into `chunks`; -1 none
    chunks: list[ChunkRecord] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)  # request → why it has no answer
    strange: int = 0  # lines that were not ours, torn, or there twice
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

    def take(self, chunk: ChunkRecord, map_file: Path, raw: Path) -> np.ndarray[Any, Any]:
        """Judge a chunk's results and lay them in place; returns what was found of each of its requests.

        Requests of the chunk that this run does not ask are judged too: their outcome is for later runs.
        """
        ids = [known.id for known in self.chunks]
        if chunk.id not in ids:
            self.chunks.append(chunk)
            ids.append(chunk.id)
        requests = read_array(map_file)
        reader = _Reader(chunk, requests, locate(requests["digest"], self.requests["digest"]), raw)
        found = np.zeros(len(requests), FOUND)
        origin = ids.index(chunk.id)
        for block in reader.blocks():
            self._judge(block, reader, found, origin)
        self.strange += reader.strange
        return found

    def _judge(self, block: list[_Spot], reader: _Reader, found: np.ndarray[Any, Any], origin: int) -> None:
        if not block:
            return
        said = [self._said(spot) for spot in block]
        index = np.array([spot.at for spot in block])
        found[index] = _marks(block, [outcome for outcome, _, _ in said])
        targets = reader.targets[index]
        chosen = np.flatnonzero((targets >= 0) & self._gives_way(targets, found["outcome"][index]))
        laid = targets[chosen]
        self.found[laid], self.source[laid] = found[index[chosen]], origin
        for at, target in zip(chosen.tolist(), laid.tolist(), strict=True):
            self.errors.pop(target, None)
            if error := said[at][1]:
                self.errors[target] = error
        blank = (None,) * len(self._builders)
        values = [said[at][2] or blank for at in chosen.tolist()]
        for builder, cells in zip(self._builders, zip(*values, strict=True), strict=False):
            builder.put(laid, cells)
        for name, builder in self._extras.items():
            builder.put(laid, [_extra(name, block[at]) for at in chosen.tolist()])

    def _said(self, spot: _Spot) -> tuple[int, str, tuple[Any, ...] | None]:
        """Outcome, error and values of one line, as the schema judges it."""
        outcome, text, error = meaning(spot.line.result)
        if outcome != "succeeded":
            return CODE[outcome], error, None
        try:
            return SUCCEEDED, "", self.schema.judge(text)
        except Invalid as invalid:
            return CODE["invalid"], str(invalid), None

    def _gives_way(self, targets: np.ndarray[Any, Any], outcomes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Later chunks are later tries: they take the place of all but a success that they did not better."""
        way: np.ndarray[Any, Any] = (self.found["outcome"][targets] != SUCCEEDED) | (outcomes == SUCCEEDED)
        return way

    def absent(self, map_file: Path, outcome: str, why: str) -> None:
        """Give an outcome to the requests of a chunk that have none: their lines never came."""
        spot = locate(self.requests["digest"], read_array(map_file)["digest"])
        for index in np.flatnonzero((spot >= 0) & (self.found["outcome"] == PENDING)).tolist():
            self.found[index]["outcome"] = CODE[outcome]
            self.errors[index] = why

    def columns(self, take: np.ndarray[Any, Any] | None = None) -> list[Column]:
        """The answer's columns, fanned out onto rows by `take`."""
        return [builder.column(take) for builder in self._builders]

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

    def tokens(self, run_id: str) -> Tokens:
        """Tokens that this run paid for: answers taken from another run's chunks were paid there."""
        own = [index for index, chunk in enumerate(self.chunks) if chunk.run == run_id]
        part = self.found[np.isin(self.source, own)]
        return Tokens(*(int(part[name].sum()) for name in ("input", "output", "written", "read")))


def _spread(values: np.ndarray[Any, Any], take: np.ndarray[Any, Any], fill: object) -> np.ndarray[Any, Any]:
    """Values of requests fanned out onto rows; `fill` where a row asks nothing."""
    spread = np.full(len(take), fill, values.dtype)
    asks = take >= 0
    spread[asks] = values[take[asks]]
    return spread


class _Spot(NamedTuple):
    """A line that is ours: where it is in the raw file, and which request of the chunk it answers."""

    at: int
    line: Line
    raw: bytes
    offset: int


class _Reader:
    """A raw results file as blocks of lines that are ours, each once."""

    def __init__(
        self, chunk: ChunkRecord, requests: np.ndarray[Any, Any], targets: np.ndarray[Any, Any], raw: Path
    ) -> None:
        self.chunk = chunk
        self.targets = targets
        self.strange = 0
        self._requests = requests
        self._raw = raw
        self._seen = np.full(len(requests), -1, np.int64)  # offset of the line taken
        self._length = np.zeros(len(requests), np.int64)

    def blocks(self) -> Iterator[list[_Spot]]:
        held = lines(self._raw)
        offset = 0
        while batch := list(islice(held, _BLOCK)):
            spots: list[_Spot] = []
            for spot in self._spots(batch, offset):
                if self._twice(spot) and any(other.at == spot.at for other in spots):
                    yield spots  # a second line for an id in this block: lay the first before it
                    spots = []
                if self._taken(spot):
                    spots.append(spot)
            yield spots
            offset += sum(map(len, batch)) + len(batch)

    def _spots(self, batch: list[bytes], offset: int) -> Iterator[_Spot]:
        read: list[tuple[Line, bytes, int]] = []
        for raw in batch:
            if line := parse(raw):
                read.append((line, raw, offset))
            elif raw.strip():
                self.strange += 1
            offset += len(raw) + 1
        known = self._requests["position"]
        ours = np.array(positions(self.chunk.nonce, [line.custom_id for line, _, _ in read]), np.int64)
        index = np.minimum(np.searchsorted(known, ours), max(len(known) - 1, 0))
        digests = self._requests["digest"][index].tolist() if len(known) else []
        for (line, raw, place), at, position, digest in zip(read, index.tolist(), ours.tolist(), digests, strict=True):
            if known[at] == position and checks_out(line.custom_id, digest):
                yield _Spot(at, line, raw, place)
            else:
                self.strange += 1

    def _twice(self, spot: _Spot) -> bool:
        return bool(self._seen[spot.at] >= 0)

    def _taken(self, spot: _Spot) -> bool:
        """Whether this line counts: the only one for its request, or the better of two."""
        if self._twice(spot):
            self.strange += 1
            before = self._line_at(int(self._seen[spot.at]), int(self._length[spot.at]))
            other = parse(before)
            if other is not None and not better(spot.raw, spot.line.result, before, other.result):
                return False
        self._seen[spot.at], self._length[spot.at] = spot.offset, len(spot.raw)
        return True

    def _line_at(self, offset: int, length: int) -> bytes:
        with self._raw.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def _marks(block: list[_Spot], outcomes: list[int]) -> np.ndarray[Any, Any]:
    marks = np.zeros(len(block), FOUND)
    marks["outcome"] = outcomes
    marks["offset"] = [spot.offset for spot in block]
    marks["length"] = [len(spot.raw) for spot in block]
    usages = [spot.line.result.message.usage if spot.line.result.message else _NO_USAGE for spot in block]
    marks["input"] = [usage.input_tokens or 0 for usage in usages]
    marks["output"] = [usage.output_tokens or 0 for usage in usages]
    marks["written"] = [usage.cache_creation_input_tokens or 0 for usage in usages]
    marks["read"] = [usage.cache_read_input_tokens or 0 for usage in usages]
    return marks


def _extra(name: str, spot: _Spot) -> Any:
    if name == "custom_id":
        return spot.line.custom_id
    message = spot.line.result.message
    if name == "stop_reason":
        return message.stop_reason if message else None
    body: Any = msgspec.json.decode(spot.raw)
    return body["result"].get("message")
