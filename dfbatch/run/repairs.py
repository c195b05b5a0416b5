"""Damage mended for whoever asks: what can be made or fetched again is, and what is lost is said. Nothing is paid for.

A run that somebody carries on is left alone. What is made again as it is met is in `recovery.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dfbatch.errors import ApiError, DfbatchError, LedgerDamaged, NotFound
from dfbatch.ledger import database
from dfbatch.ledger.states import COLLECTED, ENDED, UNSENT
from dfbatch.progress.words import many
from dfbatch.results import CODE
from dfbatch.run import thread
from dfbatch.run.collect import Collector
from dfbatch.run.recovery import asked_in, found_of, judged_again, requests_of, rows_of
from dfbatch.run.sheet import Sheet
from dfbatch.run.spools import is_spent
from dfbatch.run.using import in_use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np

    from dfbatch.backends import Backend
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord
    from dfbatch.schemas import Schema

AGAIN: Final = "run the cell again: answers that are there are used again and cost nothing"
ANEW: Final = ("wrote-", "before-", "outlook")  # notes that are made anew as they are needed


class Mend(NamedTuple):
    """One thing that was damaged: what became of it, and whether something of it is lost."""

    text: str
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Repaired:
    """All that was damaged, a line each; prints as those lines."""

    mends: tuple[Mend, ...] = ()

    @property
    def lost(self) -> tuple[str, ...]:
        """What could not be mended."""
        return tuple(mend.text for mend in self.mends if mend.is_lost)

    def __repr__(self) -> str:
        """The lines."""
        return "\n".join(mend.text for mend in self.mends) or "nothing is damaged"


def bring_back(folder: Path) -> list[Mend]:
    """Put a damaged database aside and its backup in its place; without one, begin an empty ledger."""
    aside = database.set_aside(folder)
    kept = f"; the damaged file is kept as {aside.name}" if aside else ""
    if database.bring_back(folder):
        return [Mend(f"the ledger was brought back from its backup{kept}")]
    database.begin_anew(folder)
    return [
        Mend(
            f"the ledger is lost, and there is no backup of it: an empty one was begun{kept}",
            is_lost=True,
        ),
        Mend(
            "dfbatch.adopt(batch_id, df, …) lays batches of the last 29 days back onto their rows, for free; running"
            " their cells again pays for them again",
            is_lost=True,
        ),
    ]


def unknown_runs(ledger: Ledger) -> list[Mend]:
    """Runs that the ledger, brought back, does not know: they are younger than the backup."""
    known = {record.id for record in ledger.runs()}
    folder = ledger.folder / "runs"
    left = sorted(place.name for place in folder.iterdir() if place.name not in known) if folder.is_dir() else []
    return [
        Mend(
            f"run {run_id} is younger than the backup, and not in the ledger any more: what it asked may be billed;"
            " dfbatch.adopt(batch_id, df, …) lays its batches back for free, asking again pays again",
            is_lost=True,
        )
        for run_id in left
    ]


@dataclass(frozen=True, slots=True)
class Repair:
    """One run, and what its results are fetched with."""

    ledger: Ledger
    record: RunRecord
    schema: Schema
    backend: Backend
    held: dict[str, np.ndarray[Any, Any]]  # files of the run that are in memory, as they were read

    def mends(self) -> Iterator[Mend]:
        """Mend what can be mended, and tell of each."""
        lock = self.ledger.lock(self.record.id)
        if not lock.acquire():
            yield Mend(f"run {self.record.id} is under way: it was not looked at")
            return
        try:
            yield from self._run_files()
            for chunk in self.ledger.chunks(self.record.id):
                yield from self._chunk_files(chunk)
        finally:
            lock.release()

    def _run_files(self) -> Iterator[Mend]:
        for name, read in (("requests.npy", requests_of), ("rows.npy", rows_of)):
            if self._damage(self._file(name)) and name in self.held:
                self.ledger.write_array(self._file(name), self.held[name])
                yield Mend(f"run {self.record.id}: {name} was damaged: written again from memory")
            yield from self._made_again(self._file(name), partial(read, self.ledger, self.record))
        keys = self._file("keys.jsonl")
        if self.record.spec.key is not None and (damage := self._damage(keys)):
            yield self._lost(damage, f"the values of key= are not known any more; {AGAIN}")
        budget = self._file("budget")
        if self.ledger.is_lost(budget) or (budget.exists() and self._damage(budget)):
            named = f"dfbatch.open({self.record.id!r}).resume(budget=…) names it once more"
            told = f"run {self.record.id}: the budget that it was given later is not known any more; {named}"
            yield Mend(told, is_lost=True)
        for path in sorted(budget.parent.iterdir()):
            if path.name.startswith(ANEW) and (damage := self._damage(path)):
                self.ledger.unlink(path)
                yield self._mended(damage, "removed: it is written anew when it is needed")

    def _chunk_files(self, chunk: ChunkRecord) -> Iterator[Mend]:
        yield from self._made_again(self._of(chunk, "map.npy"), lambda: asked_in(self.ledger, chunk))
        if chunk.state in (COLLECTED, ENDED):
            yield from self._results(chunk)
        if chunk.state == COLLECTED:
            yield from self._made_again(self._of(chunk, "found.npy"), lambda: found_of(self.ledger, chunk))
        yield from self._spool(chunk)

    def _made_again(self, path: Path, make: Callable[[], object]) -> Iterator[Mend]:
        if not (damage := self._damage(path)):
            return
        try:
            make()
        except LedgerDamaged:
            yield self._lost(damage, f"it cannot be made again; {AGAIN}")
            return
        if self._damage(path):  # which rows asked what is known, what they held is not
            yield self._lost(damage, f"answers() goes on without it, join(df) does not; {AGAIN}")
        else:
            yield self._mended(damage, "made again")

    def _results(self, chunk: ChunkRecord) -> Iterator[Mend]:
        path = self._of(chunk, "jsonl")
        if chunk.state == ENDED and not path.exists():  # not fetched yet
            return
        if not (damage := self._damage(path)):
            return
        if chunk.state == ENDED:
            self.ledger.unlink(path)
            yield self._mended(damage, "removed: waiting for the run fetches it again")
            return
        try:
            self._fetch(chunk)
        except DfbatchError as error:
            cause = error.__cause__ if isinstance(error, LedgerDamaged) else error
            if cause is None or isinstance(cause, NotFound):
                yield self._let_go(chunk, damage)
            else:
                yield self._lost(damage, f"not fetched again: {_first(cause)}; repair it again when that is settled")
        else:
            yield self._mended(damage, "fetched again from the server")

    def _fetch(self, chunk: ChunkRecord) -> None:
        """Fetch the results of a chunk that is collected; raises what keeps them from being had."""
        sheet = Sheet(asked_in(self.ledger, chunk), self.schema, (), chunk.run)

        async def fetched() -> None:
            async with in_use(self.backend):
                await Collector(self.ledger, self.backend, sheet).collected(chunk)

        thread.start(fetched()).result()

    def _let_go(self, chunk: ChunkRecord, damage: LedgerDamaged) -> Mend:
        """Keep what can be read of results that nobody has any more; the rest is missing from now on."""
        path = self._of(chunk, "jsonl")
        had = chunk.requests
        if not self._damage(self._of(chunk, "found.npy")):
            had = _answered(found_of(self.ledger, chunk))
        if not path.exists():
            self.ledger.write_blocks(path, [])
        found = judged_again(self.ledger, chunk, trusted=False)
        self.ledger.accept(path)
        self.ledger.write_array(self._of(chunk, "found.npy"), found)
        gone = had - _answered(found)
        return self._lost(
            damage,
            f"the server has it no more: {many(gone, 'answer')} of {chunk.requests:,} lost, which were paid for; their"
            " rows are missing, and running the cell again asks, and pays for, those alone",
        )

    def _spool(self, chunk: ChunkRecord) -> Iterator[Mend]:
        path = self._of(chunk, "spool")
        needed = chunk.state in (*UNSENT, ENDED) or (chunk.state == COLLECTED and not is_spent(self.ledger, chunk))
        if not (needed or path.exists()) or not (damage := self._damage(path)):
            return
        if chunk.state in UNSENT:
            self.ledger.happen(chunk.id, "release")
            yield self._lost(
                damage,
                f"its {many(chunk.requests, 'request')} were never sent, and let go unpaid; {AGAIN}, and asks these",
            )
            return
        self.ledger.write_lines(path, [b""] * chunk.requests)
        unanswered = "the prompts of rows without an answer are not known any more: retry() cannot ask them again"
        yield self._lost(damage, f"{unanswered}; {AGAIN}")

    # ------------------------------------------------------------------ words

    def _damage(self, path: Path) -> LedgerDamaged | None:
        try:
            self.ledger.check(path)
            if path.suffix == ".npy":
                self.ledger.read_array(path)
        except LedgerDamaged as damage:
            return damage
        return None

    def _mended(self, damage: LedgerDamaged, how: str) -> Mend:
        return Mend(f"run {self.record.id}: {damage.path.name} {damage.wrong}: {how}")

    def _lost(self, damage: LedgerDamaged, what: str) -> Mend:
        return Mend(f"run {self.record.id}: {damage.path.name} {damage.wrong}: {what}", is_lost=True)

    def _file(self, name: str) -> Path:
        return self.ledger.run_file(self.record.id, name)

    def _of(self, chunk: ChunkRecord, ending: str) -> Path:
        return self.ledger.chunk_file(chunk.id, ending)


def _answered(found: np.ndarray[Any, Any]) -> int:
    return int((found["outcome"] != CODE["missing"]).sum())


def _first(error: BaseException) -> str:
    told = str(error).partition("\n")[0]
    return told if isinstance(error, ApiError) or told else type(error).__name__
