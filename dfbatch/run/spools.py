"""Chunks on disk before they are sent: a map of positions and digests, and a spool of parts, both synced.

A spool holds one request a line in the order of its map; on collection the lines that succeeded are emptied.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dfbatch import chunks
from dfbatch.distinct import locate
from dfbatch.errors import LedgerDamaged
from dfbatch.ledger.files import lines
from dfbatch.ledger.records import ChunkRecord
from dfbatch.ledger.states import COLLECTED, PLANNED
from dfbatch.requests import NONCE_WIDTH, Body, Shared, body_length, custom_ids, marked
from dfbatch.results import SUCCEEDED
from dfbatch.run.recovery import asked_in, found_of

if TYPE_CHECKING:
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord

LinesOf = Callable[[np.ndarray[Any, Any]], Iterable[bytes]]  # indices → their parts as lines, in order


@dataclass(frozen=True, slots=True)
class Wanted:
    """Requests to be asked: their positions and digests, the bytes of their parts, and where to read those."""

    requests: np.ndarray[Any, Any]  # REQUEST
    lengths: np.ndarray[Any, Any]
    lines_of: LinesOf
    groups: np.ndarray[Any, Any] | None = None  # of those that share a prefix of their own, by a number; else -1

    def only(self, which: np.ndarray[Any, Any]) -> Wanted:
        """Some of them, by index."""
        groups = None if self.groups is None else self.groups[which]
        return Wanted(self.requests[which], self.lengths[which], lambda at: self.lines_of(which[at]), groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How requests are asked: as the run asks them, or again in another way."""

    shared: str  # the digest of the shared part
    max_tokens: int  # what is asked for
    allowed: int  # what the user's call allows
    kind: str = ""
    model: str = ""  # empty: the run's
    head: str = ""  # empty: the run's
    size: int | None = None  # requests a chunk; None: cut by the API's limits

    @classmethod
    def of(cls, record: RunRecord, kind: str = "") -> Terms:
        """As the run asks."""
        return cls(
            shared=record.shared,
            max_tokens=record.max_tokens,
            allowed=record.max_tokens,
            kind=kind,
            size=record.spec.chunk_size,
        )

    @classmethod
    def as_asked(cls, chunk: ChunkRecord, size: int) -> Terms:
        """As a chunk was asked, in pieces of this size."""
        return cls(
            shared=chunk.shared,
            max_tokens=chunk.max_tokens,
            allowed=chunk.allowed,
            kind=chunk.kind,
            model=chunk.model,
            head=chunk.head,
            size=size,
        )


def spool(
    ledger: Ledger,
    record: RunRecord,
    wanted: Wanted,
    *,
    terms: Terms,
    order: np.ndarray[Any, Any] | None = None,
    after: int = 0,
) -> list[ChunkRecord]:
    """Cut requests into chunks and put each on disk; nothing is claimed yet. What was written is removed on failure.

    They are cut in `order`, and stand by position within each chunk. `after` so many more chunks of the same claim.
    """
    shared = shared_of(record, terms.head)
    size: int | Literal["auto"] = terms.size or "auto"
    made: list[ChunkRecord] = []
    first = ledger.next_ordinal(record.id) + after
    order = np.arange(len(wanted.requests)) if order is None else order
    try:
        for ordinal, cut in enumerate(chunks.cut(wanted.lengths[order] + shared.overhead, chunk_size=size), first):
            nonce = "d" + secrets.token_hex(NONCE_WIDTH)[: NONCE_WIDTH - 1]
            which = np.sort(order[cut.start : cut.stop])
            chunk = ChunkRecord(
                id=f"{record.id}-{ordinal}-{nonce}",
                run=record.id,
                ordinal=ordinal,
                state=PLANNED,
                shared=terms.shared,
                nonce=nonce,
                requests=len(cut),
                bytes=body_length(shared, int(wanted.lengths[which].sum()), len(cut)),
                max_tokens=terms.max_tokens,
                allowed=terms.allowed,
                kind=terms.kind,
                model=terms.model,
                head=terms.head,
            )
            made.append(chunk)
            ledger.write_array(ledger.chunk_file(chunk.id, "map.npy"), wanted.requests[which])
            ledger.write_blocks(ledger.chunk_file(chunk.id, "spool"), wanted.lines_of(which))
    except BaseException:
        remove(ledger, [chunk.id for chunk in made])
        raise
    return made


def halves(ledger: Ledger, chunk: ChunkRecord, record: RunRecord) -> list[ChunkRecord]:
    """The requests of a chunk as two chunks of different counts, on disk, not claimed."""
    return _pieces(ledger, chunk, record, chunk.requests // 2 + (chunk.requests > 3 or chunk.requests % 2))


def drawn(ledger: Ledger, chunk: ChunkRecord, record: RunRecord, size: int) -> list[ChunkRecord]:
    """A random part of a chunk of this size, and the rest of it, as two chunks, on disk, not claimed."""
    seed = int.from_bytes(chunk.nonce.encode())
    order = np.random.default_rng(seed).permutation(chunk.requests)
    return [
        *_pieces(ledger, chunk, record, size, part=np.sort(order[:size])),
        *_pieces(ledger, chunk, record, chunk.requests, part=np.sort(order[size:]), after=1),
    ]


def copied(ledger: Ledger, chunk: ChunkRecord, record: RunRecord) -> list[ChunkRecord]:
    """The requests of a chunk as a new one, asked as they were, on disk, not claimed."""
    return _pieces(ledger, chunk, record, chunk.requests)


def _pieces(
    ledger: Ledger,
    chunk: ChunkRecord,
    record: RunRecord,
    size: int,
    *,
    part: np.ndarray[Any, Any] | None = None,
    after: int = 0,
) -> list[ChunkRecord]:
    """Chunks of this size, of all requests of a chunk or of a part of them."""
    path = ledger.chunk_file(chunk.id, "spool")
    part = np.arange(chunk.requests) if part is None else part
    requests = asked_in(ledger, chunk)[part]

    def lines_of(which: np.ndarray[Any, Any]) -> Iterator[bytes]:
        wanted = np.zeros(chunk.requests, bool)
        wanted[part[which]] = True
        return (line + b"\n" for line in compress(ledger.read_lines(path), wanted.tolist()))

    lengths = line_lengths(ledger, chunk)[part]
    return spool(ledger, record, Wanted(requests, lengths, lines_of), terms=Terms.as_asked(chunk, size), after=after)


def line_lengths(ledger: Ledger, chunk: ChunkRecord) -> np.ndarray[Any, Any]:
    """The bytes of each request's own part."""
    return np.fromiter(map(len, ledger.read_lines(ledger.chunk_file(chunk.id, "spool"))), np.int64, chunk.requests)


def remove(ledger: Ledger, chunk_ids: Iterable[str]) -> None:
    """Remove all files of these chunks, those that a kill left half written too."""
    for chunk_id in chunk_ids:
        for path in ledger.chunk_file(chunk_id, "*").parent.glob(f"{chunk_id}.*"):
            ledger.unlink(path)


def body(ledger: Ledger, chunk: ChunkRecord, record: RunRecord, handed: Callable[[], None]) -> Body:
    """What is posted for a chunk, read from its spool as it goes; `handed` is called with the last of it."""
    requests = asked_in(ledger, chunk)
    ids = custom_ids(chunk.nonce, requests).tolist()
    return Body(chunk.bytes, shared_of(record, chunk.head), ids, _Lines(ledger, chunk.id), handed)


class _Lines:
    """A spool's lines, from the start each time they are asked for."""

    def __init__(self, ledger: Ledger, chunk_id: str) -> None:
        self._ledger, self._path = ledger, ledger.chunk_file(chunk_id, "spool")

    def __iter__(self) -> Iterator[bytes]:
        return self._ledger.read_lines(self._path)


def shared_of(record: RunRecord, head: str, *, at_once: bool = False) -> Shared:
    """The shared part of requests as it is sent; what is asked at once has no mark: batches do not read its cache."""
    shared = Shared((head or record.spec.head).encode(), record.spec.tail.encode(), record.shared)
    return marked(shared, record.spec.cache) if record.spec.cache and not at_once else shared


def check_unsent(ledger: Ledger, chunk: ChunkRecord, record: RunRecord) -> None:
    """Raise LedgerDamaged where what is to be sent is not what was planned; without a checksum its lengths tell."""
    path = ledger.chunk_file(chunk.id, "spool")
    ledger.check(path)
    if not ledger.is_noted(path):
        lengths = [len(line) for line in lines(path)]
        if len(lengths) != chunk.requests or chunk.bytes != body_length(
            shared_of(record, chunk.head), sum(lengths), len(lengths)
        ):
            raise ledger.damaged(path, "is not what was written: its requests have other lengths")


def parts_from(
    ledger: Ledger,
    chunks: Iterable[ChunkRecord],
    digests: np.ndarray[Any, Any],
    *,
    damaged: Callable[[LedgerDamaged], None] = lambda _: None,
) -> dict[int, bytes]:
    """The parts of these requests with their marks, by index in `digests`, from whatever spools still hold them.

    `damaged` is told of spools that should, and do not any more.
    """
    found: dict[int, bytes] = {}
    for chunk in chunks:
        if chunk.kind == "corrected":  # a corrected part has turns that the user did not write
            continue
        path = ledger.chunk_file(chunk.id, "spool")
        try:
            ledger.check(path)
        except LedgerDamaged as damage:
            if path.exists() or not is_spent(ledger, chunk):
                damaged(damage)
            continue
        spot = locate(asked_in(ledger, chunk)["digest"], digests)
        held = zip(spot.tolist(), lines(path), strict=True)
        try:
            found.update((index, line) for index, line in held if index >= 0 and line)
        except ValueError:  # of a ledger without checksums
            damaged(ledger.damaged(path, "has another number of lines than it had"))
    return found


def shrink(ledger: Ledger, chunk_id: str, keep: np.ndarray[Any, Any]) -> None:
    """Empty the lines of a spool that are no longer needed; where none is, it goes as a whole."""
    path = ledger.chunk_file(chunk_id, "spool")
    if not keep.any():
        ledger.unlink(path)
        return
    with suppress(LedgerDamaged, ValueError):  # it stays as it is: what asks for it is told
        held = ledger.read_lines(path)
        ledger.write_lines(path, (line if kept else b"" for line, kept in zip(held, keep.tolist(), strict=True)))


def is_spent(ledger: Ledger, chunk: ChunkRecord) -> bool:
    """Whether nothing of a chunk's spool is needed any more: all of it was answered, and it was removed."""
    with suppress(LedgerDamaged):
        return chunk.state == COLLECTED and bool((found_of(ledger, chunk)["outcome"] == SUCCEEDED).all())
    return False
