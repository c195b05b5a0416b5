"""What the ledger remembers, as frozen records: a run, its spec, a chunk, a batch. How it is kept is not here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from dfbatch.kinds import Kind

OVERLOADED: Final = "overloaded"  # the API itself said 529 to its create


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
    retries: int = 2  # automatic tries after one that may pass
    correct: bool = True  # whether an answer that does not fit the schema is asked for once more
    samples: int = 1  # answers a row
    prices: dict[str, Any] = {}  # of models, as the call said them
    preflight: bool = False  # whether the first request goes ahead alone
    pilot: str = ""  # "": none, "batch", "now" (through `/v1/messages`), "auto", or how many, in digits
    max_failed: float | None = None  # share of answers that cannot be used, above which a run with a pilot stops
    budget: float | None = None  # USD
    cache: str = ""  # how long what all requests share is kept in the prompt cache: "", "5m" or "1h" …
    leads: bool = False  # … and whether one request goes ahead to write it
    marked: bool = False  # whether prompts hold marks of the user for it
    function: str = ""  # the name of the function that makes the prompts, where one does
    strict: bool = False  # whether every answer counts as long as max_tokens until it is there


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
    """A chunk as the ledger knows it; `bytes` is its content-length.

    `kind` says why it is asked: "" at first, `again` (what may pass), `longer` (cut answers), `corrected` (answers that
    did not fit), `hand` (`run.retry`), `now` (through `/v1/messages`), `preflight` (the first request,
    also there), `pilot` (the first part of a run), `pilot now` (the same, through `/v1/messages`),
    `warm` (one request that writes the prompt cache).
    """

    id: str
    run: str
    ordinal: int
    state: str
    shared: str
    nonce: str
    requests: int
    bytes: int
    max_tokens: int  # what was asked for
    allowed: int  # what the user's call allows: less than max_tokens where a cut answer is asked for again
    kind: str = ""
    model: str = ""  # empty: the run's
    head: str = ""  # of its requests, where it is not the run's
    error: str = ""
    changed: float = 0.0
    intended: float = 0.0  # when its POST was intended, in the server's clock
    orphaned: float = 0.0  # when it was first looked for in vain, in the server's clock
    answered: str = ""  # the model that answered
    organization: str = ""  # where it was sent, if the server told
    workspace: str = ""
    doubt: str = ""  # what left it in doubt: OVERLOADED, or a reply that never came
    unheard: int = 0  # requests asked through `/v1/messages` whose replies were lost, and …
    unheard_usd: float | None = None  # … the most that they may have cost, USD; None where nobody knew the price
    seq: int = 0  # the order of chunks in the ledger; given by it


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecord:
    """What the server made of a chunk; times as the server wrote them, `accepted` in our clock.

    A batch is `proved` ours by its reply, or by the nonce in its results.
    """

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
    proved: bool = True
