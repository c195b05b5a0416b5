"""The last few requests by hand, through `/v1/messages`: at once, one by one, at the full price.

Each answer is kept as it comes, as a line like a batch's results; what is asked is noted before. What was in flight
when the process died cannot be found again: those requests are `missing`, and may have been billed; they are never
asked again by themselves. What was not asked yet is `expired`: it goes in a batch.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

import msgspec

from dfbatch.errors import Ambiguous, ApiError, DfbatchError, RateLimited
from dfbatch.ledger.files import lines, sync_folder, translated
from dfbatch.requests import custom_ids, unmarked
from dfbatch.run.ending import first_line
from dfbatch.run.recovery import asked_in
from dfbatch.run.spools import check_unsent, shared_of

if TYPE_CHECKING:
    from pathlib import Path

    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

MOST: Final = 200  # requests by hand; more go in a batch, at half the price
DIRECT: Final = ("now", "preflight")  # kinds of chunks that go through `/v1/messages`
AT_ONCE: Final = 4
TRIES: Final = 3  # of a request that was certainly not answered
PAUSE: Final = 5.0  # seconds between them, where the server does not tell


async def answer_now(work: Work, chunk: ChunkRecord) -> None:
    """Ask each request of a chunk; what came is in its results file afterwards, and the chunk has ended."""
    check_unsent(work.ledger, chunk, work.record)
    if not work.ledger.happen(chunk.id, "send", intended=work.clock.now() + work.offset):
        return
    work.posting.add(chunk.id)
    path = results_file(work, chunk)
    shared = shared_of(work.record, chunk.head, at_once=True)
    ids = custom_ids(chunk.nonce, asked_in(work.ledger, chunk)).tolist()
    gate = asyncio.Semaphore(AT_ONCE)
    try:
        asked = [
            _one(work, gate, (path, asked_file(work, chunk)), name.decode(), shared.head + unmarked(part) + shared.tail)
            for name, part in zip(ids, work.ledger.read_lines(work.ledger.chunk_file(chunk.id, "spool")), strict=True)
        ]
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
    finally:
        work.posting.discard(chunk.id)
        keep(work, chunk)
        work.wake()


def results_file(work: Work, chunk: ChunkRecord) -> Path:
    """Where answers are kept while others are under way."""
    return work.ledger.chunk_file(chunk.id, "now")


def asked_file(work: Work, chunk: ChunkRecord) -> Path:
    """Where is noted what is asked, before it is."""
    return work.ledger.chunk_file(chunk.id, "asked")


def _let_go(work: Work, chunk: ChunkRecord) -> None:
    """What a process that died had not asked yet may be asked by others."""
    path, asked = results_file(work, chunk), asked_file(work, chunk)
    ids = custom_ids(chunk.nonce, asked_in(work.ledger, chunk)).tolist()
    known = {*lines(asked)} if asked.exists() else set()
    told = path.read_bytes() if path.exists() else b""
    for name in ids:
        if name not in known and b'"%b"' % name not in told:
            write(path, name.decode(), b'{"type":"expired"}')


def keep(work: Work, chunk: ChunkRecord) -> None:
    """What came is the chunk's results, now whole under their name."""
    path, whole = results_file(work, chunk), work.ledger.chunk_file(chunk.id, "jsonl")
    if not whole.exists():  # else a kill fell between the steps
        _let_go(work, chunk)
        if path.exists():
            path.replace(whole)
        else:
            whole.touch(mode=0o600)
    work.ledger.accept(whole)
    sync_folder(path.parent)
    asked_file(work, chunk).unlink(missing_ok=True)
    work.ledger.happen(chunk.id, "answered")


async def _one(work: Work, gate: asyncio.Semaphore, files: tuple[Path, Path], name: str, params: bytes) -> None:
    path, asked = files
    async with gate:
        for attempt in range(1, TRIES + 1):
            if not work.may_send:
                write(path, name, b'{"type":"canceled"}')
                return
            _append(asked, name.encode() + b"\n")
            try:
                message = await work.backend.ask(params, work.record.spec.betas)
            except Ambiguous:
                return  # it may be billed: `missing`, said so, never asked again by itself
            except DfbatchError as error:
                if attempt < TRIES and _passes(error):
                    await work.rest(getattr(error, "retry_after", None) or PAUSE)
                    continue
                write(path, name, _errored(error))
                return
            write(path, name, b'{"type":"succeeded","message":' + message + b"}")
            return


def _passes(error: DfbatchError) -> bool:
    """Whether another try may help: too many calls, a server in trouble, no network."""
    status = getattr(error, "status", None)
    return isinstance(error, RateLimited) or status is None or status >= 500


def _errored(error: DfbatchError) -> bytes:
    kind = (error.type if isinstance(error, ApiError) else "") or "api_error"
    told = {"type": kind, "message": first_line(error)}
    return msgspec.json.encode({"type": "errored", "error": {"type": "error", "error": told}})


def write(path: Path, name: str, result: bytes) -> None:
    """One line, on disk before the next is asked for."""
    _append(path, b'{"custom_id":"%b","result":%b}\n' % (name.encode(), result.replace(b"\n", b" ")))


def _append(path: Path, line: bytes) -> None:
    with translated(path), os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
