"""/_emulator/: health, usage, the clock, faults, reset. No key is needed; the real API has none of this.

Not here: the API's own routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.concurrency import run_in_threadpool

from dfbatch.emulator.clock import SECOND, rfc3339
from dfbatch.emulator.errors import invalid
from dfbatch.emulator.replies import Json
from dfbatch.emulator.uploads import taken_in

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from dfbatch.emulator.house import House

_MOST = 1 << 20
_SETTLE_SECONDS = 60.0


def health(request: Request) -> Response:
    """Who answers, and as what."""
    return Json(_house(request).health())


def usage(request: Request) -> Response:
    """What was billed and called; `?digests=0` leaves the digests out."""
    house = _house(request)
    digests = request.query_params.get("digests", "1") not in {"0", "false", "no"}
    return Json(house.usage(digests=digests))


async def clock(request: Request) -> Response:
    """Move the clock forward. What was accepted before is answered first, if the engine is an instant one."""
    house = _house(request)
    if request.method == "GET":
        return Json(_time(house))
    body = await _object(request)
    seconds = body.get("advance_seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 1e10:
        raise invalid("advance_seconds: Input should be a number between 0 and 1e10")
    await run_in_threadpool(house.advance, float(seconds), _SETTLE_SECONDS)
    return Json(_time(house))


async def faults(request: Request) -> Response:
    """GET tells which are armed; POST {"faults": [...]} replaces them, {"add": [...]} adds; DELETE disarms all."""
    house = _house(request)
    if request.method == "DELETE":
        house.faults.arm([], replace=True)
    elif request.method == "POST":
        body = await _object(request)
        new = body.get("faults", body.get("add"))
        if not isinstance(new, list) or not all(isinstance(fault, str) for fault in new):
            raise invalid('faults: Input should be a list of texts such as "429@create:times=2"')
        try:
            house.faults.arm(new, replace="faults" in body)
        except ValueError as error:
            raise invalid(f"faults: {error}") from error
    return Json({"faults": house.faults.told()})


async def reset(request: Request) -> Response:
    """Forget batches, usage, calls, faults, cached prefixes and rate limits; the clock stays."""
    house = _house(request)
    await run_in_threadpool(house.reset)
    return Json({"reset": True})


def _time(house: House) -> dict[str, Any]:
    return {"now": rfc3339(house.clock.now()), "advanced_seconds": house.clock.offset / SECOND}


async def _object(request: Request) -> dict[str, Any]:
    body = bytearray()
    if not await taken_in(request, body.extend, most=_MOST):
        raise invalid("The request body is too large")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"The request body is not valid JSON: {error}") from error


def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house
