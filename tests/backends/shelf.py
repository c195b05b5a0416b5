"""A list route over batches that a test lays down, newest first, and their retrieve route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.wire import BATCH

if TYPE_CHECKING:
    from tests.wire import Peer

NOW = 1_795_341_600.0  # Sun, 22 Nov 2026 10:00:00 GMT
DATE = "Sun, 22 Nov 2026 10:00:00 GMT"


def batch(name: str, **more: Any) -> dict[str, Any]:
    return BATCH | {"id": name, **more}


def strangers(count: int, prefix: str = "stranger") -> list[dict[str, Any]]:
    return [batch(f"{prefix}{at}") for at in range(count)]


class Shelf:
    """Serves its batches to `Wire`; `unlisted` ones can only be retrieved, `deleted` ones are nobody's cursor."""

    def __init__(self, *batches: dict[str, Any], unlisted: tuple[str, ...] = (), date: str = DATE) -> None:
        self.batches = list(batches)
        self.unlisted = unlisted
        self.date = date

    def __call__(self, peer: Peer) -> None:
        call = peer.call()
        if call is None:
            return
        asked = urlsplit(call.path)
        query = dict(parse_qsl(asked.query))
        if query:
            self.page(peer, int(query["limit"]), query.get("after_id"))
        elif (name := asked.path.rpartition("/")[2]) in self.names() or name in self.unlisted:
            peer.reply(200, batch(name))
        else:
            self.missing(peer)

    def names(self) -> list[str]:
        return [held["id"] for held in self.batches]

    def page(self, peer: Peer, limit: int, after: str | None) -> None:
        if after is not None and after not in self.names():
            self.missing(peer)
            return
        begin = self.names().index(after) + 1 if after else 0
        data = self.batches[begin : begin + limit]
        more = begin + limit < len(self.batches)
        told = {"date": self.date} if self.date else {}
        peer.reply(200, {"data": data, "has_more": more, "last_id": data[-1]["id"] if data else None}, **told)

    def missing(self, peer: Peer) -> None:
        peer.reply(404, {"type": "error", "error": {"type": "not_found_error", "message": "no"}})
