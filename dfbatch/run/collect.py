"""Ended batches → raw files → outcomes: raw first, judged only when it is whole on disk. When to look is the loop's."""

from __future__ import annotations

import asyncio
import logging
import shutil
from typing import TYPE_CHECKING

from dfbatch.errors import ApiError, DiskFull, LedgerDamaged, NoBackend
from dfbatch.ledger.files import translated
from dfbatch.ledger.states import COLLECTED
from dfbatch.results import CODE, PENDING, SUCCEEDED
from dfbatch.run.now import DIRECT
from dfbatch.run.polling import KEPT_DAYS, kept_until
from dfbatch.run.recovery import asked_in, found_of
from dfbatch.run.spools import shrink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy as np

    from dfbatch.backends import Backend
    from dfbatch.errors import DfbatchError
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord
    from dfbatch.run.sheet import Sheet

log = logging.getLogger("dfbatch")

DOWNLOADS = 2  # side by side
BYTES_A_TOKEN = 32  # of an answer, escaped as JSON: the longest tokens are runs of white space
QUOTED = 8  # times what was sent: citations repeat it, escaped
AROUND = 65_536  # bytes of a line beside its answer: tool calls, citations, usage
TRIES = 3  # of a download in which ids are absent

NO_LINE = "the batch ended without a line for this request: it may be billed, and is not asked again by itself"
IN_FLIGHT = (
    "its connection or its process ended before its answer came: it may be billed, and is not asked again by itself"
)


class Collector:
    """Downloads and judges the chunks of one run, each once in this process."""

    def __init__(self, ledger: Ledger, backend: Backend, sheet: Sheet) -> None:
        self._ledger = ledger
        self._backend = backend
        self._sheet = sheet
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._judging = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def has(self, chunk: ChunkRecord) -> bool:
        """Whether its answers are laid already."""
        return self._sheet.has(chunk)

    def start(self, chunks: Iterable[ChunkRecord], *, then: Callable[[], None]) -> None:
        """Collect these side by side with whatever else goes on; `then` is called after each."""
        for chunk in chunks:
            if chunk.id not in self._tasks:
                task = asyncio.create_task(self._one(chunk))
                task.add_done_callback(lambda _: then())
                self._tasks[chunk.id] = task

    @property
    def busy(self) -> bool:
        """Whether something is being collected."""
        return any(not task.done() for task in self._tasks.values())

    def settled(self) -> list[tuple[str, BaseException | None]]:
        """What came to its end since this was asked last: chunk ids, and what went wrong."""
        ended = [(chunk_id, task) for chunk_id, task in self._tasks.items() if task.done()]
        for chunk_id, _ in ended:
            del self._tasks[chunk_id]
        return [(chunk_id, task.exception()) for chunk_id, task in ended]

    async def finish(self) -> None:
        """Let what is under way come to its end."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())
            self.settled()  # what went wrong here is found again by whoever comes back

    async def _one(self, chunk: ChunkRecord) -> None:
        if chunk.state == COLLECTED:
            await self.collected(chunk)
            return
        for attempt in range(1, 2 if chunk.kind in DIRECT else TRIES + 1):
            async with self._downloads:
                if attempt > 1 or not self._ledger.chunk_file(chunk.id, "jsonl").exists():
                    await self._download(chunk)
            try:
                async with self._judging:
                    found = await asyncio.to_thread(self.judge, chunk)
            except LedgerDamaged:
                if attempt == TRIES or chunk.kind in DIRECT or not await self._removed(chunk):
                    raise
                continue
            if attempt == TRIES or not (found["outcome"] == PENDING).any():
                break
        await asyncio.to_thread(self._close, chunk, found)

    async def _removed(self, chunk: ChunkRecord) -> bool:
        """Remove results that are not what was written, where they can be had once more."""
        if self._ledger.batch(chunk.id) is None:
            return False
        await asyncio.to_thread(self._ledger.unlink, self._ledger.chunk_file(chunk.id, "jsonl"))
        return True

    async def collected(self, chunk: ChunkRecord) -> None:
        """Lay what was collected before; results that are damaged or gone are fetched again, which is free."""
        try:
            async with self._judging:
                await asyncio.to_thread(self.judge, chunk)
        except LedgerDamaged as damage:
            if chunk.kind in DIRECT or self._ledger.batch(chunk.id) is None or not _is_of_results(damage):
                raise
            await self._fetch_again(chunk, damage)
            async with self._judging:
                found = await asyncio.to_thread(self._judge_anew, chunk)
            log.warning("%s; it was fetched again", str(damage).partition("\n")[0])
            await asyncio.to_thread(self._keep, chunk, found)

    async def _fetch_again(self, chunk: ChunkRecord, damage: LedgerDamaged) -> None:
        try:
            await asyncio.to_thread(self._backend.ready, self._ledger.folder)
            await self._download(chunk, anew=True)
        except (ApiError, NoBackend) as error:
            if isinstance(error, ApiError) and passes(error):
                raise
            raise _not_there(damage, error) from error

    def judge(self, chunk: ChunkRecord) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """Lay the answers of a raw file that is on disk; raises LedgerDamaged where it is not as it was written."""
        raw = self._ledger.chunk_file(chunk.id, "jsonl")
        self._ledger.check(raw)
        before = found_of(self._ledger, chunk) if chunk.state == COLLECTED else None
        if before is not None and len(before) and int((before["offset"] + before["length"]).max()) > _size(raw):
            raise self._ledger.damaged(raw, f"is cut short: lines that it had stand past its {_size(raw):,} bytes")
        found = self._judge_anew(chunk)
        if before is not None and ((before["length"] > 0) & (found["outcome"] == CODE["missing"])).any():
            self._sheet.laid.discard(chunk.id)
            raise self._ledger.damaged(raw, "lacks lines that it had")
        return found

    def _judge_anew(self, chunk: ChunkRecord) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        requests = asked_in(self._ledger, chunk)
        found = self._sheet.take(chunk, requests, self._ledger.chunk_file(chunk.id, "jsonl"))
        if chunk.state == COLLECTED:
            self._sheet.left_out(chunk, requests, found, _why_absent(chunk))
            found["outcome"][found["outcome"] == PENDING] = CODE["missing"]
        return found

    def _keep(self, chunk: ChunkRecord, found: np.ndarray[tuple[int], np.dtype[np.void]]) -> None:
        self._ledger.write_array(self._ledger.chunk_file(chunk.id, "found.npy"), found)

    def _close(self, chunk: ChunkRecord, found: np.ndarray[tuple[int], np.dtype[np.void]]) -> None:
        self._sheet.left_out(chunk, asked_in(self._ledger, chunk), found, _why_absent(chunk))
        found["outcome"][found["outcome"] == PENDING] = CODE["missing"]
        self._keep(chunk, found)
        answered = self._sheet.models.get(chunk.id, "")
        if self._ledger.happen(chunk.id, "collected", answered=answered):  # by us, not by a run that draws on it
            shrink(self._ledger, chunk.id, found["outcome"] != SUCCEEDED)

    async def _download(self, chunk: ChunkRecord, *, anew: bool = False) -> None:
        """Stream the results to disk, behind what an earlier try brought: places in the file stay what they are.

        What is damaged makes room, `anew`. Where another run brought them meanwhile, ours are dropped. Where the disk
        is full, count on to say how much is needed.
        """
        batch = self._ledger.batch(chunk.id)
        assert batch is not None
        path = self._ledger.chunk_file(chunk.id, "jsonl")
        blocks = self._backend.results(batch.id)
        before, size = _size(path), 0
        try:
            with translated(path), self._ledger.whole(path, instead=lambda: _size(path) == before) as file:
                if before and not anew:
                    with path.open("rb") as earlier:
                        shutil.copyfileobj(earlier, file)
                    file.write(b"\n")
                async for block in blocks:
                    size += len(block)
                    if size > most(chunk):
                        raise _too_much(chunk, batch.id)
                    file.write(block)
        except DiskFull as error:
            async for block in blocks:
                size += len(block)
            raise DiskFull(
                f"no space left for the results of batch {batch.id}: {size:,} bytes are needed",
                f"nothing is lost: the API keeps them until {_kept_until(batch.created_at)}",
                hint=f"free some space, or move {self._ledger.folder} to a larger disk and set DFBATCH_HOME;"
                f" then dfbatch.open({chunk.run!r}).resume()",
            ) from error


def _is_of_results(damage: LedgerDamaged) -> bool:
    return str(damage.path).endswith(".jsonl")


def passes(error: ApiError) -> bool:
    """Whether results may be had later that cannot be had now: no network, too many calls, a server in trouble."""
    return error.status is None or error.status in (408, 429) or error.status >= 500


def _not_there(damage: LedgerDamaged, error: DfbatchError) -> LedgerDamaged:
    """What is left to do where the server does not have results any more, or not for this key."""
    return LedgerDamaged(
        str(damage).partition("\n")[0],
        f"it cannot be fetched again from the server: {str(error).partition(chr(10))[0]}",
        "all other answers are kept; these were paid for, and nothing is asked again by itself",
        hint="with the key of its workspace it may be there, for 29 days; else"
        f" dfbatch.repair({damage.run_id!r}) keeps what can be read and lets the rest go: those rows are missing, and"
        " running the cell again pays for them again",
        path=damage.path,
        run_id=damage.run_id,
        wrong=damage.wrong,
    )


def most(chunk: ChunkRecord) -> int:
    """More bytes than the results of a chunk can have: the server is not trusted with our disk."""
    return chunk.requests * (BYTES_A_TOKEN * chunk.max_tokens + AROUND) + QUOTED * chunk.bytes


def _too_much(chunk: ChunkRecord, batch_id: str) -> ApiError:
    return ApiError(
        f"the results of batch {batch_id} are larger than {most(chunk):,} bytes: that is not what was asked for",
        f"the download was stopped; {chunk.requests:,} requests of run {chunk.run} have no answer yet",
        hint=f"check the address this key is sent to, then dfbatch.open({chunk.run!r}).wait() tries again",
    )


def _why_absent(chunk: ChunkRecord) -> str:
    return IN_FLIGHT if chunk.kind in DIRECT else NO_LINE


def _kept_until(created_at: str) -> str:
    """The day on which results vanish, as 2026-12-21."""
    day = kept_until(created_at)
    return day.date().isoformat() if day else f"{KEPT_DAYS} days after the batch was created"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
