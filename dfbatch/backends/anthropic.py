"""The Message Batches API over HTTP, first hand. Translating faults is in `faults.py`; waiting is in `run/`."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

import msgspec

from dfbatch.backends import Accepted, Batch, Listing
from dfbatch.backends.access import API, Secret, address, credential, sendable
from dfbatch.backends.counting import count_in, counted, info_in, place_of, silent
from dfbatch.backends.faults import certain, check, translated
from dfbatch.backends.pages import Page, Search, all_since
from dfbatch.backends.reading import ACCEPTED, UNREADABLE, blocks, peek, server_time, shaped, whole
from dfbatch.errors import Ambiguous, NoBackend, NotFound, NotTheApi, OptionError, Unreachable
from dfbatch.version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import httpx

    from dfbatch.backends.access import Auth
    from dfbatch.requests import Body

VERSION = "2023-06-01"
VERSIONS = ("2023-06-01", "2026-10-21")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ROUTE = "/v1/messages/batches"
_MESSAGES = "/v1/messages"
_COUNT = "/v1/messages/count_tokens"
_CREATE_TIMEOUT = 600.0  # seconds to wait for the reply to a create: giving up early makes it ambiguous


class _Health(msgspec.Struct):
    engine: str
    model_digest: str | None = None
    seed: int = 0


_health = msgspec.json.Decoder(
    _Health
).decode  # made here: msgspec may crash where two threads are first to read a type


class _Message(msgspec.Struct):
    """As much as shows that it is one; what it says is read elsewhere."""

    content: list[msgspec.Raw]


class Anthropic:
    """The Anthropic API, or anything that speaks it at `base_url`.

    Key, token and address are read like the official SDK reads them, when they are not given: `ANTHROPIC_API_KEY`,
    `ANTHROPIC_AUTH_TOKEN`, `ANTHROPIC_BASE_URL`. The key stays in this object: it is in no repr, file or message.

    >>> Anthropic(api_key="k", base_url="http://127.0.0.1:8000")
    Anthropic(base_url='http://127.0.0.1:8000')
    """

    kind = "anthropic"
    _guard: ClassVar = threading.RLock()  # of what is found out on first use, by whichever thread; copies have none

    def __init__(
        self,
        *,
        api_key: str | None = None,
        auth_token: str | None = None,
        base_url: str | None = None,
        auth: Auth = "x-api-key",
        version: str = VERSION,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if auth not in ("x-api-key", "bearer"):
            raise OptionError(f"auth={auth!r}", hint='auth="x-api-key" or auth="bearer"')
        if version not in VERSIONS:
            raise OptionError(f"version={version!r}", hint="one of " + ", ".join(VERSIONS))
        key = api_key or ("" if auth_token else os.environ.get("ANTHROPIC_API_KEY", ""))
        token = auth_token or ("" if key else os.environ.get("ANTHROPIC_AUTH_TOKEN", ""))
        self.base_url = address(base_url or os.environ.get("ANTHROPIC_BASE_URL") or API)
        self.version = version
        self._auth: Auth = auth
        self._secret = Secret({**sendable(headers or {}), **credential(key, token, auth)})
        self._client: httpx.AsyncClient | None = None
        self._search = Search()
        self._emulated = ""
        self._identified: str | None = None
        self._context: ssl.SSLContext | None = None
        self._trust_env = True  # proxies and CA files as httpx reads them
        self.organization = self.workspace = ""

    def __repr__(self) -> str:
        """The address, never the key."""
        return f"{type(self).__name__}(base_url={self.base_url!r})"

    @property
    def who(self) -> str:
        """Backend, origin and API version, and which engine where an emulator answers: what makes an answer ours."""
        return f"anthropic {self.base_url} {self.version} {self._identity()}".rstrip()

    def _identity(self) -> str:
        """What an emulator at this address says of itself; only this machine is asked, and only once."""
        with self._guard:
            if self._identified is None:
                here = urlsplit(self.base_url).hostname in LOOPBACK
                self._identified = self._ask_emulator() if here else ""
            return self._identified

    def _ask_emulator(self) -> str:
        import httpx

        with contextlib.suppress(httpx.HTTPError, *UNREADABLE):
            told = peek(f"{self.base_url}/_emulator/health", timeout=2.0, verify=self._tls())
            health = _health(told)
            self._emulated = health.engine
            return f"{health.engine} {health.model_digest} {health.seed}"
        return ""

    @property
    def answered_by(self) -> str:
        """Set when an emulator is found to answer at this address."""
        return f"{self._emulated}, not Claude" if self._emulated else ""

    @property
    def spends(self) -> bool:
        """An emulator bills nobody."""
        return not self._emulated

    @property
    def recipe(self) -> dict[str, object]:
        """Address, version and style of authentication; the key comes from the environment again."""
        return {"kind": self.kind, "base_url": self.base_url, "version": self.version, "auth": self._auth}

    def ready(self, home: Path) -> None:  # noqa: ARG002 - this route keeps no files
        """A key must be at hand."""
        if not self._secret.proves:
            raise NoBackend(
                "no API key: neither ANTHROPIC_API_KEY nor ANTHROPIC_AUTH_TOKEN is set, and no backend was named",
                "nothing was sent",
                hint='set ANTHROPIC_API_KEY to ask Claude, or pass backend="local" for a small model on this machine',
            )

    async def probe(self) -> float | None:
        """One list call proves route, key and shape, and tells the server's time."""
        return (await self._page(1, ""))[1]

    async def submit(self, body: Body, betas: Sequence[str]) -> Accepted:
        """Post the body from its spool, on a connection of its own; never repeated by the transport."""
        try:
            response = await self._post(_ROUTE, body, body.length, betas, _CREATE_TIMEOUT)
            check(response, creating=True)
            batch = shaped(response, Batch)
        except NotTheApi as error:
            if certain(error.status):
                raise
            raise Ambiguous(
                str(error).partition("\n")[0],
                "something accepted the chunk, and it may have been the API",
                hint="it is not sent again by itself: that could be paid twice",
                status=error.status,
                request_id=error.request_id,
            ) from error
        self._note(response)
        return Accepted(
            batch=batch,
            base_url=self.base_url,
            organization=self.organization,
            workspace=self.workspace,
            request_id=response.headers.get("request-id", ""),
        )

    async def ask(self, params: bytes, betas: Sequence[str], *, timeout: float = 600.0) -> bytes:  # noqa: ASYNC109 - the transport's: seconds without a byte
        """Post one request to `/v1/messages`, on a connection of its own; never repeated by the transport."""
        response = await self._post(_MESSAGES, (params,), len(params), betas, timeout)
        check(response, asking=True)
        self._note(response)
        shaped(response, _Message)
        return response.content

    async def count(self, params: bytes, betas: Sequence[str]) -> int | None:
        """Keys that a count does not take are left out."""
        model, body = counted(params)
        response = await self._advice("POST", _COUNT, model, body, betas)
        return None if response is None else count_in(response)

    async def describe(self, model: str) -> dict[str, Any] | None:
        """By id or alias; a name that cannot be part of a path is not asked for."""
        place = place_of(model)
        response = await self._advice("GET", place, model) if place else None
        return None if response is None else info_in(response)

    async def poll(self, ids: Collection[str]) -> dict[str, Batch | None]:
        """One batch is retrieved; several are found in the list, newest first; stragglers are retrieved."""
        found: dict[str, Batch | None] = {}
        if len(ids) > 1:
            found |= await self._search.find(ids, self._page)
        for batch_id in ids:
            if batch_id not in found:
                found[batch_id] = await self._retrieve(batch_id)
        return found

    async def find(self, since: float) -> Listing:
        """The list is read page by page, back to the moment."""
        return await all_since(since, self._page)

    async def _page(self, limit: int, after: str) -> tuple[Page, float | None]:
        try:
            response = await self._call(
                "GET", f"{_ROUTE}?limit={limit}" + (f"&after_id={_quoted(after)}" * bool(after))
            )
        except NotFound as error:
            if after:
                raise
            raise NotTheApi(
                f"{self.base_url} has no route {_ROUTE}",
                str(error).partition("\n")[0],
                hint="check ANTHROPIC_BASE_URL; some proxies lack the batch route",
                status=error.status,
                request_id=error.request_id,
            ) from error
        return shaped(response, Page), server_time(response)

    async def _retrieve(self, batch_id: str) -> Batch | None:
        try:
            return shaped(await self._call("GET", _path(batch_id)), Batch)
        except NotFound:
            return None

    async def results(self, batch_id: str) -> AsyncIterator[bytes]:
        """The results from our own base URL: `results_url` may point anywhere, and the key would go along."""
        with translated(self.base_url):
            async with self._shared_client().stream("GET", f"{_path(batch_id)}/results") as response:
                if not response.is_success:
                    check(await whole(response))
                async for block in blocks(response):
                    yield block

    async def cancel(self, batch_id: str) -> Batch:
        """Repeating it changes nothing."""
        return shaped(await self._call("POST", f"{_path(batch_id)}/cancel"), Batch)

    async def delete(self, batch_id: str) -> None:
        """Remove an ended batch; one that is gone already is fine."""
        try:
            await self._call("DELETE", _path(batch_id))
        except NotFound:
            return

    async def close(self) -> None:
        """Close the connections of this loop; whoever asks meanwhile gets new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _call(self, method: str, path: str) -> httpx.Response:
        with translated(self.base_url):
            async with self._shared_client().stream(method, path) as reply:
                response = await whole(reply)
        check(response)
        self._note(response)
        return response

    async def _advice(
        self, method: str, path: str, model: str, body: bytes | None = None, betas: Sequence[str] = ()
    ) -> httpx.Response | None:
        """A reply that is good to have; None where the server has no such route, or is not the API."""
        headers = {"content-type": "application/json"} if body is not None else {}
        with translated(self.base_url):
            async with self._shared_client().stream(
                method, path, content=body, headers=headers | _asking_for(betas)
            ) as reply:
                try:
                    response = await whole(reply)
                    if silent(response, model):
                        return None
                    check(response, asking=True)
                except NotTheApi:
                    return None
        self._note(response)
        return response

    async def _post(
        self,
        route: str,
        body: Iterable[bytes],
        length: int,
        betas: Sequence[str],
        patience: float,
    ) -> httpx.Response:
        """What costs money has a connection of its own: an old one may be closing as it goes out, and that is doubt."""
        source = _Handed(body)
        headers = {"content-type": "application/json", "content-length": str(length), **_asking_for(betas)}
        with translated(self.base_url, all_sent=lambda: source.done):
            async with (
                self._new_client(timeout=patience) as client,
                client.stream("POST", route, content=source.blocks(), headers=headers) as reply,
            ):
                return await whole(reply)

    def _note(self, response: httpx.Response) -> None:
        self.organization = response.headers.get("anthropic-organization-id", self.organization)
        self.workspace = response.headers.get("anthropic-workspace-id", self.workspace)
        self._emulated = response.headers.get("x-emulator-engine", self._emulated)

    def _shared_client(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = self._new_client(timeout=60.0)
        return self._client

    def _new_client(self, *, timeout: float) -> httpx.AsyncClient:
        import httpx

        headers = {
            **self._secret.headers,
            "anthropic-version": self.version,
            "user-agent": f"dfbatch/{__version__}",
            "accept-encoding": ACCEPTED,
        }
        return httpx.AsyncClient(
            base_url=self.base_url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=10.0),
            follow_redirects=False,
            trust_env=self._trust_env,
            verify=self._tls(),
        )

    def _tls(self) -> ssl.SSLContext | bool:
        """Certificates are loaded once, and not at all for plain HTTP on this machine."""
        if not self.base_url.startswith("https:"):
            return False
        with self._guard:
            if self._context is None:
                import httpx

                try:
                    self._context = httpx.create_ssl_context(trust_env=self._trust_env)
                except OSError as error:
                    raise Unreachable(
                        f"cannot use the certificates of this machine: {error}",
                        "nothing was sent",
                        hint="check SSL_CERT_FILE and SSL_CERT_DIR",
                    ) from error
            return self._context


class _Handed:
    """A body that knows whether its last byte was handed over."""

    def __init__(self, body: Iterable[bytes]) -> None:
        self._body = body
        self.done = False

    async def blocks(self) -> AsyncIterator[bytes]:
        held: bytes | None = None
        for block in self._body:
            if held is not None:
                yield held
            held = block
        self.done = True  # said before the last block leaves: in doubt, in doubt
        if held is not None:
            yield held


def _asking_for(betas: Sequence[str]) -> dict[str, str]:
    return {"anthropic-beta": ",".join(betas)} if betas else {}


def _path(batch_id: str) -> str:
    return f"{_ROUTE}/{_quoted(batch_id)}"


def _quoted(batch_id: str) -> str:
    return quote(batch_id, safe="")
