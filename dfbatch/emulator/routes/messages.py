"""Direct calls: /v1/messages answers one request at once, /v1/messages/count_tokens estimates its prompt.

Not here: batches. A direct call is judged by the same tables, and what would be an errored line is its 400.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from dfbatch.emulator import answers
from dfbatch.emulator.answers import fitted
from dfbatch.emulator.asks import Asks, Terms
from dfbatch.emulator.clock import day
from dfbatch.emulator.engines.draws import Draw
from dfbatch.emulator.errors import invalid
from dfbatch.emulator.faults import wire
from dfbatch.emulator.replies import Json
from dfbatch.emulator.store import Sums
from dfbatch.emulator.uploads import taken_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from dfbatch.emulator.answers import Answer
    from dfbatch.emulator.asks import Ask
    from dfbatch.emulator.caching import Cached
    from dfbatch.emulator.gate import Call
    from dfbatch.emulator.house import House

MOST_BYTES = 32_000_000  # reference §1.4
_OFF = 0.05  # token counts are an estimate: seen off by up to so much


async def create(request: Request) -> Response:
    """POST /v1/messages."""
    return await _served(request, _answer)


async def count(request: Request) -> Response:
    """POST /v1/messages/count_tokens."""
    return await _served(request, _count)


async def _served(request: Request, serve: Callable[[House, Call, bytes], Response]) -> Response:
    body = bytearray()
    if not await taken_in(request, body.extend, most=MOST_BYTES):
        return wire.too_large()
    return await run_in_threadpool(serve, request.app.state.house, request.state.call, bytes(body))


def _answer(house: House, call: Call, body: bytes) -> Response:
    ask = Asks().read(body, _terms(house, call))
    if ask.setting.params.get("stream"):
        raise invalid("stream: the emulator does not stream")  # differs on purpose
    start = house.clock.now()
    answer = house.faults.spoil(fitted(house.engine.answer(ask), ask), ask, "direct")
    finish = max(start, house.clock.now())
    pool = f"{call.workspace} direct"
    cached = house.cache.bill(ask, pool=pool, start=start, finish=finish, prompt=answer.input_tokens)
    if answer.billed:
        house.billing.direct(_sums(ask, answer, cached, call.workspace), ask.digest)
    seed = ask.digest + call.request_id.encode()
    return Json(answers.message(ask, answer, cached, tier="standard", seed=seed))


def _sums(ask: Ask, answer: Answer, cached: Cached, workspace: str) -> Sums:
    prompt = answer.input_tokens if answer.input_tokens is not None else ask.tokens
    return Sums(
        workspace=workspace,
        mode="standard",
        rate=ask.model.rate(prompt),
        geo=ask.geo,
        requests=1,
        input=prompt - cached.total,
        write_5m=cached.write_5m,
        write_1h=cached.write_1h,
        read=cached.read,
        output=answer.output_tokens or 0,
    )


def _count(house: House, call: Call, body: bytes) -> Response:
    """An estimate: off by a share that follows from the seed and the request."""
    ask = Asks().read(body, replace(_terms(house, call), counted=True))
    share = Draw(b"count %d" % house.seed + ask.digest).share()
    estimate = max(1, round(ask.tokens * (1 + _OFF * (2 * share - 1))))
    if ask.setting.params.get("context_management") is None:
        return Json({"input_tokens": estimate})
    return Json({"input_tokens": estimate, "context_management": {"original_input_tokens": estimate}})


def _terms(house: House, call: Call) -> Terms:
    today = day(house.clock.now())
    return Terms(call.version, batch=False, betas=call.betas, profile=call.profile, today=today)
