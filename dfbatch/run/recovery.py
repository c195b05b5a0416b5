"""Files of a run made again from its other files, each checked against what it must agree with; nobody is asked.

A map comes from the chunk's spool, or from the ids of its results; what was found from map and results; requests from
maps; rows from requests, where every row asks its own. What cannot be made again raises LedgerDamaged.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch import schemas
from dfbatch.errors import LedgerDamaged, NoSuchRun
from dfbatch.ledger import ROW
from dfbatch.ledger.files import lines
from dfbatch.ledger.states import COLLECTED
from dfbatch.requests import ID_WIDTH, NONCE_WIDTH, POSITION_WIDTH, REQUEST, Digester, custom_ids, unmarked
from dfbatch.results import CODE, PENDING
from dfbatch.run.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord

    Array = np.ndarray[Any, np.dtype[Any]]

log = logging.getLogger("dfbatch")

REWORDED: Final = "corrected"  # a kind of chunk whose parts have turns that no row asked


class _Named(msgspec.Struct):
    """As much of a line of results as says which request it answers."""

    custom_id: str


def asked_in(ledger: Ledger, chunk: ChunkRecord) -> Array:
    """The requests of a chunk: its map."""
    path = ledger.chunk_file(chunk.id, "map.npy")
    return _sound_or_made(
        ledger, path, chunk.requests, lambda: _by_spool(ledger, chunk), lambda: _by_ids(ledger, chunk)
    )


def found_of(ledger: Ledger, chunk: ChunkRecord) -> Array:
    """What was found of each request of a collected chunk; made again, it is judged without Python-level validators."""
    path = ledger.chunk_file(chunk.id, "found.npy")
    return _sound_or_made(ledger, path, chunk.requests, lambda: judged_again(ledger, chunk))


def requests_of(ledger: Ledger, record: RunRecord) -> Array:
    """The distinct requests of a run."""
    path = ledger.run_file(record.id, "requests.npy")
    return _sound_or_made(ledger, path, record.requests, lambda: _by_maps(ledger, record))


def rows_of(ledger: Ledger, record: RunRecord) -> Array:
    """What each row of a run asks.

    Made again, where every row asks its own, without what rows are known by: that is not written down in its place.
    """
    path = ledger.run_file(record.id, "rows.npy")
    try:
        return _sized(ledger, path, record.rows)
    except LedgerDamaged:
        requests = ledger.read_array(ledger.run_file(record.id, "requests.npy"))
        if not _each_its_own(record, requests):
            raise
    rows = np.zeros(record.rows, ROW)
    rows["request"] = np.arange(record.rows)
    return rows


def as_read(ledger: Ledger, record: RunRecord) -> tuple[Array, Array, LedgerDamaged | None]:
    """Requests and rows of a run; none of them, and why, where one of both cannot be had."""
    try:
        return requests_of(ledger, record), rows_of(ledger, record), None
    except LedgerDamaged as damage:
        return np.empty(0, REQUEST), np.empty(0, ROW), damage


def has_contents(rows: Array) -> bool:
    """Whether rows can be known again by what they held."""
    return not len(rows) or bool((rows["content"] != b"").any())


def _each_its_own(record: RunRecord, requests: Array) -> bool:
    count = len(requests) // record.spec.samples
    each: bool = count == record.rows and (requests["position"][:count] == np.arange(count)).all()
    return each


def _sized(ledger: Ledger, path: Path, length: int) -> Array:
    read = ledger.read_array(path)
    if len(read) != length:
        raise ledger.damaged(path, f"has {len(read):,} lines instead of {length:,}")
    return read


def _sound_or_made(ledger: Ledger, path: Path, length: int, *ways: Callable[[], Array | None]) -> Array:
    """A file as it was written, else made again in the first of these ways that can, and kept."""
    try:
        return _sized(ledger, path, length)
    except LedgerDamaged as damage:
        for way in ways:
            with suppress(LedgerDamaged, NoSuchRun):
                if (made := way()) is not None and len(made) == length:
                    ledger.write_array(path, made)
                    log.warning("%s; it was made again", str(damage).partition("\n")[0])
                    return made
        raise


def _by_spool(ledger: Ledger, chunk: ChunkRecord) -> Array | None:
    """A map from the requests' own parts, while all of them are there: each has its digest, and that its position."""
    if chunk.kind == REWORDED or chunk.state == COLLECTED:
        return None
    record = ledger.run(chunk.run)
    requests = ledger.read_array(ledger.run_file(record.id, "requests.npy"))
    place = dict(zip(requests["digest"].tolist(), requests["position"].tolist(), strict=True))
    as_run, as_chunk = Digester(record.shared), Digester(chunk.shared)
    made = np.empty(chunk.requests, REQUEST)
    held = [unmarked(line) for line in ledger.read_lines(ledger.chunk_file(chunk.id, "spool")) if line]
    if len(held) != chunk.requests:
        return None
    for at, part in enumerate(held):
        digest = _plain(as_run.one(part))
        if digest not in place or _plain(as_run.one(part, 1)) in place:  # asked several times: which is not known
            return None
        made[at] = place[digest], as_chunk.one(part)
    return made if (np.diff(made["position"]) > 0).all() else None


def _plain(digest: bytes) -> bytes:
    """A digest as numpy tells it: without zero bytes at its end."""
    return digest.rstrip(b"\0")


def _by_ids(ledger: Ledger, chunk: ChunkRecord) -> Array | None:
    """A map from the ids of results, where there is one for each request: they hold positions."""
    path = ledger.chunk_file(chunk.id, "jsonl")
    ledger.check(path)
    if chunk.head:  # asked in another way: the digests of the run's requests are not those of this chunk
        return None
    requests = ledger.read_array(ledger.run_file(chunk.run, "requests.npy"))
    ids = np.array(sorted(_ids(path, chunk.nonce)), f"S{ID_WIDTH}")
    if len(ids) != chunk.requests:
        return None
    made = requests[np.isin(requests["position"], [int(name[NONCE_WIDTH:][:POSITION_WIDTH]) for name in ids.tolist()])]
    return made if len(made) == len(ids) and (custom_ids(chunk.nonce, made) == ids).all() else None


def _ids(path: Path, nonce: str) -> set[str]:
    decode, found = msgspec.json.Decoder(_Named).decode, set[str]()
    for line in lines(path):
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):  # blank or torn
            name = decode(line).custom_id
            if len(name) == ID_WIDTH and name.startswith(nonce) and name[NONCE_WIDTH:][:POSITION_WIDTH].isdecimal():
                found.add(name)
    return found


def judged_again(ledger: Ledger, chunk: ChunkRecord, *, trusted: bool = True) -> Array:
    """What is found in a chunk's results; what is not `trusted` is read as far as it makes sense."""
    raw = ledger.chunk_file(chunk.id, "jsonl")
    if trusted:
        ledger.check(raw)
    spec, requests = ledger.run(chunk.run).spec, asked_in(ledger, chunk)
    sheet = Sheet(requests, schemas.from_ledger(spec.full, spec.shape), (), chunk.run)
    found = sheet.take(chunk, requests, raw)
    found["outcome"][found["outcome"] == PENDING] = CODE["missing"]
    return found


def _by_maps(ledger: Ledger, record: RunRecord) -> Array | None:
    """The requests of a run from the maps of its own chunks, where those hold all of them and agree with its rows."""
    own = [chunk for chunk in ledger.chunks(record.id) if chunk.run == record.id and not chunk.head]
    maps = [ledger.read_array(ledger.chunk_file(chunk.id, "map.npy")) for chunk in own]
    made = np.unique(np.concatenate([np.empty(0, REQUEST), *maps]))
    rows = ledger.read_array(ledger.run_file(record.id, "rows.npy"))["request"]
    asked, first = np.unique(rows, return_index=True)
    once = first[asked >= 0]
    wanted = np.concatenate([once + sample * record.rows for sample in range(record.spec.samples)])
    return made if np.array_equal(made["position"], wanted) else None
