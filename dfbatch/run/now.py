"""Requests through `/v1/messages`, at once and at the full price: a pilot, and the last few by hand.

Each answer is kept as it comes, as a line like a batch's results; what is asked is noted before. What was in flight
when the process died cannot be found again, and may have been billed: of a pilot it is asked again, in a batch; by hand
it is `missing`, and never asked again by itself. What was not asked yet is `expired`: it goes in a batch.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from dfbatch.backends.faults import SPEND_LIMITS
from dfbatch.errors import Ambiguous, ApiError, DfbatchError, NotTheApi, RateLimited
from dfbatch.ledger.files import lines, sync_folder, translated
from dfbatch.requests import custom_ids, unmarked
from dfbatch.run.ending import first_line
from dfbatch.run.recovery import asked_in
from dfbatch.run.spools import check_unsent, shared_of
from dfbatch.run.unheard import REFUSED, as_noted, lost, not_heard

if TYPE_CHECKING:
    from pathlib import Path

    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.loop import Work

MOST: Final = 200  # requests by hand; more go in a batch, at half the price
PILOT_NOW: Final = "pilot now"  # a pilot that goes this way
DIRECT: Final = ("now", PILOT_NOW, "preflight")  # kinds of chunks that go through `/v1/messages`
AT_ONCE: Final = 4
AT_ONCE_PILOT: Final = 8
LONGEST: Final = 600.0  # seconds for which limits are waited for, by all of a chunk
UNHEARD: Final = "it was asked at once and no answer came: it may be billed, and is asked again"
TRIES: Final = 3  # of a request that was certainly not answered
PAUSE: Final = 5.0  # seconds between them, where the server does not tell


async def answer_now(work: Work, chunk: ChunkRecord) -> None:
    """Ask each request of a chunk; what came is in its results file afterwards, and the chunk has ended.

    Raises what would come for every request: a key that is not taken, a limit of what may be spent.
    """
    check_unsent(work.ledger, chunk, work.record)
    if not work.ledger.happen(chunk.id, "send", intended=work.clock.now() + work.offset):
        return
    work.posting.add(chunk.id)
    shared = shared_of(work.record, chunk.head, at_once=True)
    ids = custom_ids(chunk.nonce, asked_in(work.ledger, chunk)).tolist()
    asking = _Asking(work, chunk)
    try:
        asked = [
            asking.one(name.decode(), shared.head + unmarked(part) + shared.tail)
            for name, part in zip(ids, work.ledger.read_lines(work.ledger.chunk_file(chunk.id, "spool")), strict=True)
        ]
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
    finally:
        work.posting.discard(chunk.id)
        if asking.fruitless:  # a server in trouble, or no network: it goes in a batch, as a pilot all the same
            _leave_to_batch(work, chunk)
        else:
            keep(work, chunk)
        work.wake()
    if asking.stopped is not None:
        raise asking.stopped


def _leave_to_batch(work: Work, chunk: ChunkRecord) -> None:
    """What waits for it holds the door: all are sent in a new round."""
    path, asked = results_file(work, chunk), asked_file(work, chunk)
    work.ledger.happen(chunk.id, "not accepted", kind="pilot", **as_noted(work, chunk, lost(asked, path)))
    work.gate.returned(chunk)
    path.unlink(missing_ok=True)
    asked.unlink(missing_ok=True)
    work.restart = True


def results_file(work: Work, chunk: ChunkRecord) -> Path:
    """Where answers are kept while others are under way."""
    return work.ledger.chunk_file(chunk.id, "now")


def asked_file(work: Work, chunk: ChunkRecord) -> Path:
    """Where is noted what is asked, before it is."""
    return work.ledger.chunk_file(chunk.id, "asked")


def _let_go(work: Work, chunk: ChunkRecord) -> None:
    """What a process that died had not asked yet may be asked by others; of a pilot, what was in flight too."""
    path, asked = results_file(work, chunk), asked_file(work, chunk)
    ids = custom_ids(chunk.nonce, asked_in(work.ledger, chunk)).tolist()
    known = Counter(lines(asked)) if asked.exists() else Counter[bytes]()
    told = path.read_bytes() if path.exists() else b""
    for name in ids:
        if b'"%b"' % name in told:
            continue
        if name not in known or (chunk.kind == PILOT_NOW and known[name] <= known[REFUSED + name]):
            write(path, name.decode(), b'{"type":"expired"}')
        elif chunk.kind == PILOT_NOW:
            write(path, name.decode(), _error("timeout_error", UNHEARD))


def keep(work: Work, chunk: ChunkRecord) -> None:
    """What came is the chunk's results, now whole under their name."""
    path, whole, asked = results_file(work, chunk), work.ledger.chunk_file(chunk.id, "jsonl"), asked_file(work, chunk)
    if not whole.exists():  # else a kill fell between the steps
        _let_go(work, chunk)
        if path.exists():
            path.replace(whole)
        else:
            whole.touch(mode=0o600)
    work.ledger.accept(whole)
    sync_folder(path.parent)
    work.ledger.happen(chunk.id, "answered", **as_noted(work, chunk, lost(asked, whole)))
    asked.unlink(missing_ok=True)  # not before: it says what may be billed and was never told


class _Asking:
    """The requests of one chunk on their way, a few at a time; a limit that holds one of them holds all."""

    def __init__(self, work: Work, chunk: ChunkRecord) -> None:
        self._work, self._kind = work, chunk.kind
        self._path, self._asked = results_file(work, chunk), asked_file(work, chunk)
        self._gate = asyncio.Semaphore(AT_ONCE_PILOT if chunk.kind == PILOT_NOW else AT_ONCE)
        self._begun, self._closed = work.clock.now(), 0.0  # when it began; until when nothing is asked
        self._troubled = False  # the server is in trouble, or there is no network
        self._told = 0  # how many were answered, or may have been
        self.stopped: DfbatchError | None = None  # what would come for all others too

    @property
    def fruitless(self) -> bool:
        """Whether a pilot told nothing, though it was to go on."""
        return self._kind == PILOT_NOW and not self._told and self.stopped is None and self._work.may_send

    async def one(self, name: str, params: bytes) -> None:
        """Ask a request until it is answered, or is not to be asked any more."""
        async with self._gate:
            tries = 0
            while await self._may_ask(name):
                _append(self._asked, name.encode() + b"\n")
                try:
                    message = await self._work.backend.ask(params, self._work.record.spec.betas)
                except Ambiguous:  # it may be billed
                    self._told += 1
                    if self._kind == PILOT_NOW:
                        write(self._path, name, _error("timeout_error", UNHEARD))
                    return  # else `missing`, said so, never asked again by itself
                except DfbatchError as error:
                    tries += 1
                    if not not_heard(error):
                        _append(self._asked, REFUSED + name.encode() + b"\n")
                    if not await self._goes_on(error, tries):
                        write(self._path, name, self._unanswered(error))
                        return
                else:
                    self._told += 1
                    write(self._path, name, b'{"type":"succeeded","message":' + message + b"}")
                    return

    async def _may_ask(self, name: str) -> bool:
        """Wait where a limit says so; what is not to be asked any more has that for its result."""
        work = self._work
        while work.may_send and self.stopped is None and (left := self._closed - work.clock.now()) > 0:
            await work.rest(left)
        given_up = self._troubled and self._kind == PILOT_NOW
        if self.stopped is None and work.may_send and not given_up:
            return True
        canceled = self.stopped is None and self._kind != PILOT_NOW
        write(self._path, name, b'{"type":"canceled"}' if canceled or work.canceling else b'{"type":"expired"}')
        return False

    async def _goes_on(self, error: DfbatchError, tries: int) -> bool:
        """Whether a request is asked once more, after a pause."""
        work, pause = self._work, getattr(error, "retry_after", None) or PAUSE
        if self._kind == PILOT_NOW and _of_all(error):
            self.stopped = self.stopped or error
            return False
        if isinstance(error, RateLimited) and error.code not in SPEND_LIMITS:
            if work.clock.now() + pause - self._begun > LONGEST:
                return False
            self._closed = max(self._closed, work.clock.now() + pause)
            if self._kind == PILOT_NOW:
                work.say("pilot", f"waiting {pause:.3g} s to go on with the pilot: {first_line(error)}")
            return True
        if tries >= TRIES or not _passes(error):
            self._troubled = self._troubled or _passes(error) or _has_no_route(error)
            return False
        await work.rest(pause)
        return True

    def _unanswered(self, error: DfbatchError) -> bytes:
        """What stands for an answer; of a pilot, what says nothing of the request goes in a batch later."""
        passes = isinstance(error, RateLimited) or _of_all(error) or _passes(error) or _has_no_route(error)
        if self._kind == PILOT_NOW and passes:
            return b'{"type":"expired"}'
        self._told += 1
        return _error((error.type if isinstance(error, ApiError) else "") or "api_error", first_line(error))


def _of_all(error: DfbatchError) -> bool:
    """Whether every other request would end like this: a key that is not taken, a limit of spending."""
    limited = isinstance(error, RateLimited) and error.code in SPEND_LIMITS
    return limited or getattr(error, "status", None) in (401, 402, 403)


def _has_no_route(error: DfbatchError) -> bool:
    """Whether a gateway does not have `/v1/messages`: batches may go all the same."""
    return isinstance(error, NotTheApi) or getattr(error, "status", None) in (404, 405, 501)


def _passes(error: DfbatchError) -> bool:
    """Whether another try may help: a server in trouble, no network."""
    status = getattr(error, "status", None)
    return status is None or status >= 500


def _error(kind: str, message: str) -> bytes:
    told = {"type": kind, "message": message}
    return msgspec.json.encode({"type": "errored", "error": {"type": "error", "error": told}})


def write(path: Path, name: str, result: bytes) -> None:
    """One line, on disk before the next is asked for."""
    _append(path, b'{"custom_id":"%b","result":%b}\n' % (name.encode(), result.replace(b"\n", b" ")))


def _append(path: Path, line: bytes) -> None:
    with translated(path), os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
