"""The six endpoints of Message Batches.

Not here: what a batch does over time (life.py), the bytes of a create call (envelope.py).
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from dfbatch.emulator import envelope, shapes
from dfbatch.emulator.clock import SECOND
from dfbatch.emulator.errors import invalid, not_found
from dfbatch.emulator.faults import stream, wire
from dfbatch.emulator.folder import private_open
from dfbatch.emulator.gate import drain
from dfbatch.emulator.replies import Json
from dfbatch.emulator.routes import seeded
from dfbatch.emulator.uploads import taken_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from dfbatch.emulator.gate import Call
    from dfbatch.emulator.house import House
    from dfbatch.emulator.store import Batch

MOST_BYTES = 256_000_000  # reference §1.4; whether MB or MiB is meant is not stated, so the smaller
_BLOCK = 1 << 18


async def create(request: Request) -> Response:
    """POST /v1/messages/batches: into a file, checked as a stream, accepted when durable."""
    house, call = _at(request)
    await _refuse_encoded(request)
    path = house.folder.incoming / secrets.token_hex(8)
    try:
        with private_open(path) as out:
            fits = await taken_in(request, out.write, most=MOST_BYTES)
        return await run_in_threadpool(_accept, house, call, path, request) if fits else wire.too_large()
    finally:
        path.unlink(missing_ok=True)


def _accept(house: House, call: Call, path: Path, request: Request) -> Response:
    entries = envelope.read(path)
    made = house.life.new(
        len(entries), workspace=call.workspace, version=call.version, betas=list(call.betas), profile=call.profile
    )
    made.stuck = house.faults.strike("birth", "create") is not None
    house.life.accept(path, entries, made)
    return Json(_shape(house, made, request))


async def _refuse_encoded(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":  # which encodings the API takes is [?] §1.8
        await drain(request.receive)
        details = {"error_code": "request_body_encoding_unsupported"}
        raise invalid(f"Content-Encoding: {encoding} is not supported", details=details)


def retrieve(request: Request) -> Response:
    """GET of one batch."""
    house, call = _at(request)
    batch_id = request.path_params["id"]
    if batch_id == house.seed_id:
        return Json(seeded.batch(batch_id, _origin(request)))
    return Json(_shape(house, _found(house, call, batch_id), request))


def listing(request: Request) -> Response:
    """GET of a page of batches."""
    house, call = _at(request)
    query = request.query_params
    before, after = (_anchor(house, query.get(name)) for name in ("before_id", "after_id"))
    if before and after:
        raise invalid("before_id and after_id cannot both be given")  # [?]
    found, more = house.life.page(call.workspace, before=before, after=after, limit=limit_of(query.get("limit")))
    return Json(shapes.page([_shape(house, batch, request) for batch in found], has_more=more))


def _anchor(house: House, batch_id: str | None) -> str | None:
    """The id to page from; with `--seed-id` one that names no batch is passed over, as a mock would."""
    return batch_id if batch_id and (house.seed_id is None or house.life.knows(batch_id)) else None


def cancel(request: Request) -> Response:
    """POST …/cancel."""
    house, call = _at(request)
    batch_id = request.path_params["id"]
    if batch_id == house.seed_id:
        return Json(seeded.batch(batch_id, _origin(request)))
    _found(house, call, batch_id)
    stuck = house.faults.strike("cancel", "cancel") is not None
    return Json(_shape(house, house.life.cancel(batch_id, call.workspace, stuck=stuck), request))


def delete(request: Request) -> Response:
    """DELETE of an ended batch."""
    house, call = _at(request)
    batch_id = request.path_params["id"]
    if batch_id != house.seed_id:
        _found(house, call, batch_id)
        house.life.delete(batch_id, call.workspace)
    return Json({"id": batch_id, "type": "message_batch_deleted"})


def results(request: Request) -> Response:
    """GET of the result lines."""
    house, call = _at(request)
    batch_id = request.path_params["id"]
    if batch_id == house.seed_id:
        return Response(seeded.results(), media_type="application/x-jsonl")
    found = _found(house, call, batch_id)
    if found.ended_at is None:
        raise not_found(f"Message Batch {batch_id} has not ended; results are not available yet.")  # [?] §1.6
    if house.life.archived_at(found) is not None:
        raise not_found(f"Message Batch {batch_id} has been archived; its results are no longer available.")  # [?]
    return _download(request, house, found)


def _download(request: Request, house: House, batch: Batch) -> Response:
    """The file as it lies, in bounded memory; or its lines as the armed faults leave them."""
    faults = house.faults.strikes("stream", "results")
    try:
        file = house.folder.batch(batch.id).results.open("rb")  # now: a batch deleted later is still read to its end
    except FileNotFoundError:
        raise not_found(f"Message Batch with id {batch.id} not found.") from None
    size = os.fstat(file.fileno()).st_size
    reply = _Download(file, stream.changed(file, faults) if faults else _blocks(file))
    cut = stream.cut_at(size, faults)
    if cut is not None:
        transport = house.connections.get(request.scope.get("client"))
        reply.body_iterator = wire.broken_off(cast("AsyncIterator[bytes]", reply.body_iterator), cut, transport)
    if not faults:
        reply.headers["content-length"] = str(size)
    if not any(fault.name == "no_content_type" for fault in faults):
        reply.headers["content-type"] = "application/x-jsonl"
    return reply


class _Download(StreamingResponse):
    """A stream of a file, closed however the call ends: its caller may be gone before the first block."""

    def __init__(self, file: BinaryIO, content: Iterator[bytes]) -> None:
        super().__init__(content)
        self._file = file

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            await super().__call__(scope, receive, send)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def limit_of(text: str | None) -> int:
    """The `limit` of a listing: 1 to 1000, 20 unless said."""
    if text is None:
        return 20
    try:
        limit = int(text)
    except ValueError:
        raise invalid("limit: Input should be a valid integer, unable to parse string as an integer") from None
    if limit < 1:
        raise invalid("limit: Input should be greater than or equal to 1")
    if limit > 1000:
        raise invalid("limit: Input should be less than or equal to 1000")
    return limit


def _found(house: House, call: Call, batch_id: str) -> Batch:
    """The batch, unless a fault takes it away, or hides it for a while: just after creation, just after it ended."""
    batch = house.life.get(batch_id, call.workspace)
    if house.faults.strike("loss", call.route) is not None:
        house.life.vanish(batch_id)
        batch = house.life.get(batch_id, call.workspace)
    for where, moment in (("young", batch.created_at), ("ended", batch.ended_at)):
        if moment is not None and house.faults.hides(where, call.route, house.clock.now() - moment, SECOND):
            raise not_found(f"Message Batch with id {batch_id} not found.")
    return batch


def _shape(house: House, batch: Batch, request: Request) -> dict[str, Any]:
    shape = shapes.batch(batch, archived_at=house.life.archived_at(batch), origin=_origin(request))
    fault = house.faults.strike("shape", request.state.call.route) if shape["results_url"] else None
    if fault is not None:
        shape["results_url"] = shapes.batch(batch, archived_at=None, origin=str(fault.options["to"]))["results_url"]
    return shape


def _origin(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _at(request: Request) -> tuple[House, Call]:
    return request.app.state.house, request.state.call
