"""Routes that carry chunks. `Backend` says what a route can do, `Batch` what it tells; one file a route beside this.

Nothing here waits, retries or remembers: that is `run/`. Nothing here knows rows.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from pathlib import Path

    from dfbatch.requests import Body


class Batch(msgspec.Struct, frozen=True):
    """A batch as the server tells it; unknown fields are ignored, absent ones are liberal defaults."""

    id: Annotated[str, msgspec.Meta(max_length=256, pattern="[^.]")]  # it becomes part of paths: never "", "." or ".."
    processing_status: str = "in_progress"
    created_at: str = ""
    expires_at: str = ""
    ended_at: str | None = None
    archived_at: str | None = None
    cancel_initiated_at: str | None = None
    request_counts: dict[str, int] = {}

    @property
    def ended(self) -> bool:
        """Whether results can be had: `ended` alone is final."""
        return self.processing_status == "ended"

    @property
    def requests(self) -> int:
        """How many requests it holds, whatever became of them."""
        return sum(self.request_counts.values())

    @property
    def created(self) -> float | None:
        """When it was created by the server's clock, in seconds since 1970; None where that cannot be read."""
        try:
            told = datetime.fromisoformat(self.created_at)
            return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None


class Listing(msgspec.Struct, frozen=True):
    """Every batch since a moment, newest first, and when by the server's clock the list was begun.

    `now` comes from the Date header of the first page, in whole seconds: what was created later may be missing.
    """

    batches: list[Batch]
    now: float


class Accepted(msgspec.Struct, frozen=True):
    """A batch just created, and who it belongs to."""

    batch: Batch
    base_url: str
    organization: str = ""
    workspace: str = ""
    request_id: str = ""


class Backend(Protocol):
    """A route. Errors are those of `dfbatch.errors`; nothing of the transport slips through."""

    @property
    def kind(self) -> str:
        """`anthropic` or `local`."""

    @property
    def who(self) -> str:
        """Who answers: part of what makes two requests equal."""

    @property
    def answered_by(self) -> str:
        """What people are told where it is not Claude; empty for the real API."""

    @property
    def spends(self) -> bool:
        """Whether answers cost money."""

    @property
    def recipe(self) -> dict[str, object]:
        """How to make this backend again in another process: never a key."""

    def ready(self, home: Path) -> None:
        """Raise NoBackend or ModelMissing where it cannot work at all; `home` is where it may keep files."""

    async def probe(self) -> float | None:
        """Prove route, key and shape before the first create; the server's time in seconds since 1970, if it tells."""

    async def submit(self, body: Body, betas: Sequence[str]) -> Accepted:
        """Create a batch, once."""

    async def poll(self, ids: Collection[str]) -> dict[str, Batch | None]:
        """The state of these batches in as few calls as possible; None for one that is not (yet) there."""

    async def find(self, since: float) -> Listing:
        """The complete list of batches created at or after `since`, seconds since 1970 by the server's clock."""

    async def ask(self, params: bytes, betas: Sequence[str], *, timeout: float = 600.0) -> bytes:  # noqa: ASYNC109 - of the transport
        """Ask for one message now, at full price, once; its JSON as it came."""

    async def count(self, params: bytes, betas: Sequence[str]) -> int | None:
        """The tokens of one request's prompt, as the server estimates them, free of charge; None where it counts none.

        Raises NotFound where there is no such model.
        """

    async def describe(self, model: str) -> dict[str, Any] | None:
        """What the server tells of a model, by id or alias: limits, features; None where it tells of none.

        Raises NotFound where there is no such model.
        """

    def results(self, batch_id: str) -> AsyncIterator[bytes]:
        """The raw results, in blocks."""

    async def cancel(self, batch_id: str) -> Batch:
        """Ask the server to stop."""

    async def delete(self, batch_id: str) -> None:
        """Remove an ended batch and its results from the server."""

    async def close(self) -> None:
        """Close connections."""
