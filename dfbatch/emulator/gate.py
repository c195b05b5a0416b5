"""What every call passes: request id, headers, key, API version, rate limit, and the faults of the wire.

Not here: what the routes answer (routes/).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from dfbatch.emulator import ids
from dfbatch.emulator.clock import http_date
from dfbatch.emulator.errors import ApiError
from dfbatch.emulator.faults import BATCH_ROUTES, wire
from dfbatch.emulator.replies import failure
from dfbatch.emulator.routes import match

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from dfbatch.emulator.faults import Fault
    from dfbatch.emulator.house import House

VERSIONS = ("2023-06-01", "2026-10-21")
_MOST_DRAINED = 1 << 30


@dataclass(slots=True)
class Call:
    """What is known of a call before its route sees it; found in `request.state.call`."""

    request_id: str
    route: str
    workspace: str = ""
    version: str = VERSIONS[0]
    betas: tuple[str, ...] = ()
    profile: str | None = None
    limits: dict[str, str] = field(default_factory=dict)


class Gate:
    """The outermost ASGI layer."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the call in, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route, template = match(scope["method"], scope["path"])
        call = Call(ids.request_id(), route)
        scope.setdefault("state", {})["call"] = call
        headed = self._headed(send, call)
        if route == "control":
            await self._app(scope, receive, headed)
            return
        self._house.meter.count(template)
        fault = self._house.faults.strike("wire", route)
        if fault is not None:
            await self._strike(fault, scope, receive, send, headed)
            return
        await self._enter(scope, receive, headed)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope["state"]["call"]
        try:
            self._admit(call, Headers(scope=scope))
        except ApiError as error:
            await drain(receive)
            await failure(error, call.request_id)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, call: Call, headers: Headers) -> None:
        call.workspace = self._house.keys.workspace(headers)
        version = headers.get("anthropic-version")
        if version is None:
            raise ApiError("anthropic-version: header is required")
        if version not in VERSIONS:
            raise ApiError(f'anthropic-version: "{version}" is not a valid version')
        call.version = version
        call.betas = tuple(word.strip() for word in headers.get("anthropic-beta", "").split(",") if word.strip())
        call.profile = headers.get("anthropic-user-profile-id")
        kind = "batches" if call.route in BATCH_ROUTES else "counts" if call.route == "count_tokens" else ""
        call.limits = self._house.limits.take(self._house.organization, kind)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, bare: Send, headed: Send) -> None:
        transport = self._house.connections.get(scope.get("client"))
        if fault.name == "lost_reply" and fault.options["how"] == "529":
            await self._enter(scope, receive, wire.unheard)
            await failure(wire.overloaded(), scope["state"]["call"].request_id)(scope, receive, headed)
        elif fault.name == "lost_reply":
            await self._enter(scope, receive, wire.losing(transport, how=str(fault.options["how"])))
        elif fault.name == "slow":
            await self._enter(scope, receive, wire.slowed(headed, float(fault.options["seconds"])))
        elif fault.name == "reset":
            await wire.cut(transport)
        elif fault.name == "refuse":
            self._house.refuse(float(fault.options["seconds"]))
            await wire.cut(transport)
        else:
            answer = wire.reply(fault)
            await drain(receive)
            if isinstance(answer, ApiError):
                await failure(answer, scope["state"]["call"].request_id)(scope, receive, headed)
            elif answer is not None:  # from something in between that knows no request ids
                await answer(scope, receive, bare)

    def _headed(self, send: Send, call: Call) -> Send:
        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["request-id"] = call.request_id
                headers["anthropic-organization-id"] = self._house.organization
                headers["x-emulator-engine"] = self._house.engine.name.encode("ascii", "backslashreplace").decode()
                headers["date"] = http_date(self._house.clock.now())
                if call.workspace:
                    headers["anthropic-workspace-id"] = call.workspace
                for name, value in call.limits.items():
                    headers[name] = value
            await send(message)

        return headed


async def drain(receive: Receive) -> None:
    """Take in what the caller is still sending, so that it gets to read the answer."""
    taken = 0
    with contextlib.suppress(RuntimeError):
        while taken < _MOST_DRAINED:
            message = await receive()
            taken += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return
