"""A raw results file as blocks of lines that are ours, whatever else the file holds. What lines mean is in `sheet.py`.

The server is not trusted: blank and torn lines, CRLF, what stands before and between lines, ids that are not ours and
second lines for one id are all told apart here. A block is held as columns; only where something is odd is it walked
line by line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from dfbatch.requests import ID_WIDTH, NONCE_WIDTH, POSITION_WIDTH, POWERS, custom_ids
from dfbatch.results import Line, better, lines_in, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dfbatch.ledger.records import ChunkRecord

_READ = 1 << 21  # bytes of a file that are Python objects at one time
LONGEST = 1 << 28  # bytes of one line that are held: the API's largest answer is far below
_ID = f"S{ID_WIDTH + 2}"  # so that a longer id is not cut to one of ours
_END = "."  # behind each id, since numpy drops zero bytes at the end of a text
_LINE_END, _RETURN, _OPEN, _SHUT = b"\n\r{}"
_decode_lines = msgspec.json.Decoder(Line).decode_lines


def _ended(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Our ids, each with its end."""
    letters = np.zeros((len(ids), ID_WIDTH + 2), np.uint8)
    letters[:, :ID_WIDTH] = ids.view(np.uint8).reshape(len(ids), ID_WIDTH)
    letters[:, ID_WIDTH] = ord(_END)
    return letters.view(_ID).ravel()


def _encoded(ids: list[str]) -> np.ndarray[Any, Any]:
    """Ids as an array, each with its end; at once where all are as long as ours, as they mostly are."""
    if set(map(len, ids)) == {ID_WIDTH} and (joined := _END.join([*ids, ""])).isascii():
        return np.frombuffer(joined.encode(), f"S{ID_WIDTH + 1}").astype(_ID)
    return np.array([(name + _END).encode() for name in ids], _ID)


def _positions(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The positions that these ids name; nonsense for ids that are not ours, which are compared as a whole."""
    letters = ids.view(np.uint8).reshape(len(ids), -1)[:, NONCE_WIDTH : NONCE_WIDTH + POSITION_WIDTH]
    return (letters.astype(np.int64) - ord("0")) @ POWERS


class Found(NamedTuple):
    """Lines that are ours, each request at most once: which request of the chunk, and where in the file."""

    at: np.ndarray[Any, Any]
    lines: list[Line]
    offset: np.ndarray[Any, Any]
    length: np.ndarray[Any, Any]


class Reader:
    """Reads one raw file; `strange` counts the lines that were not ours, torn, or there twice."""

    def __init__(self, chunk: ChunkRecord, requests: np.ndarray[Any, Any], raw: Path) -> None:
        self.strange = 0
        self._path = raw
        self._ids = _ended(custom_ids(chunk.nonce, requests))
        self._positions = np.ascontiguousarray(requests["position"])  # ascending
        self._offset = np.full(len(requests), -1, np.int64)  # of the line taken for each request
        self._length = np.zeros(len(requests), np.int64)

    def blocks(self) -> Iterator[Found]:
        """All lines that are ours; where there are two for one request, the better one comes last."""
        for block, offset in self._whole_lines():
            codes = np.frombuffer(block, np.uint8)
            ends = np.flatnonzero(codes == _LINE_END)
            starts = np.concatenate(([0], ends[:-1] + 1))
            try:
                lines = _decode_lines(block)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                lines = []
            if len(lines) != len(ends) or not _object_each(codes, starts, ends):
                lines, starts, ends = self._one_by_one(block, starts, ends)
            yield from self._ours(Found(np.empty(0), lines, starts + offset, ends - starts))

    def _whole_lines(self) -> Iterator[tuple[bytes, int]]:
        """Blocks that end with a line's end, and where they begin; a torn tail gets an end of its own.

        The tail comes with the block before it, where an object goes over several lines. A line longer than any answer
        is not held: it is strange.
        """
        rest, offset, skipping = bytearray(), 0, False
        held, begin = b"", 0
        with self._path.open("rb", buffering=0) as file:
            while block := file.read(_READ):
                cut = block.rfind(b"\n") + 1
                if skipping and cut:
                    first = block.find(b"\n") + 1
                    offset += first
                    block, cut, skipping = block[first:], cut - first, False
                if skipping:
                    offset += len(block)
                    continue
                if cut:
                    if held:
                        yield held, begin
                    held, begin = bytes(rest) + block[:cut], offset
                    offset += len(held)
                    rest.clear()
                rest += block[cut:]
                if len(rest) > LONGEST:
                    self.strange += 1
                    offset += len(rest)
                    rest, skipping = bytearray(), True
        tail = bytes(rest) + b"\n" if rest else b""
        if begin + len(held) == offset:
            held, tail = held + tail, b""
        yield from ((lines, at) for lines, at in ((held, begin), (tail, offset)) if lines)

    def _one_by_one(
        self, block: bytes, starts: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]
    ) -> tuple[list[Line], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        kept: list[tuple[Line, int, int]] = []
        torn: list[tuple[int, int]] = []  # side by side: an object may go over several lines
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            raw = block[start:end]
            if line := parse(raw):
                kept += [*self._in_torn(block, torn), (line, start, end)]
                torn.clear()
            elif raw.strip():
                torn.append((start, end))
        kept += self._in_torn(block, torn)
        return (
            [line for line, _, _ in kept],
            np.array([a for _, a, _ in kept], int),
            np.array([b for _, _, b in kept], int),
        )

    def _in_torn(self, block: bytes, torn: list[tuple[int, int]]) -> list[tuple[Line, int, int]]:
        """The lines that lie in what is no line by itself; what holds none is strange."""
        if not torn:
            return []
        begin, end = torn[0][0], torn[-1][1]
        found = [(line, begin + start, begin + stop) for line, start, stop in lines_in(block[begin:end])]
        self.strange += sum(not any(a < stop and start < b for _, start, stop in found) for a, b in torn)
        return found

    def _ours(self, told: Found) -> Iterator[Found]:
        if not told.lines:
            return
        ids = _encoded([line.custom_id for line in told.lines])
        at = np.minimum(np.searchsorted(self._positions, _positions(ids)), len(self._ids) - 1)
        own = np.flatnonzero(self._ids[at] == ids)
        if len(own) < len(ids):
            self.strange += len(ids) - len(own)
            told = told._replace(
                lines=[told.lines[index] for index in own], offset=told.offset[own], length=told.length[own]
            )
        told = told._replace(at=at[own])
        if len(np.unique(told.at)) == len(told.at) and not (self._offset[told.at] >= 0).any():
            yield self._taken(told)
            return
        for index in range(len(told.lines)):
            one = slice(index, index + 1)
            single = Found(told.at[one], told.lines[one], told.offset[one], told.length[one])
            if self._is_better(single):
                yield self._taken(single)

    def _taken(self, found: Found) -> Found:
        self._offset[found.at], self._length[found.at] = found.offset, found.length
        return found

    def _is_better(self, single: Found) -> bool:
        """Whether this line counts: the only one for its request, or the better of two."""
        at = int(single.at[0])
        if self._offset[at] < 0:
            return True
        self.strange += 1
        before = self.raw(int(self._offset[at]), int(self._length[at]))
        other = parse(before)
        here = self.raw(int(single.offset[0]), int(single.length[0]))
        return other is None or better(here, single.lines[0].result, before, other.result)

    def raw(self, offset: int, length: int) -> bytes:
        """A line as it came."""
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def _object_each(codes: np.ndarray[Any, Any], starts: np.ndarray[Any, Any], ends: np.ndarray[Any, Any]) -> bool:
    """Whether no object spans lines: then as many objects as lines are one a line.

    Two objects on one line beside a blank one make the same count, and every place in the file would be wrong. No
    JSON value has `}`, white space, `{` inside.
    """
    last = codes[ends - 1]
    last = np.where(last == _RETURN, codes[ends - 2], last)
    return bool((codes[starts] == _OPEN).all() and (last == _SHUT).all())
