"""The listening socket and its uvicorn server: bind, serve, refuse for a while, stop.

Connections are known by their peer's address, so that faults can cut them. Not here: what is answered (app.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from dfbatch.emulator.house import House

_GRACE = 2.0  # seconds that calls under way are given at the end
_STEP = 0.005


class UnsafeBind(ValueError):
    """An address that others could reach, without `--unsafe-bind`."""


def bind(host: str, port: int, *, unsafe: bool) -> socket.socket:
    """A listening socket. Only loopback addresses, unless told otherwise: anyone who reaches it may use it."""
    family, _kind, _protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if not unsafe and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise UnsafeBind(
            f"{host} is not a loopback address: everyone who can reach it could use the emulator, without any real "
            "key. Hint: 127.0.0.1, or --unsafe-bind if that is what you want"
        )
    return _bound(family, address, listening=True)


def _bound(family: int, address: Any, *, listening: bool) -> socket.socket:
    """Whoever knocks is refused until it listens."""
    # asyncio sets TCP_NODELAY only where the protocol is named
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        if listening:
            sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock


class Listener:
    """Serves one app on one socket, until `stop`, in whatever thread `run` is called."""

    def __init__(self, app: ASGIApp, house: House, sock: socket.socket, *, ready: Callable[[], None]) -> None:
        self._sock = sock
        self._ready = ready
        self._address = sock.getsockname()
        protocol = functools.partial(_Protocol, house)
        self._config = uvicorn.Config(
            _quiet_at_the_end(app),
            http=protocol,  # type: ignore[arg-type]  # uvicorn calls it like the class
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
        )
        self._server = _Server(self._config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._again: asyncio.Task[None] | None = None
        house.refuse = self._refuse

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._address[1])

    def run(self) -> None:
        """Serve until `stop`; blocks the thread."""
        try:
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        finally:
            self._sock.close()

    def stop(self) -> None:
        """From any thread."""
        self._server.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._server.end.set)

    async def _serve(self) -> None:
        self._server.end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._server.ready = self._ready
        await self._server.serve(sockets=[self._sock])

    def _refuse(self, seconds: float) -> None:
        """Stop listening, and listen again on the same port, kept meanwhile, after so many seconds."""
        assert self._loop is not None
        if self._again is not None and not self._again.done():  # a connection that was open still brought a call
            return
        for server in self._server.servers:
            server.close()
        family = self._sock.family
        self._sock.close()
        self._sock = _bound(family, self._address, listening=False)
        self._again = self._loop.create_task(self._listen_again(seconds))

    async def _listen_again(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._server.servers.append(await self._server.listen(self._sock))


def _quiet_at_the_end(app: ASGIApp) -> ASGIApp:
    """Calls are cancelled by `shutdown` alone, and there is nothing to report about it."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return served


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers and ticks, telling when it is ready."""

    ready: Callable[[], None] = staticmethod(lambda: None)
    end: asyncio.Event

    async def main_loop(self) -> None:
        await self.end.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it, in steps of 5 ms for its 100: tests start and stop many."""
        for server in self.servers:
            server.close()
        for sock in sockets or []:
            sock.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        end = loop.time() + _GRACE
        while (state.connections or state.tasks) and loop.time() < end:  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(_STEP)
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(_STEP)
        for task in list(state.tasks):
            task.cancel()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    async def listen(self, sock: socket.socket) -> asyncio.Server:
        protocol: Any = self.config.http_protocol_class
        make = functools.partial(
            protocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return await asyncio.get_running_loop().create_server(make, sock=sock)


class _Protocol(H11Protocol):
    """uvicorn's HTTP protocol, entered in the house's list of connections while it lives."""

    def __init__(self, house: House, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._house = house

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._house.connections[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._house.connections.pop(self.client, None)
        super().connection_lost(exc)
