"""The list of batches, page by page: all since a moment, or some that are known, in as few calls as possible.

How a page is fetched is not here: `fetch` is handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from dfbatch.backends import Batch, Listing
from dfbatch.errors import NotFound, NotTheApi, Unreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    # (limit, id of the batch after which the page begins or "") → the page, and the server's time in its Date header
    Fetch = Callable[[int, str], Awaitable[tuple["Page", float | None]]]

LARGEST: Final = 1000  # batches on a page (SDK 2.12, November 2026)
_PAGES: Final = 1000  # a list that goes on after a million batches does not end
_STARTS: Final = 3
_ABOUT: Final = "check ANTHROPIC_BASE_URL; some proxies lack the batch route"


class Page(msgspec.Struct):
    """One page, newest first."""

    data: list[Batch]
    has_more: bool = False
    last_id: str | None = None

    @property
    def last(self) -> str:
        """After which the next page begins; empty where none does."""
        return (self.last_id or (self.data[-1].id if self.data else "")) if self.has_more else ""


async def all_since(moment: float, fetch: Fetch) -> Listing:
    """All batches created at `moment` or later by the server's clock; one whose time is unreadable counts as later."""
    for _ in range(_STARTS):
        try:
            return await _read(moment, fetch)
        except NotFound:  # the batch where a page began was deleted meanwhile
            continue
    raise Unreachable(
        "the list of batches changes faster than it can be read",
        f"{_STARTS} times the last batch of a page was deleted before the next page was asked for",
        hint="this may pass: try again in a while",
    )


async def _read(moment: float, fetch: Fetch) -> Listing:
    found: dict[str, Batch] = {}
    times: list[float] = []
    after = ""
    for _ in range(_PAGES):
        page, now = await fetch(LARGEST, after)
        if now is None:
            raise NotTheApi(
                "the list of batches came without a Date header that can be read",
                "by it alone is told what the list can know of",
                hint=_ABOUT,
            )
        times.append(now)
        before = len(found)
        found |= {batch.id: batch for batch in page.data}
        if not page.has_more or _older(page, moment):
            return Listing([batch for batch in found.values() if not _before(batch, moment)], times[0])
        after = page.last
        if len(found) == before or not after:
            break
    raise NotTheApi("the list of batches says that it goes on, and does not", "half a list proves nothing", hint=_ABOUT)


def _older(page: Page, moment: float) -> bool:
    """Whether all that follows is older: lists are newest first."""
    return bool(page.data) and _before(page.data[-1], moment)


def _before(batch: Batch, moment: float) -> bool:
    return batch.created is not None and batch.created < moment


class Search:
    """Looks for known batches in the list, and remembers how deep it had to look."""

    def __init__(self) -> None:
        self._depth = 0

    async def find(self, ids: Collection[str], fetch: Fetch) -> dict[str, Batch]:
        """Those of `ids` on the first page; on one more, if more than one is still missing there."""
        wanted = set(ids)
        page, _ = await fetch(min(LARGEST, max(20 + 2 * len(wanted), self._depth)), "")
        listed = page.data
        if len(wanted.difference(batch.id for batch in listed)) > 1 and page.last:
            page = await _further(page, fetch)
            listed += page.data
        places = {batch.id: place for place, batch in enumerate(listed, 1) if batch.id in wanted}
        depth = max(places.values(), default=0)
        self._depth = depth + depth // 4  # batches of others come in before ours
        if page.has_more and len(places) < len(wanted):  # the others lie deeper, or nowhere
            self._depth = 2 * len(listed)
        return {batch.id: batch for batch in listed if batch.id in wanted}


async def _further(page: Page, fetch: Fetch) -> Page:
    try:
        return (await fetch(LARGEST, page.last))[0]
    except NotFound:  # the batch where it would begin was deleted meanwhile
        return Page([], has_more=True)
