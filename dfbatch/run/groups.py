"""Requests that begin alike beyond what all share, such as many questions about one document: found, and marked.

A part's own prefix is all its content blocks but the last. Whether a mark pays is decided in `caching.py`; that the
requests of a prefix stay together, and that one of them goes ahead, in `leading.py`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch.caching import Caching, decide, verdict, worth
from dfbatch.requests import part_mark, prefix_bytes
from dfbatch.run.spools import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dfbatch.models import Model
    from dfbatch.requests import Shared
    from dfbatch.run.rows import Scratch

    Array = np.ndarray[Any, np.dtype[Any]]

USERS: Final = b'"cache_control"'  # in a text its quotes would be escaped
_BETWEEN: Final = b'},{"'  # the end of a block or turn, and the beginning of the next; in a text likewise
_TURN: Final = b'"role"'


def own(part: bytes) -> int:
    """How many bytes of a part are before the end of its last block but one; -1 where there is none to mark.

    >>> part = b'{"role":"user","content":[{"type":"text","text":"document"},{"type":"text","text":"question"}]}'
    >>> part[: own(part)]
    b'{"role":"user","content":[{"type":"text","text":"document"'
    """
    at = part.rfind(_BETWEEN)
    if at < 0:
        return -1
    if part.startswith(_TURN, at + len(_BETWEEN) - 1):
        return at - 2 if part[at - 2 : at] == b"}]" else -1
    return at


def users(part: bytes) -> int:
    """How many bytes of a part are before the last mark that the user placed; -1 where there is none."""
    return part.rfind(USERS)


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Which requests begin alike, and with what."""

    ids: Array  # of each request the number of its prefix; -1: none
    cuts: Array  # bytes of each part before the end of its prefix; -1: none
    sizes: Array  # bytes of each prefix …
    counts: Array  # … and how many requests begin with it

    @classmethod
    def of(cls, parts: Iterable[bytes], count: int, end: Callable[[bytes], int]) -> Prefixes:
        """Those of so many parts."""
        cuts, marks = np.full(count, -1, np.int64), np.zeros(count, np.uint64)
        for at, part in enumerate(parts):
            cut = end(part)
            if cut > 0:
                cuts[at] = cut
                marks[at] = int.from_bytes(hashlib.blake2b(part[:cut], digest_size=8).digest())
        ids, has = np.full(count, -1, np.int64), cuts > 0
        _, ids[has], counts = np.unique(marks[has], return_inverse=True, return_counts=True)
        sizes = np.zeros(len(counts), np.int64)
        sizes[ids[has]] = cuts[has]
        return cls(ids, cuts, sizes, counts)

    def spread(self, which: Array, count: int) -> Prefixes:
        """Of these requests among so many."""
        ids, cuts = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        ids[which], cuts[which] = self.ids, self.cuts
        return Prefixes(ids, cuts, self.sizes, self.counts)

    def only(self, taken: Array) -> Prefixes:
        """With some prefixes alone, the others as if they were none."""
        kept = np.zeros(len(self.ids), bool)
        kept[self.ids >= 0] = taken[self.ids[self.ids >= 0]]
        return Prefixes(np.where(kept, self.ids, -1), np.where(kept, self.cuts, -1), self.sizes, self.counts)

    def firsts(self) -> tuple[Array, Array]:
        """Of each prefix that is left its number, and the first request that begins with it."""
        numbers, places = np.unique(self.ids, return_index=True)
        return numbers[numbers >= 0], places[numbers >= 0]


@dataclass(frozen=True, slots=True)
class Groups:
    """Requests with marks at the end of prefixes that they share with others."""

    prefixes: Prefixes
    mark: bytes

    @classmethod
    def of(cls, prefixes: Prefixes, lifetime: str, parts_at: Callable[[Array], Iterator[bytes]]) -> Groups:
        """Those of prefixes whose end is the end of a block: a part that is made otherwise is left as it is."""
        mark = part_mark(lifetime)
        numbers, places = prefixes.firsts()
        fits = np.zeros(len(prefixes.sizes), bool)
        for number, place, part in zip(numbers.tolist(), places.tolist(), parts_at(places), strict=True):
            fits[number] = _is_on_a_block(_with(part, int(prefixes.cuts[place]), mark))
        return cls(prefixes.only(fits), mark)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool((self.prefixes.ids >= 0).any())

    def wanted(self, requests: Array, scratch: Scratch, offsets: Array, lengths: Array) -> Wanted:
        """The requests with their marks."""
        cuts = self.prefixes.cuts

        def lines_of(which: Array) -> Iterator[bytes]:
            parts = scratch.parts(offsets[which], lengths[which])
            return (_with(part, cut, self.mark) + b"\n" for part, cut in zip(parts, cuts[which].tolist(), strict=True))

        return Wanted(requests, lengths + np.where(cuts > 0, len(self.mark), 0), lines_of, self.prefixes.ids)


def _with(part: bytes, cut: int, mark: bytes) -> bytes:
    return part[:cut] + mark + part[cut:] if cut > 0 else part


def _is_on_a_block(part: bytes) -> bool:
    """Whether the mark of a part is on a content block of one of its turns."""
    try:
        turns = msgspec.json.decode(b"[" + part + b"]")
    except msgspec.DecodeError:  # the last text ends like a block
        return False
    blocks = [block for turn in turns if isinstance(turn.get("content"), list) for block in turn["content"]]
    return any("cache_control" in block for block in blocks if isinstance(block, dict))


@dataclass(frozen=True, slots=True)
class Planner:
    """What of a call is marked for the prompt cache; `blocks` where its prompt may be more than one text.

    What counts is what is to be sent: `new` are the indices of those requests.
    """

    said: str | None
    model: Model | None
    shared: Shared
    scratch: Scratch
    offsets: Array
    lengths: Array
    new: Array
    blocks: bool

    def counts(self) -> bool:
        """Whether it matters how many of the requests are to be sent: where all are too few, some are too."""
        return self.said is not None and (self.blocks or self.decide()[0].lifetime != "")

    def decide(self) -> tuple[Caching, Groups | None]:
        """For what all requests share, and for the prefixes of groups; marks of the user are left alone, and judged."""
        size, count = prefix_bytes(self.shared), len(self.new)
        marks = USERS in self.shared.head + self.shared.tail
        if self.blocks and count and self.scratch.holds(USERS):
            return self._judged(size), None
        cache = decide(self.said, self.model, shared_bytes=size, requests=count, users=marks)
        if marks or not self.blocks or self.said is None or not count:
            return cache, None
        prefixes = Prefixes.of(self._at(self.new), count, own)
        taken = worth(self.said, self.model, shared_bytes=size, sizes=prefixes.sizes, counts=prefixes.counts)
        lifetime = self.said if self.said in ("5m", "1h") else "1h"
        groups = Groups.of(prefixes.only(taken).spread(self.new, len(self.offsets)), lifetime, self._at)
        return (replace(cache, leads=True, warning=""), groups) if groups else (cache, None)

    def _judged(self, size: int) -> Caching:
        """What is told of marks that the user placed in the prompt."""
        prefixes = Prefixes.of(self._at(self.new), len(self.new), users)
        lifetime = "1h" if self.scratch.holds(b'"ttl":"1h"') else "5m"
        told = verdict(self.model, lifetime, shared_bytes=size, sizes=prefixes.sizes, counts=prefixes.counts)
        return Caching(warning=told, marked=True)

    def _at(self, places: Array) -> Iterator[bytes]:
        return self.scratch.parts(self.offsets[places], self.lengths[places])
