"""Two servers behind one set of verbs: what is proved against the emulator is proved against the plain one too."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import httpx

from dfbatch.emulator import Server
from dfbatch.emulator.schedule import Law

from .lossy import LossyServer, Mishap

KEY = "sk-ant-secret-of-this-test"
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}


class Site(Protocol):
    """A server of the API that tests can disturb."""

    @property
    def url(self) -> str:
        """Where it is."""

    def advance(self, seconds: float) -> Any:
        """Move its clock."""

    def lose(self, how: str | int, *, accepted: bool) -> None:
        """The next reply to a create is lost by `reset` or `close`, or is this status; 529 is the API's own."""

    def last(self, seconds: float) -> None:
        """Batches made from now on run so long."""

    def hide(self) -> None:
        """Batches are in no listing from now on."""

    def reveal(self) -> None:
        """They are again."""

    def cut(self, *, down: bool) -> None:
        """Every call is reset, until it is not any more."""

    def halt(self, batch_id: str) -> None:
        """Somebody cancels it."""

    def remove(self, batch_id: str) -> None:
        """Somebody deletes it."""

    def made(self) -> list[str]:
        """The batches, oldest first."""

    def bills(self) -> list[int]:
        """How often each request was paid for."""

    def calls(self, route: str) -> int:
        """How often a route was called: create, list, retrieve, results, cancel, messages, models."""


def ask_as_stranger(site: Site, texts: str) -> str:
    """Somebody else's batch, a request a letter; its id."""
    params = {"model": "claude-haiku-4-5", "max_tokens": 64}
    requests = [
        {
            "custom_id": f"theirs-{at}",
            "params": params | {"messages": [{"role": "user", "content": f"not ours: {text}"}]},
        }
        for at, text in enumerate(texts)
    ]
    reply = httpx.post(f"{site.url}/v1/messages/batches", json={"requests": requests}, headers=HEADERS)
    name: str = reply.json()["id"]
    return name


class Plain(LossyServer):
    """The plain server."""

    def lose(self, how: str | int, *, accepted: bool) -> None:
        self.mishaps.append(Mishap(how, accepted))

    def last(self, seconds: float) -> None:
        self.lasts = seconds

    def hide(self) -> None:
        self.hidden = True

    def reveal(self) -> None:
        self.hidden = False

    def cut(self, *, down: bool) -> None:
        self.down = down

    def halt(self, batch_id: str) -> None:
        self.cancel(batch_id)

    def remove(self, batch_id: str) -> None:
        del self.batches[batch_id]

    def made(self) -> list[str]:
        return [*self.batches]

    def bills(self) -> list[int]:
        return sorted((self.billed + self.direct).values())

    def calls(self, route: str) -> int:
        return self.called[route]


class Emulated(Server):
    """The emulator."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._page: Any = None

    def lose(self, how: str | int, *, accepted: bool) -> None:
        if how == 529 and accepted:
            self.house.faults.arm(["lost_reply@create:how=529,times=1"])
        elif isinstance(how, int):
            self.house.faults.arm([f"{how}{'_bare' * (how == 429)}@create:times=1"])
        else:
            self.house.faults.arm([f"lost_reply@create:how={how},times=1" if accepted else "reset@create:times=1"])

    def last(self, seconds: float) -> None:
        life = self.house.life
        life._pace = dataclasses.replace(life._pace, law=Law.parse(f"fixed:{seconds}"))

    def hide(self) -> None:
        """No fault empties listings."""
        self._page = self.house.life.page
        self.house.life.page = lambda *_, **__: ([], False)  # type: ignore[method-assign]

    def reveal(self) -> None:
        self.house.life.page, self._page = self._page, None  # type: ignore[method-assign]

    def cut(self, *, down: bool) -> None:
        self.house.faults.arm(["reset@*"] * down, replace=True)

    def halt(self, batch_id: str) -> None:
        httpx.post(f"{self.url}/v1/messages/batches/{batch_id}/cancel", headers=HEADERS).raise_for_status()

    def remove(self, batch_id: str) -> None:
        self.house.life.vanish(batch_id)

    def made(self) -> list[str]:
        page = self._page or self.house.life.page
        found, _ = page(self._workspace(), before=None, after=None, limit=1000)
        return [batch.id for batch in reversed(found)]

    def _workspace(self) -> str:
        return self.house.keys.workspace(httpx.Headers(HEADERS))  # type: ignore[arg-type]  # as good as starlette's

    def bills(self) -> list[int]:
        return sorted(self.usage()["billed_by_digest"].values())

    def calls(self, route: str) -> int:
        return int(self.usage()["calls"].get(ROUTES[route], 0))


ROUTES = {
    "create": "POST /v1/messages/batches",
    "list": "GET /v1/messages/batches",
    "retrieve": "GET /v1/messages/batches/{id}",
    "results": "GET /v1/messages/batches/{id}/results",
    "cancel": "POST /v1/messages/batches/{id}/cancel",
    "messages": "POST /v1/messages",
    "models": "GET /v1/models/{id}",
}
