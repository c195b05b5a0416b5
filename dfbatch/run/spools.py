"""Chunks on disk before they are sent: a map of positions and digests, and a spool of parts, both synced.

A spool holds one request a line in the order of its map; on collection the lines that succeeded are emptied.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dfbatch import chunks
from dfbatch.ledger.files import lines, read_array, write_array, write_blocks, write_lines
from dfbatch.ledger.records import PLANNED, ChunkRecord
from dfbatch.plan import locate
from dfbatch.requests import NONCE_WIDTH, Body, Shared, body_length, custom_ids

if TYPE_CHECKING:
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord

LinesOf = Callable[[np.ndarray[Any, Any]], Iterable[bytes]]  # indices → their parts as lines, in order


def spool(
    ledger: Ledger,
    record: RunRecord,
    requests: np.ndarray[Any, Any],
    lengths: np.ndarray[Any, Any],
    lines_of: LinesOf,
) -> list[ChunkRecord]:
    """Cut requests into chunks and put each on disk; nothing is claimed yet. What was written is removed on failure."""
    shared = shared_of(record)
    size: int | Literal["auto"] = record.spec.chunk_size or "auto"
    made: list[ChunkRecord] = []
    first = ledger.next_ordinal(record.id)
    try:
        for ordinal, cut in enumerate(chunks.cut(lengths + shared.overhead, chunk_size=size), first):
            nonce = "d" + secrets.token_hex(NONCE_WIDTH)[: NONCE_WIDTH - 1]
            which = np.arange(cut.start, cut.stop)
            chunk = ChunkRecord(
                id=f"{record.id}-{ordinal}-{nonce}",
                run=record.id,
                ordinal=ordinal,
                state=PLANNED,
                shared=shared.digest,
                nonce=nonce,
                requests=len(cut),
                bytes=body_length(shared, int(lengths[which].sum()), len(cut)),
                max_tokens=record.max_tokens,
            )
            made.append(chunk)
            write_array(ledger.chunk_file(chunk.id, "map.npy"), requests[which])
            write_blocks(ledger.chunk_file(chunk.id, "spool"), lines_of(which))
    except BaseException:
        remove(ledger, [chunk.id for chunk in made])
        raise
    return made


def remove(ledger: Ledger, chunk_ids: Iterable[str]) -> None:
    """Remove all files of these chunks, those that a kill left half written too."""
    for chunk_id in chunk_ids:
        for path in ledger.chunk_file(chunk_id, "*").parent.glob(f"{chunk_id}.*"):
            path.unlink(missing_ok=True)


def body(ledger: Ledger, chunk: ChunkRecord, record: RunRecord, handed: Callable[[], None]) -> Body:
    """What is posted for a chunk, read from its spool as it goes; `handed` is called with the last of it."""
    requests = read_array(ledger.chunk_file(chunk.id, "map.npy"))
    ids = custom_ids(chunk.nonce, requests).tolist()
    return Body(chunk.bytes, shared_of(record), ids, _Lines(ledger, chunk.id), handed)


class _Lines:
    """A spool's lines, from the start each time they are asked for."""

    def __init__(self, ledger: Ledger, chunk_id: str) -> None:
        self._path = ledger.chunk_file(chunk_id, "spool")

    def __iter__(self) -> Iterator[bytes]:
        return lines(self._path)


def shared_of(record: RunRecord) -> Shared:
    """The shared part of a run's requests, as the ledger keeps it."""
    return Shared(record.spec.head.encode(), record.spec.tail.encode(), record.shared)


def parts_from(ledger: Ledger, chunk_ids: Iterable[str], digests: np.ndarray[Any, Any]) -> dict[int, bytes]:
    """The parts of these requests, by their index in `digests`, from whatever spools still hold them."""
    found: dict[int, bytes] = {}
    for chunk_id in chunk_ids:
        path = ledger.chunk_file(chunk_id, "spool")
        if not path.exists():
            continue
        spot = locate(read_array(ledger.chunk_file(chunk_id, "map.npy"))["digest"], digests)
        held = zip(spot.tolist(), lines(path), strict=True)
        found.update((index, line) for index, line in held if index >= 0 and line)
    return found


def shrink(ledger: Ledger, chunk_id: str, keep: np.ndarray[Any, Any]) -> None:
    """Empty the lines of a spool that are no longer needed; where none is, it goes as a whole."""
    path = ledger.chunk_file(chunk_id, "spool")
    if not keep.any():
        path.unlink(missing_ok=True)
    elif path.exists():
        held = lines(path)
        write_lines(path, (line if kept else b"" for line, kept in zip(held, keep.tolist(), strict=True)))
