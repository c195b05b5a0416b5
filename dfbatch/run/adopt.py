"""Batches laid back when the ledger is gone: their results first, then the rows they belong to. Nothing is sent.

A custom_id holds the position of the first row that asked, and four digits of its request's digest. A row whose request
is not the one that was sent stays missing, but for one in 65,536, whose digits are alike by chance.
"""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.distinct import locate
from dfbatch.errors import InputError, OptionError, RowsFailedWarning, explain, outside
from dfbatch.ledger.files import sync_folder
from dfbatch.ledger.records import ChunkRecord
from dfbatch.ledger.states import CLAIMING, COLLECTED, FORGONE, LOST, SUBMITTING
from dfbatch.requests import body_length, custom_ids
from dfbatch.run.claims import Claimed, Cover, reusable
from dfbatch.run.recovery import asked_in, found_of
from dfbatch.run.relics import download, ended_ones, ids_of, is_made_up, map_of, nonce_of, ours, positions, record_of
from dfbatch.run.spools import remove, shared_of, spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from dfbatch.backends import Backend, Batch
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import BatchRecord, RunRecord
    from dfbatch.run.spools import Terms, Wanted

    Array = np.ndarray[Any, np.dtype[Any]]

UNKNOWN: Final = "in no adopted batch: what it asks is not what was sent, or its batch was not given"
SHOWN: Final = 5  # rows named in a warning
CHANCE: Final = 1_000  # fewer than one in so many alike is no better than chance (one in 65,536)


def named(batch_ids: str | Sequence[str]) -> list[str]:
    """The ids of a call, each once."""
    given: list[Any] = [batch_ids] if isinstance(batch_ids, str) else list(batch_ids)
    for batch_id in given:
        if not isinstance(batch_id, str) or not batch_id.strip("."):
            raise OptionError(
                f"a batch is named by its id, got {batch_id!r}", hint='dfbatch.adopt("msgbatch_…", df, …)'
            )
    if not given:
        raise OptionError("no batch was named", hint='dfbatch.adopt(["msgbatch_…", …], df, …)')
    return list(dict.fromkeys(given))


@dataclass(frozen=True, slots=True)
class Adoption:
    """Takes batches that were sent before for requests that would be sent (a `Claiming`)."""

    backend: Backend
    ids: list[str]

    def __call__(
        self,
        ledger: Ledger,
        record: RunRecord,
        wanted: Wanted,
        *,
        terms: Terms,
        reuse: bool,  # noqa: ARG002 - of `Claiming`: nothing is asked here
        before: Callable[[], None],
    ) -> Claimed:
        """Write the run with a chunk for each batch, its results on disk; what no batch answers is let go."""
        before()
        made = _Made(ledger, record, wanted, terms)
        try:
            self._fill(made)
            made.check(self._words)
            made.let_go_of_the_rest()
            while not ledger.begin(
                record, made.all_chunks, made.borrowed, unless_changed=ledger.claims_version(record.shared)
            ):
                continue
        except BaseException:
            remove(ledger, [chunk.id for chunk in made.all_chunks])
            raise
        for chunk, batch in made.taken:
            ledger.happen(chunk.id, "accepted", batch=self._record(chunk, batch))
            ledger.happen(chunk.id, "ended")
        made.tell(self._words)
        return Claimed([], Cover(np.ones(len(wanted.requests), bool), {}, under_way=False))

    def _fill(self, made: _Made) -> None:
        """Ask for the batches, download those that are new here, and find whose they are."""
        by_batch, by_nonce = _known(made.ledger)
        here = [batch_id for batch_id in self.ids if batch_id in by_batch]
        there = [batch_id for batch_id in self.ids if batch_id not in here or by_batch[batch_id].state != COLLECTED]
        batches = ended_ones(self.backend, there)
        for batch_id in here:
            made.borrow(by_batch[batch_id], batch_id)
        for batch in batches:
            if batch.id in here:
                continue
            path = made.ledger.run_file(made.record.id, "adopted.jsonl")
            download(self.backend, batch, path, max_tokens=made.record.max_tokens)
            ids = ids_of(path, batch.id)
            if chunk := by_nonce.get(nonce_of(ids)):  # one that was in doubt
                path.unlink()
                made.ledger.happen(chunk.id, "proved", batch=self._record(chunk, batch))
                made.borrow(made.ledger.chunk(chunk.id), batch.id)
            else:
                made.take(batch, ids, path)

    def _record(self, chunk: ChunkRecord, batch: Batch) -> BatchRecord:
        return record_of(chunk.id, batch, self.backend, accepted=batch.created or 0.0)

    @property
    def _words(self) -> str:
        more = f" and {len(self.ids) - 1:,} more" if len(self.ids) > 1 else ""
        return f"batch {self.ids[0]}{more}"


class _Made:
    """A run whose chunks are put together from batches; only files are written here."""

    def __init__(self, ledger: Ledger, record: RunRecord, wanted: Wanted, terms: Terms) -> None:
        self.ledger, self.record = ledger, record
        self._wanted, self._requests, self._terms = wanted, wanted.requests, terms
        self.taken: list[tuple[ChunkRecord, Batch]] = []
        self.borrowed: list[str] = []
        self._left: list[ChunkRecord] = []
        self._held = np.zeros(len(wanted.requests), bool)  # requests that a batch was made for
        self._settled = np.zeros(len(wanted.requests), bool)  # those that nobody needs to ask again
        self._placed = 0  # requests at whose position a batch had one
        self._strange = 0  # requests of the batches that no row asks

    @property
    def all_chunks(self) -> list[ChunkRecord]:
        """What is new in the ledger."""
        return [*(chunk for chunk, _ in self.taken), *self._left]

    def take(self, batch: Batch, ids: Array, path: Path) -> None:
        """A chunk as it was when it was sent: the ids say which requests it had."""
        which, at = ours(self._requests, ids)
        chunk = self._chunk(batch, ids, int(self._wanted.lengths[which].sum()))
        self.taken.append((chunk, batch))
        sent = map_of(ids)
        sent["digest"][at] = self._requests["digest"][which]
        self.ledger.write_array(self.ledger.chunk_file(chunk.id, "map.npy"), sent)
        asked = np.isin(np.arange(len(ids)), at)
        self.ledger.write_lines(self.ledger.chunk_file(chunk.id, "spool"), _spread(self._wanted.lines_of(which), asked))
        path.replace(self.ledger.chunk_file(chunk.id, "jsonl"))
        sync_folder(self.ledger.chunk_file(chunk.id, "jsonl").parent)
        self.ledger.accept(self.ledger.chunk_file(chunk.id, "jsonl"))
        self._held[which] = self._settled[which] = True
        self._placed += int(np.isin(self._requests["position"], positions(ids)).sum())
        self._strange += len(ids) - len(which)

    def _chunk(self, batch: Batch, ids: Array, size: int) -> ChunkRecord:
        """In the state that it had when its reply was due: a kill before the next step leaves it to be searched for."""
        nonce, ordinal, terms = nonce_of(ids), len(self.taken), self._terms
        return ChunkRecord(
            id=f"{self.record.id}-{ordinal}-{nonce}",
            run=self.record.id,
            ordinal=ordinal,
            state=SUBMITTING,
            shared=terms.shared,
            nonce=nonce,
            requests=len(ids),
            bytes=body_length(shared_of(self.record, terms.head), size, len(ids)),
            max_tokens=terms.max_tokens,
            allowed=terms.allowed,
            intended=batch.created or 0.0,
        )

    def borrow(self, chunk: ChunkRecord, batch_id: str) -> None:
        """A batch that this ledger knows already: its chunk is drawn on."""
        if chunk.state == LOST:
            self.ledger.happen(chunk.id, "resume")
        elif chunk.state not in CLAIMING:
            raise InputError(
                f"batch {batch_id} is known here: it is of run {chunk.run}, where its chunk is {chunk.state}",
                hint=f"dfbatch.open({chunk.run!r}) has what is left of it; after its .forget() it can be adopted",
            )
        spot = locate(self._requests["digest"], self._recognized(chunk)["digest"])
        held = spot >= 0
        self.borrowed.append(chunk.id)
        self._held |= held
        self._strange += chunk.requests - int(held.sum())
        if chunk.state == COLLECTED:
            found = found_of(self.ledger, chunk)[spot[held]]
            held[held] = reusable(found, chunk, self.record.max_tokens)
        self._settled |= held

    def _recognized(self, chunk: ChunkRecord) -> Array:
        """The map of a chunk; requests that no row asked when it was adopted, and ours ask, are known from now on."""
        path = self.ledger.chunk_file(chunk.id, "map.npy")
        sent: Array = asked_in(self.ledger, chunk)
        which, at = ours(self._requests, custom_ids(chunk.nonce, sent))
        new = is_made_up(sent[at])
        if chunk.shared == self.record.shared and new.any():
            sent["digest"][at[new]] = self._requests["digest"][which[new]]
            self.ledger.write_array(path, sent)
        return sent

    def check(self, words: str) -> None:
        """Raise where the batches are of another call."""
        if len(self._requests) and self._held.sum() <= self._placed / CHANCE:
            raise InputError(
                f"no row of the frame asks what {words} answered",
                "nothing was kept",
                hint="give frame, prompt, schema, system, model, params and backend as they were when it was sent",
            )

    def let_go_of_the_rest(self) -> None:
        """Requests without a batch are missing, and never asked by themselves."""
        rest = np.flatnonzero(~self._settled)
        made = spool(self.ledger, self.record, self._wanted.only(rest), terms=self._terms)
        self._left = [
            dataclasses.replace(chunk, state=FORGONE, error=UNKNOWN, ordinal=len(self.taken) + chunk.ordinal)
            for chunk in made
        ]

    def tell(self, words: str) -> None:
        """Warn of rows that stay missing."""
        rows = self._requests["position"][~self._held].tolist()
        if not rows:
            return
        some = ", ".join(f"{row:,}" for row in rows[:SHOWN]) + (", …" if len(rows) > SHOWN else "")
        strange = f"; {self._strange:,} that are there, no row asks" if self._strange else ""
        warnings.warn(
            explain(
                f"{len(rows):,} of {len(self._requests):,} requests are not in {words}{strange}",
                f"their rows are missing (first asked by row {some}): the frame, the prompt or an option is not what"
                " it was, or not every batch was given",
                hint="batch() with the same arguments asks these alone",
            ),
            RowsFailedWarning,
            stacklevel=outside(),
        )


def _known(ledger: Ledger) -> tuple[dict[str, ChunkRecord], dict[str, ChunkRecord]]:
    """The chunks of the ledger by their batch, and by their nonce."""
    chunks = {chunk.id: chunk for record in ledger.runs() for chunk in ledger.chunks(record.id)}.values()
    batches = [(ledger.batch(chunk.id), chunk) for chunk in chunks]
    proved = {batch.id: chunk for batch, chunk in batches if batch and batch.proved}
    return proved, {chunk.nonce: chunk for chunk in chunks}


def _spread(blocks: Iterable[bytes], filled: Array) -> Iterator[bytes]:
    """Parts as lines, empty ones where there is no part."""
    parts = _lines(blocks)
    return (next(parts) if has else b"" for has in filled.tolist())


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *ready, rest = (rest + block).split(b"\n")
        yield from ready
