"""From rows to bytes: the shared part of all requests encoded once, the row's own part spliced in, digest, custom_id.

A request's JSON is `{"custom_id": id, "params": head + part + tail}`. `head` and `tail` are the same for the whole run,
`part` is the row's messages. Reading answers back is not here (`results.py`), nor is where the bytes are kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

DIGEST = np.dtype("S16")  # half a SHA-256: at ten million requests, two are alike by chance once in 1e24 times
REQUEST = np.dtype([("position", "<i8"), ("digest", "S16")])  # one line of a map file

NONCE_WIDTH = 10
POSITION_WIDTH = 10
CHECK_WIDTH = 4
ID_WIDTH = NONCE_WIDTH + POSITION_WIDTH + CHECK_WIDTH  # 24 of the 64 that `^[a-zA-Z0-9_-]{1,64}$` allows

POWERS = 10 ** np.arange(POSITION_WIDTH - 1, -1, -1, dtype=np.int64)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
OPENING = b'{"requests":['
CLOSING = b"]}"
_BEFORE_ID = b'{"custom_id":"'
_AFTER_ID = b'","params":'
_BEFORE_TURNS = b',"messages":['
_BLOCK_ROWS = 400  # requests handed to the transport at once

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


@dataclass(frozen=True, slots=True)
class Shared:
    """What all requests of a run have in common, encoded once."""

    head: bytes
    tail: bytes
    digest: str  # hex; of the user's parameters without max_tokens, the schema, the betas and who answers

    def request(self, custom_id: bytes, part: bytes) -> bytes:
        """One element of `requests`, as it goes over the wire."""
        return b"".join((_BEFORE_ID, custom_id, _AFTER_ID, self.head, part, self.tail, b"}"))

    @property
    def overhead(self) -> int:
        """Bytes of a request beyond its part, the comma after it included."""
        return len(self.request(b"x" * ID_WIDTH, b"")) + 1


def shared(
    *,
    model: str,
    max_tokens: int,
    system: object,
    turns: Sequence[Mapping[str, Any]],
    params: Mapping[str, Any],
    wire: Mapping[str, Any] | None,
    judged: Mapping[str, Any] | None,
    betas: Sequence[str],
    who: str,
) -> Shared:
    """Encode the shared part; `judged` is the schema with its bounds, `who` names backend, origin and API version."""
    common: dict[str, Any] = {"model": model, **params}
    if system is not None:
        common["system"] = system
    if wire is not None:
        output = dict(common.get("output_config") or {})
        common["output_config"] = {**output, "format": {"type": "json_schema", "schema": wire}}
    lead = b"".join(_encode(turn) + b"," for turn in turns)
    sent = _encode({**common, "max_tokens": max_tokens})
    asked = msgspec.json.encode([common, list(turns), judged, sorted(betas), who], order="deterministic")
    digest = hashlib.blake2b(asked, digest_size=16).hexdigest()
    return Shared(sent[:-1] + _BEFORE_TURNS + lead, b"]}", digest)


def changed(
    head: bytes,
    *,
    model: str | None,
    max_tokens: int | None,
    judged: Mapping[str, Any] | None,
    betas: Sequence[str],
    who: str,
    params: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> Shared:
    """The shared part asked of another model or with another limit; `params` may change what else was asked."""
    common: dict[str, Any] = msgspec.json.decode(head.removesuffix(b",") + b"]}")
    turns, had = common.pop("messages"), common.pop("max_tokens")
    return shared(
        model=model or common["model"],
        max_tokens=max_tokens or had,
        system=None,
        turns=turns,
        params=params({name: value for name, value in common.items() if name != "model"}),
        wire=None,
        judged=judged,
        betas=betas,
        who=who,
    )


def prefix_bytes(whole: Shared) -> int:
    """Bytes of what a prompt cache could keep of the shared part: tools, system and turns, in the order of the API."""
    params: dict[str, Any] = msgspec.json.decode(whole.head.removesuffix(b",") + whole.tail)
    return sum(len(_encode(params[name])) for name in ("tools", "system", "messages") if params.get(name))


def marked(whole: Shared, lifetime: str) -> Shared:
    """The shared part with a mark for the prompt cache at its end; its digest stays what it was.

    The mark is on the last turn that all requests share, else on the system prompt, else on the last tool; where there
    is none of these, there is nothing to cache.
    """
    params: dict[str, Any] = msgspec.json.decode(whole.head.removesuffix(b",") + whole.tail)
    mark = {"type": "ephemeral", "ttl": lifetime}
    if params["messages"]:
        last = params["messages"][-1]
        last["content"] = _marked(last["content"], mark)
    elif params.get("system"):
        params["system"] = _marked(params["system"], mark)
    elif params.get("tools"):
        params["tools"][-1]["cache_control"] = mark
    else:
        return whole
    turns = b"".join(_encode(turn) + b"," for turn in params.pop("messages"))
    return Shared(_encode(params)[:-1] + _BEFORE_TURNS + turns, whole.tail, whole.digest)


def part_mark(lifetime: str) -> bytes:
    """A mark for the prompt cache as it is set into a part, before the end of a block.

    Its space tells it from those of users: their content is encoded without any.
    """
    return b', "cache_control":{"type":"ephemeral","ttl":"%b"}' % lifetime.encode()


PART_MARKS = tuple(map(part_mark, ("5m", "1h")))


def unmarked(row_part: bytes) -> bytes:
    """A part as the user asked it."""
    for mark in PART_MARKS:
        row_part = row_part.replace(mark, b"", 1)
    return row_part


def _marked(content: Any, mark: dict[str, str]) -> list[Any]:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    return [*blocks[:-1], {**blocks[-1], "cache_control": mark}]


def parts(contents: Sequence[Any]) -> list[bytes]:
    """The parts of many rows; None makes an empty one. Texts, which most rows are, are encoded in one go."""
    if set(map(type, contents)) == {str}:
        texts = _encode_lines(contents).split(b"\n")
        texts.pop()
        return [b'{"role":"user","content":%b}' % text for text in texts]
    return [b"" if content is None else part(content) for content in contents]


def part(content: Any) -> bytes:
    """The row's own messages as JSON: a text or content blocks become one user turn, messages stay as they are."""
    if isinstance(content, str):
        return b'{"role":"user","content":' + _encode(content) + b"}"
    if content and "role" in content[0]:
        return _encode(content)[1:-1]
    return b'{"role":"user","content":' + _encode(content) + b"}"


def halved(digests: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """The first 16 bytes of SHA-256 digests, as an array of digests."""
    letters = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), 2 * DIGEST.itemsize)
    return np.ascontiguousarray(letters[:, : DIGEST.itemsize]).view(DIGEST).ravel()


class Digester:
    """Digests of requests: 16 bytes over the shared part and the row's."""

    __slots__ = ("_shared",)

    def __init__(self, shared_digest: str) -> None:
        self._shared = bytes.fromhex(shared_digest)

    def many(self, row_parts: Sequence[bytes]) -> list[bytes]:
        """The digests of many requests, not yet cut to 16 bytes: `halved` does that for all at once."""
        lead, sha256 = self._shared, hashlib.sha256
        return [sha256(lead + row_part).digest() for row_part in row_parts]

    def one(self, row_part: bytes, occurrence: int = 0) -> bytes:
        """The digest of one request; `occurrence` tells equal rows apart where each is to be asked."""
        mark = b"" if occurrence == 0 else b"\n%d" % occurrence  # JSON has no raw line break: cannot clash
        return hashlib.sha256(self._shared + row_part + mark).digest()[:16]


def custom_ids(nonce: str, requests: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The ids of a chunk: nonce, then the position of the first row that asks, then digits of the digest.

    Fixed width, letters and digits only, starting with a letter: every route accepts that. Written digit by digit for
    all requests at once.
    """
    count = len(requests)
    digest = np.ascontiguousarray(requests["digest"]).view(np.uint8).reshape(count, DIGEST.itemsize)
    letters = np.empty((count, ID_WIDTH), np.uint8)
    letters[:, :NONCE_WIDTH] = np.frombuffer(nonce.encode(), np.uint8)
    letters[:, NONCE_WIDTH:-CHECK_WIDTH] = requests["position"][:, None] // POWERS % 10 + ord("0")
    letters[:, -CHECK_WIDTH::2] = _HEX[digest[:, : CHECK_WIDTH // 2] >> 4]
    letters[:, -CHECK_WIDTH + 1 :: 2] = _HEX[digest[:, : CHECK_WIDTH // 2] & 15]
    return letters.view(f"S{ID_WIDTH}").ravel()


@dataclass(frozen=True, slots=True)
class Body:
    """What is posted: its length in bytes is known before the first one leaves, and it can be read again."""

    length: int
    shared: Shared
    ids: Sequence[bytes]
    lines: Iterable[bytes]  # the parts, in the order of the ids
    handed: Callable[[], None] = lambda: None  # called when the last block is handed over

    def __iter__(self) -> Iterator[bytes]:
        """Blocks of a few hundred kilobytes, each joined once."""
        after_id = _AFTER_ID + self.shared.head
        between = self.shared.tail + b"}," + _BEFORE_ID
        rows = zip(self.ids, repeat(after_id), self.lines, repeat(between), strict=False)
        yield OPENING + _BEFORE_ID
        last: tuple[bytes, ...] = next(rows)
        while block := tuple(islice(rows, _BLOCK_ROWS)):
            yield b"".join(chain(last, chain.from_iterable(block[:-1])))
            last = block[-1]
        self.handed()
        yield b"".join(last[:-1]) + self.shared.tail + b"}" + CLOSING


def body_length(shared_part: Shared, parts_bytes: int, count: int) -> int:
    """The content-length of a chunk: `parts_bytes` without line ends."""
    return len(OPENING) + parts_bytes + count * shared_part.overhead - 1 + len(CLOSING)
