"""What the ledger remembers, as frozen records: a run, its spec, a chunk, a batch. How it is kept is not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dfbatch.kinds import Kind

# A chunk's states. `released`: given up before it was sent, its requests are free for others. `rejected`: the server
# certainly refused it. Only `planned` and `released` chunks have cost nothing for sure.
PLANNED: Final = "planned"
SUBMITTING: Final = "submitting"
SUBMITTED: Final = "submitted"
ENDED: Final = "ended"
COLLECTED: Final = "collected"
REJECTED: Final = "rejected"
RELEASED: Final = "released"
LOST: Final = "lost"  # deleted or archived at the server before it was collected

ACCEPTED: Final = (SUBMITTED, ENDED, COLLECTED)


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to judge and lay out answers in any process: JSON only, no pickle."""

    prompt: str
    reads: list[str]  # the columns whose cells make up a row's content
    key: str | None
    full: dict[str, Any] | None  # the schema with its bounds
    shape: str
    columns: list[tuple[str, Kind]]  # the answer's columns, as laid out
    include: list[str]
    prefix: str  # of the include columns
    unpack: bool
    into: str | None
    system: Any
    betas: list[str]
    head: str  # the shared part of all requests, for `resume` and `retry` in any process
    tail: str
    on_error: str
    dtype_backend: str | None
    reasons: list[str]  # why rows were not sent; a row's `why` is an index into it
    reuse: bool
    chunk_size: int | None  # None: cut by the API's limits
    backend: dict[str, Any]  # how to make the backend again: never a key


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as the ledger knows it; `status` and `message` change, the rest does not."""

    id: str
    created: float
    name: str
    status: str
    message: str
    frame: str
    rows: int
    requests: int
    skipped: int
    model: str
    max_tokens: int
    shared: str
    who: str
    backend: str
    answered_by: str
    spends: bool
    spec: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRecord:
    """A chunk as the ledger knows it; `bytes` is its content-length."""

    id: str
    run: str
    ordinal: int
    state: str
    shared: str
    nonce: str
    requests: int
    bytes: int
    max_tokens: int
    error: str = ""
    changed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """What the server made of a chunk; times as the server wrote them, `accepted` in our clock."""

    chunk: str
    id: str
    base_url: str
    organization: str
    workspace: str
    request_id: str
    status: str
    created_at: str
    expires_at: str
    ended_at: str
    accepted: float
