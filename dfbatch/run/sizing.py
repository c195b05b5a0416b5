"""How large a call would be: which requests it would send, in which chunks, and a sample of them. Nothing is claimed.

What they cost is `planning.py`'s to tell.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from dfbatch import chunks, forecasts
from dfbatch.forecasts import characters
from dfbatch.requests import PART_MARKS, body_length, unmarked
from dfbatch.run.claims import Claimed, Cover, asked_before
from dfbatch.run.leading import parts
from dfbatch.run.now import DIRECT
from dfbatch.run.spools import shared_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.run.spools import LinesOf, Terms, Wanted

    Array = np.ndarray[Any, np.dtype[Any]]

GUESSED: Final = 200  # requests of a sample at most …
HEAVY: Final = 8_000_000  # … and bytes of all of those
SHOWN: Final = 3  # requests in a plan
SEEN: Final = 50  # groups with a prefix of their own whose prefix is looked at
LIFETIMES: Final = ("5m", "1h")  # of PART_MARKS


def digest_of(requests: Array) -> bytes:
    """One digest of all requests, whatever their order."""
    return hashlib.sha256(np.sort(requests["digest"]).tobytes()).digest()


@dataclass(slots=True)
class Sizing:
    """Looks up what is paid for and takes the sizes of the rest; claims nothing (a `Claiming`)."""

    digest: bytes = b""
    new: Array = field(default_factory=lambda: np.empty(0, np.int64))  # indices of requests to send
    sizes: Array = field(default_factory=lambda: np.empty(0, np.float64))  # bytes of their own parts
    direct: Array = field(default_factory=lambda: np.empty(0, bool))  # whether they go through `/v1/messages`
    warm: Array = field(default_factory=lambda: np.empty(0, bool))  # whether they write the prompt cache, ahead
    prefixes: Array = field(default_factory=lambda: np.empty(0, np.float64))  # tokens of their own part that are cached
    lifetime: str = ""  # … and for how long
    sample: list[bytes] = field(default_factory=list)  # parts of some of them, and …
    sampled: Array = field(default_factory=lambda: np.empty(0, np.int64))  # … which those are
    first: list[bytes] = field(default_factory=list)
    chunks: list[chunks.Cut] = field(default_factory=list)
    bytes: int = 0
    piloted: bool = False  # some go ahead in a batch
    record: RunRecord | None = None

    def __call__(
        self,
        ledger: Ledger,
        record: RunRecord,
        wanted: Wanted,
        *,
        terms: Terms,
        reuse: bool,
        before: Callable[[], None],  # noqa: ARG002 - of `Claiming`: a plan works without the network
    ) -> Claimed:
        """No chunks, and what would be drawn on."""
        found = Cover(np.zeros(len(wanted.requests), bool), {}, under_way=False)
        if reuse:
            found = asked_before(ledger, terms.shared, wanted.requests["digest"], allowed=terms.allowed)
        self.digest, self.record = digest_of(wanted.requests), record
        self.new = np.flatnonzero(~found.covered)
        self.sizes = wanted.lengths[self.new].astype(np.float64)
        self._cut(ledger, record, wanted, known=sum(found.chunks.values()), terms=terms)
        self._draw(wanted.lines_of)
        self._group(wanted)
        return Claimed([], found)

    def _cut(self, ledger: Ledger, record: RunRecord, wanted: Wanted, *, known: int, terms: Terms) -> None:
        shared = shared_of(record, terms.head)
        self.direct, self.warm = np.zeros(len(self.new), bool), np.zeros(len(self.new), bool)
        for part in parts(ledger, record, self.new, known=known, terms=terms, groups=wanted.groups):
            if part.kind in DIRECT:
                self.direct |= np.isin(self.new, part.which)
            self.piloted |= part.kind == "pilot"
            if part.kind == "warm":
                self.warm |= np.isin(self.new, part.which)
            sizes = wanted.lengths[part.which if part.order is None else part.which[part.order]]
            cuts = chunks.cut(sizes + shared.overhead, chunk_size=terms.size or "auto")
            self.chunks += cuts
            self.bytes += sum(body_length(shared, int(sizes[cut.start : cut.stop].sum()), len(cut)) for cut in cuts)

    def _draw(self, lines_of: LinesOf) -> None:
        if not len(self.new):
            return
        fits = int(HEAVY / max(1.0, float(self.sizes.mean())))
        self.sampled = forecasts.strata(self.sizes, max(SHOWN, min(GUESSED, fits)))
        self.sample = _parts(lines_of, self.new[self.sampled])
        self.first = _parts(lines_of, self.new[:SHOWN])

    def _group(self, wanted: Wanted) -> None:
        """How much of each part is a prefix of its group: as large a share as in a sample of the groups."""
        self.prefixes = np.zeros(len(self.new))
        if wanted.groups is None or not len(self.new):
            return
        groups = wanted.groups[self.new]
        numbers, places = np.unique(groups, return_index=True)
        seen = places[numbers >= 0][:SEEN]
        heads = [_prefix(part) for part in _parts(wanted.lines_of, self.new[seen])]
        self.lifetime = next((lifetime for lifetime, _ in heads if lifetime), "")
        shares = np.array([tokens for _, tokens in heads]) / self.sizes[seen]
        known = dict(zip(groups[seen].tolist(), shares.tolist(), strict=True))
        usual = float(shares.mean()) if len(shares) else 0.0
        share = np.array([known.get(number, usual) for number in numbers.tolist()])
        share[numbers < 0] = 0.0
        self.prefixes = share[np.searchsorted(numbers, groups)] * self.sizes


def _prefix(part: bytes) -> tuple[str, float]:
    """For how long the beginning of a part is kept in the prompt cache, and its tokens by characters."""
    lifetime = next((name for name, mark in zip(LIFETIMES, PART_MARKS, strict=True) if mark in part), "")
    turns: list[Any] = msgspec.json.decode(b"[" + unmarked(part) + b"]")
    last = turns[-1]["content"]
    behind = characters(last[-1:] if isinstance(last, list) else last)
    return lifetime, max(0.0, characters(turns) - behind)


def _parts(lines_of: LinesOf, which: Array) -> list[bytes]:
    return [b"".join(lines_of(np.array([index]))).removesuffix(b"\n") for index in which.tolist()]
