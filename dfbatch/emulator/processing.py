"""The thread that has accepted requests answered, batch after batch, line after line.

Lines are written in answering order together with their records, so that a killed emulator goes on after the last
whole line. When a batch's answers count as done is the timetable's affair (life.py).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dfbatch.emulator import lines, records
from dfbatch.emulator.answers import fitted
from dfbatch.emulator.asks import Asks, Terms
from dfbatch.emulator.caching import Cached
from dfbatch.emulator.clock import day
from dfbatch.emulator.envelope import ENTRY
from dfbatch.emulator.errors import ApiError
from dfbatch.emulator.folder import private_open

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from dfbatch.emulator.asks import Ask
    from dfbatch.emulator.caching import PromptCache
    from dfbatch.emulator.engines import Engine
    from dfbatch.emulator.faults import Faults
    from dfbatch.emulator.folder import BatchFolder
    from dfbatch.emulator.life import Life
    from dfbatch.emulator.records import Row
    from dfbatch.emulator.schedule import Timetable
    from dfbatch.emulator.store import Batch

_BLOCK = 256
_SOON = 0.05  # seconds until answers are put down, at the latest after the one under way
_PATIENCE = 3.0  # seconds a stop waits for the answer under way
_NOTHING = Cached()
log = logging.getLogger("dfbatch.emulator")


class Processor:
    """Answers what Life holds open, on a thread of its own, until stopped."""

    def __init__(self, life: Life, engine: Engine, cache: PromptCache, faults: Faults) -> None:
        self._life = life
        self._engine = engine
        self._cache = cache
        self._faults = faults
        self._asks = Asks()
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="emulator-processor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self) -> None:
        """After `Life.stop`: waits for the answer under way, or gives it up after a while."""
        self._thread.join(_PATIENCE)
        self._abandoned = self._thread.is_alive()

    def _run(self) -> None:
        while (batch := self._life.next_open()) is not None:
            try:
                self._answer(batch)
            except _GivenUp:
                return
            except Exception:  # a full disk, for one: it is taken up again at the next start
                log.exception("batch %s cannot be processed now", batch.id)
                self._life.set_aside(batch.id)

    def _answer(self, batch: Batch) -> None:
        folder = self._life.folder.batch(batch.id)
        work = _Work.open(self._life, batch, folder)
        with (
            folder.body.open("rb", buffering=0) as body,
            private_open(folder.lines, "ab") as out,
            private_open(folder.records, "ab") as ledger,
        ):
            at = work.done
            while at < work.total and self._life.wants_more(batch.id, at):
                rows = self._block(work, at, body, out)
                out.flush()
                ledger.write(records.packed(rows))
                ledger.flush()
                at += len(rows)
                self._life.note_answered(batch.id, at)
        if not self._life.stopping:
            self._life.close(batch.id)

    def _block(self, work: _Work, at: int, body: FileIO, out: BinaryIO) -> list[Row]:
        """As many lines as are soon made; one at least."""
        rows = []
        end = time.monotonic() + _SOON
        for place in work.places(at, _BLOCK):
            rows.append(self._line(work, place, body, out))
            if time.monotonic() > end:
                break
        return rows

    def _line(self, work: _Work, place: _Place, body: FileIO, out: BinaryIO) -> Row:
        custom_id = place.name.decode()
        body.seek(place.offset)
        try:
            ask = self._asks.read(body.read(place.length), work.terms)
            answer = self._faults.spoil(fitted(self._engine.answer(ask), ask), ask, custom_id)
            cached = self._cached(ask, answer.input_tokens, work, place) if ask.marked else _NOTHING
            line = lines.succeeded(custom_id, ask, answer, cached)
            row = lines.paid_row(work.end, len(line), ask, answer, cached)
        except ApiError as error:
            line = lines.errored(custom_id, error)
            row = lines.free_row(work.end, len(line))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not harm other requests
            log.error("a request of batch %s failed in the emulator: %s", work.batch.id, _where(error))  # noqa: TRY400
            line = lines.errored(custom_id, ApiError(f"Internal server error: {type(error).__name__}", status=500))
            row = lines.free_row(work.end, len(line))
        if self._abandoned:
            raise _GivenUp  # the folder may have another owner by now
        out.write(line)
        work.end += len(line)
        return row

    def _cached(self, ask: Ask, prompt: int | None, work: _Work, place: _Place) -> Cached:
        start, finish = work.times(place.position)
        salt = work.batch.id.encode() + place.name
        pool = f"{work.batch.workspace} batch"
        return self._cache.bill(ask, pool=pool, start=start, finish=finish, prompt=prompt, salt=salt)


def _where(error: Exception) -> str:
    """Type and place alone: what an exception says may quote a request, and those are never logged."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {last.filename}:{last.lineno}"


class _GivenUp(Exception):
    """The emulator stopped while an answer was under way."""


class _Place(NamedTuple):
    """Where one request's params lie in the body, and its place in answering order."""

    position: int
    offset: int
    length: int
    name: bytes


class _Work:
    """What one batch's answering needs at hand."""

    def __init__(self, batch: Batch, entries: NDArray[np.void], order: NDArray[np.int64], table: Timetable) -> None:
        self.entries = entries
        self.order = order
        self.total = len(entries)
        self.done = 0
        self.end = 0  # size of the lines written
        self.batch = batch
        terms = Terms(batch.version, batch=True, betas=tuple(batch.betas), profile=batch.profile)
        self.terms = replace(terms, today=day(batch.created_at))
        self._table = table

    @classmethod
    def open(cls, life: Life, batch: Batch, folder: BatchFolder) -> _Work:
        work = cls(batch, np.fromfile(folder.index, ENTRY), life.order(batch), life.timetable(batch))
        torn = recover(folder)
        work.done, work.end = torn.lines, torn.bytes
        return work

    def places(self, at: int, most: int) -> list[_Place]:
        entries = self.entries[self.order[at : at + most]].tolist()
        return [_Place(position, *entry) for position, entry in enumerate(entries, at)]

    def times(self, position: int) -> tuple[int, int]:
        return (
            self.batch.created_at + int(self._table.starts[position]),
            self.batch.created_at + int(self._table.finishes[position]),
        )


class _Whole(NamedTuple):
    lines: int
    bytes: int


def recover(folder: BatchFolder) -> _Whole:
    """Cut both files of an interrupted batch back to the last line that is whole in both."""
    known = records.load(folder.records)
    size = folder.lines.stat().st_size if folder.lines.exists() else 0
    whole = int(np.searchsorted(known["offset"] + known["length"], size, side="right"))
    end = int(known[whole - 1]["offset"] + known[whole - 1]["length"]) if whole else 0
    for path, length in ((folder.records, whole * records.RECORD.itemsize), (folder.lines, end)):
        if path.exists():
            _cut(path, length)
    return _Whole(whole, end)


def _cut(path: Path, length: int) -> None:
    with path.open("r+b") as file:
        file.truncate(length)
