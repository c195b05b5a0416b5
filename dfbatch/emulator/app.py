"""The ASGI application: which route leads where, and how an error leaves.

Not here: what every call passes before (gate.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from dfbatch.emulator.errors import ApiError
from dfbatch.emulator.gate import Gate
from dfbatch.emulator.replies import failure
from dfbatch.emulator.routes import TABLE, batches, catalogue, control, messages

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from dfbatch.emulator.house import House

_ENDPOINTS = {
    "create": batches.create,
    "list": batches.listing,
    "retrieve": batches.retrieve,
    "delete": batches.delete,
    "cancel": batches.cancel,
    "results": batches.results,
    "messages": messages.create,
    "count_tokens": messages.count,
    "models": catalogue.listing,
    "model": catalogue.one,
}
_CONTROL = (
    Route("/_emulator/health", control.health),
    Route("/_emulator/usage", control.usage),
    Route("/_emulator/clock", control.clock, methods=["GET", "POST"]),
    Route("/_emulator/faults", control.faults, methods=["GET", "POST", "DELETE"]),
    Route("/_emulator/reset", control.reset, methods=["POST"]),
)


def build(house: House) -> ASGIApp:
    """The application of one emulator."""
    app = Starlette(
        routes=[*(Route(path, _ENDPOINTS[name], methods=[method]) for name, method, path in TABLE), *_CONTROL],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _crash,
        },
    )
    app.router.redirect_slashes = False
    app.state.house = house
    return Gate(app, house)


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return failure(error, request.state.call.request_id)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = {404: "Not Found", 405: "Method Not Allowed"}.get(error.status_code, str(error.detail))
    return failure(ApiError(text, status=error.status_code), request.state.call.request_id)


async def _gone(_request: Request, _error: Exception) -> Response:
    """The caller went in the middle of its upload; nobody reads this."""
    return Response(status_code=400)


async def _crash(request: Request, error: Exception) -> Response:
    del error  # logged by the server
    return failure(ApiError("Internal server error", status=500), request.state.call.request_id)
