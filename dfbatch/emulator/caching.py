"""The prompt cache: which prefix of a request was read, which was written, for how long it is kept.

Prefixes are equal when model, thinking, effort, output format, tools, system and messages up to a marked block are
equal. A written prefix can be read once its writer has finished, for 5 minutes or an hour after its last use, within
one workspace; direct calls and batches have a cache each (reference §3.5). Kept in memory: a restart finds it cold.
Not here: prices of reads and writes (models.toml).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from dfbatch.emulator import tokens
from dfbatch.emulator.clock import HOUR, SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dfbatch.emulator.asks import Ask

LIFETIMES = {"5m": 300 * SECOND, "1h": HOUR}
_LOOKBACK = 20  # blocks before a marked one that may end a cached prefix
_MOST = 50_000
_canonical = msgspec.json.Encoder(order="sorted").encode


class Cached(NamedTuple):
    """Prompt tokens by how they are billed, apart from those billed as plain input."""

    read: int = 0
    write_5m: int = 0
    write_1h: int = 0

    @property
    def total(self) -> int:
        """All tokens billed in some other way than as plain input."""
        return self.read + self.write_5m + self.write_1h

    def measured(self, prompt: int | None, ruled: int) -> Cached:
        """The same shares of a prompt that a real model counted; `ruled` is its length by the rule of tokens.py."""
        if prompt is None or not ruled:
            return self
        return Cached(*(count * prompt // ruled for count in self))


class _Boundary(NamedTuple):
    digest: bytes
    tokens: int
    ttl: str | None


@dataclass(slots=True)
class _Entry:
    readable_at: int
    expires_at: int
    ttl: str


class PromptCache:
    """All cached prefixes. `hit_rate` below 1 makes some reads miss, by a draw that follows from seed and request."""

    def __init__(self, *, seed: int, hit_rate: float = 1.0) -> None:
        self._seed = seed
        self._hit_rate = hit_rate
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def bill(
        self, ask: Ask, *, pool: str, start: int, finish: int, prompt: int | None = None, salt: bytes = b""
    ) -> Cached:
        """What the request reads and writes when it runs from `start` to `finish` in `pool` (workspace and kind).

        `prompt` is the prompt's length where the engine counted it itself.
        """
        if not ask.marked:
            return Cached()
        boundaries = list(_boundaries(ask, pool))
        marked = [row for row, boundary in enumerate(boundaries) if boundary.ttl]
        with self._lock:
            found = self._longest(boundaries, marked, start) if self._lucky(ask, salt) else None
            read = boundaries[found].tokens if found is not None else 0
            if found is not None:
                entry = self._entries[boundaries[found].digest]
                entry.expires_at = max(entry.expires_at, start + LIFETIMES[entry.ttl])
            written = {"5m": 0, "1h": 0}
            done = read
            for row in marked:
                _digest, count, ttl = boundaries[row]
                if ttl and count >= ask.model.cache_min and count > done:
                    written[ttl] += count - done
                    done = count
                    self._write(boundaries[row], ttl, finish)
        return Cached(read, written["5m"], written["1h"]).measured(prompt, ask.tokens)

    def clear(self) -> None:
        """Forget every prefix."""
        with self._lock:
            self._entries.clear()

    def _lucky(self, ask: Ask, salt: bytes) -> bool:
        draw = sha256(b"cache %d" % self._seed + ask.digest + salt).digest()[:8]
        return int.from_bytes(draw) < self._hit_rate * (1 << 64)

    def _longest(self, boundaries: list[_Boundary], marked: list[int], start: int) -> int | None:
        """The last boundary whose prefix can be read now, looking back from each mark."""
        for mark in reversed(marked):
            for row in range(mark, max(mark - _LOOKBACK, -1), -1):
                entry = self._entries.get(boundaries[row].digest)
                if entry and entry.readable_at <= start < entry.expires_at:
                    return row
        return None

    def _write(self, boundary: _Boundary, ttl: str, finish: int) -> None:
        known = self._entries.get(boundary.digest)
        until = finish + LIFETIMES[ttl]
        if known is None or known.expires_at < finish:
            self._entries[boundary.digest] = _Entry(finish, until, ttl)
        else:
            known.readable_at = min(known.readable_at, finish)
            if until > known.expires_at:
                known.expires_at, known.ttl = until, ttl
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)


def marks(params: dict[str, Any]) -> list[tuple[str, str]]:
    """(place, lifetime) of every cache_control, in the order of the prompt; the automatic one last."""
    return [(place, ttl) for place, _part, ttl in _parts(params) if ttl]


def _parts(params: dict[str, Any]) -> Iterator[tuple[str, Any, str | None]]:
    """(place, block, lifetime if marked) in prompt order: tools, system, messages."""
    found = [*_blocks_of("tools", params.get("tools")), *_blocks_of("system", params.get("system"))]
    for row, message in enumerate(params["messages"]):
        found += _blocks_of(f"messages.{row}.content", message["content"], message["role"])
    automatic = _ttl(params)
    if automatic and found:
        place, part, own = found[-1]
        if own is None:
            found[-1] = (place, part, automatic)
        else:
            found.append(("cache_control", "", automatic))  # takes a slot of its own
    yield from found


def _blocks_of(place: str, content: Any, role: str = "") -> list[tuple[str, Any, str | None]]:
    if not content:
        return []
    if isinstance(content, str):
        return [(place, (role, {"type": "text", "text": content}), None)]
    return [(f"{place}.{row}", (role, _unmarked(block)), _ttl(block)) for row, block in enumerate(content)]


def _unmarked(block: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in block.items() if key != "cache_control"}


def _ttl(block: dict[str, Any]) -> str | None:
    mark = block.get("cache_control")
    return mark.get("ttl", "5m") if mark else None


def _boundaries(ask: Ask, pool: str) -> Iterator[_Boundary]:
    params = ask.params
    head = [pool, ask.model.id, params.get("thinking"), params.get("output_config")]
    running = sha256(_canonical(head))
    count = 0
    for place, part, ttl in _parts(params):
        running.update(_canonical(part))
        count += _count(place, part, ask)
        yield _Boundary(running.digest(), count, ttl)


def _count(place: str, part: Any, ask: Ask) -> int:
    if not part:
        return 0
    _role, block = part
    return tokens.of_json(block, ask.model) if place.startswith("tools") else tokens.of_block(block, ask.model)
