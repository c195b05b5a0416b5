"""What every row asks: one pass over a snapshot in blocks, to digests and a scratch file of request parts.

Nothing is held per row but a few numbers. Which of the requests are new is found out in `claims.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dfbatch.ledger import ROW
from dfbatch.ledger.files import translated
from dfbatch.requests import DIGEST, Digester, halved, parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dfbatch.frames.cells import Table
    from dfbatch.options import OnNull
    from dfbatch.prompts import Prompt

BLOCK = 4096  # rows that are Python objects at one time
_COPIED = 1 << 20  # bytes copied at one time
_REMEMBERED = 200_000  # digests known to be in the scratch file: bounds memory, not correctness

_canonical = msgspec.json.Encoder(enc_hook=str, order="deterministic").encode


@dataclass(slots=True)
class Asked:
    """One line a row: its content, its digest (where it asks), and where its part lies in the scratch file."""

    rows: np.ndarray[Any, Any]  # ROW
    digests: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]
    reasons: list[str] = field(default_factory=lambda: [""])

    @property
    def asks(self) -> np.ndarray[Any, Any]:
        """Which rows ask something."""
        asks: np.ndarray[Any, Any] = self.rows["why"] == 0
        return asks


def ask(table: Table, prompt: Prompt, digester: Digester, *, on_null: OnNull, scratch: Path) -> Asked:
    """Render all rows; parts go to the scratch file, equal ones mostly once."""
    height = table.height
    asked = Asked(
        np.zeros(height, ROW), np.zeros(height, DIGEST), np.zeros(height, np.int64), np.zeros(height, np.int64)
    )
    with translated(scratch), scratch.open("wb") as file:  # in a folder that only the user can enter
        scratch.chmod(0o600)
        notes = _Notes(asked, digester, file)
        for start in range(0, height, BLOCK):
            stop = min(start + BLOCK, height)
            block = table.block(start, stop)
            rendered = prompt.render(block, start=start, on_null=on_null, rows=stop - start)
            if start == 0:
                prompt.check_reads()
            _note_reasons(asked, rendered.why, start)
            if prompt.kind != "callable":
                asked.rows["content"][start:stop] = _contents(block, prompt.reads, stop - start)
            notes.add(rendered.contents, start)
    if prompt.kind == "callable":  # what it reads is known only now
        asked.rows["content"] = contents(table, prompt.reads)
    return asked


def _note_reasons(asked: Asked, why: Sequence[str | None], start: int) -> None:
    if not any(why):
        return
    for at, reason in enumerate(why, start):
        if reason is not None:
            if reason not in asked.reasons:
                asked.reasons.append(reason)
            asked.rows["why"][at] = asked.reasons.index(reason)


@dataclass(slots=True)
class _Notes:
    """Where each row's part lies in the scratch file; parts known to be there are not written again."""

    asked: Asked
    digester: Digester
    file: Any
    place: int = 0
    seen: set[bytes] = field(default_factory=set)

    def add(self, made: Sequence[Any], start: int) -> None:
        """The next rows."""
        made_parts = parts(made)
        digests = self.digester.many(made_parts)
        lengths = np.fromiter(map(len, made_parts), np.int64, len(made))
        new = set(digests).difference(self.seen)
        written = lengths + 1  # with the line's end
        if len(new) < len(digests):  # parts that are in the file, or twice in this block, are written once
            fresh = [_take(new, digest) for digest in digests]
            made_parts = list(compress(made_parts, fresh))
            written = np.where(fresh, written, 0)
        if len(self.seen) < _REMEMBERED:
            self.seen.update(digests)
        self.file.write(b"\n".join([*made_parts, b""]))
        ends = self.place + np.cumsum(written)
        rows = slice(start, start + len(made))
        self.asked.digests[rows], self.asked.lengths[rows] = halved(digests), lengths
        self.asked.offsets[rows] = ends - written
        self.place = int(ends[-1])


def _take(new: set[bytes], digest: bytes) -> bool:
    """Whether this is the first of its kind here."""
    if digest not in new:
        return False
    new.remove(digest)
    return True


def contents(table: Table, reads: Sequence[str]) -> np.ndarray[Any, Any]:
    """The digest of each row's used cells: how a row is known again in another frame."""
    made = np.zeros(table.height, DIGEST)
    for start in range(0, table.height, BLOCK):
        stop = min(start + BLOCK, table.height)
        made[start:stop] = _contents(table.block(start, stop), reads, stop - start)
    return made


def _contents(block: dict[str, list[Any]], reads: Sequence[str], size: int) -> np.ndarray[Any, Any]:
    if len(reads) == 1:  # a text alone is hashed as it is: no JSON array begins with a quote
        texts = [b'"' + cell.encode() if type(cell) is str else _canonical([cell]) for cell in block[reads[0]]]
    else:
        rows = zip(*(block[name] for name in reads), strict=True) if reads else [()] * size
        texts = [_canonical(cells) for cells in rows]
    sha256 = hashlib.sha256
    return halved([sha256(text).digest() for text in texts])


def encoded_keys(table: Table, key: str) -> list[bytes]:
    """The cells of `key=` as JSON, one a row."""
    starts = range(0, table.height, BLOCK)
    return [_canonical(cell) for start in starts for cell in table.block(start, min(start + BLOCK, table.height))[key]]


def key_digests(keys: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """Encoded keys as digests, for `plan.locate`."""
    return np.array([hashlib.blake2b(key, digest_size=16).digest() for key in keys], DIGEST)


@dataclass(frozen=True, slots=True)
class Scratch:
    """The scratch file, one part a line, read back where requests are wanted."""

    path: Path

    def parts(self, offsets: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]) -> Iterator[bytes]:
        """The parts at these places."""
        with self._view() as view:
            for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
                yield view[offset : offset + length]

    def lines(self, offsets: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]) -> Iterator[bytes]:
        """The same as lines with their ends, in large blocks: what lies side by side is copied as a whole."""
        if not len(offsets):
            return
        ends = offsets + lengths + 1
        first = np.flatnonzero(np.r_[True, offsets[1:] != ends[:-1]])
        last = np.r_[first[1:] - 1, len(offsets) - 1]
        with self._view() as view:
            for start, stop in zip(offsets[first].tolist(), ends[last].tolist(), strict=True):
                for place in range(start, stop, _COPIED):
                    yield view[place : min(place + _COPIED, stop)]

    def holds(self, what: bytes) -> bool:
        """Whether these bytes are in it."""
        with self._view() as view:
            return view.find(what) >= 0

    @contextlib.contextmanager
    def _view(self) -> Iterator[mmap.mmap | bytes]:
        if not self.path.stat().st_size:  # which cannot be mapped
            yield b""
            return
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            yield view
