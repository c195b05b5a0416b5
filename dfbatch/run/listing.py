"""The table of runs, from the ledger and its files alone: no answer is judged again, and nobody is asked."""

from __future__ import annotations

import math
import time
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.distinct import locate
from dfbatch.errors import LedgerDamaged
from dfbatch.ledger.states import COLLECTED, ENDED, SUBMITTED
from dfbatch.pictures import PLAIN
from dfbatch.pricing import besides, dollars
from dfbatch.progress.words import plain
from dfbatch.results import SUCCEEDED
from dfbatch.run.accounts import spent
from dfbatch.run.damage import DAMAGED, look, short
from dfbatch.run.ending import MEND, of_the_call
from dfbatch.run.polling import kept_until
from dfbatch.run.recovery import asked_in, found_of, requests_of, rows_of
from dfbatch.run.unheard import unheard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import ChunkRecord, RunRecord

_CHUNK_FILES: Final = ("map.npy", "spool", "jsonl", "now", "asked", "found.npy")
ASKED: Final = 40  # signs of a prompt
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Listed:
    """One run as the table shows it, texts ready to be read; and what totals are made of: USD, bytes."""

    run: str
    made: str
    status: str
    rows: str  # answered of all
    spent: str
    disk: str
    model: str  # or who answered, where that was not Claude
    name: str
    asked: str  # the prompt, or what is in its place, in short
    note: str  # the line that matters now, and until when results can be had
    usd: float | None
    as_if: bool
    room: int  # bytes on the disk
    unknown: float | None = 0.0  # USD at most that may have been billed besides

    @classmethod
    def of(cls, ledger: Ledger, record: RunRecord, status: str, message: str, runs: frozenset[str]) -> Listed:
        """The line of a run; `runs` are all of the ledger."""
        chunks = ledger.chunks(record.id)
        count = f"?/{record.rows:,}"
        try:
            count = f"{answered(ledger, record, chunks):,}/{record.rows:,}"
            look(ledger, record, chunks)
        except LedgerDamaged as damage:
            status, message = DAMAGED, short(damage)
        last = kept(ledger, chunks, datetime.now(UTC))
        more = unheard(chunk for chunk in chunks if chunk.run == record.id)
        notes = [message, "" if last[-10:] in message else last, besides(more)]  # the message may say it already
        usd, room = spent(ledger, record, chunks), sum(map(size, files(ledger, record, chunks, runs)))
        return cls(
            run=record.id,
            made=time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created)),
            status=status,
            rows=count,
            spent=dollars(usd, as_if=not record.spends),
            disk=in_bytes(room),
            model=plain(record.answered_by or record.model),
            name=plain(record.name),
            asked=_shortened(plain(" ".join(record.spec.prompt.split()))),
            note=plain("; ".join(filter(None, notes))),
            usd=usd,
            as_if=not record.spends,
            room=room,
            unknown=more,
        )

    def __str__(self) -> str:
        """The line."""
        note = f"({self.note})" if self.note else ""
        line = f"{self.run}  {self.made}  {self.status:<10} {self.rows:>13} rows {self.spent:>12} {self.disk:>8}"
        return "  ".join(filter(None, [line, self.model, self.name, self.asked and repr(self.asked), note]))

    @property
    def cells(self) -> tuple[str, ...]:
        """The line, cell by cell."""
        return tuple(cell for cell in astuple(self) if isinstance(cell, str))

    @property
    def next(self) -> str:
        """What to type to go on with it."""
        if self.status == "paused" and of_the_call(self.note):
            return f"{MEND}, or dfbatch.open({self.run!r}).forget()" if self.rows.startswith("0/") else MEND
        if self.status == DAMAGED:
            return f"dfbatch.repair({self.run!r})"
        verbs = {"paused": "resume()", "done": "answers()", "canceled": "answers()"}
        return f"dfbatch.open({self.run!r}).{verbs.get(self.status, 'wait()')}"


def text(listed: Sequence[Listed]) -> str:
    """The table as plain lines, a total below."""
    return "\n".join([*map(str, listed), *total(listed)]) or "no runs yet"


def total(listed: Sequence[Listed]) -> list[str]:
    """What several runs spent and hold, in a line; what is as-if is no part of what was spent."""
    if len(listed) < 2:
        return []
    sums = [_sum([line for line in listed if line.as_if == as_if], as_if=as_if) for as_if in (False, True)]
    room = in_bytes(sum(line.room for line in listed))
    return [f"{len(listed):,} runs: {', '.join(filter(None, sums))}; {room} on disk"]


def _sum(lines: Sequence[Listed], *, as_if: bool) -> str:
    if not lines:
        return ""
    known = [line.usd for line in lines if line.usd is not None]
    sums = [dollars(math.fsum(known), as_if=as_if)] if known else []
    sums += ["an unknown sum"] if len(known) < len(lines) else []
    unknown = [line.unknown for line in lines]
    sums += filter(None, [besides(None if None in unknown else math.fsum(usd for usd in unknown if usd is not None))])
    return " and ".join(sums) + ("" if as_if else " spent")


def html(listed: Sequence[Listed]) -> str:
    """The table in a notebook, every word escaped; what can be done with each run stands beside it."""
    names = ("run", "made", "status", "answered", "spent", "on disk", "answered by", "name", "asked", "note", "go on")
    head = "".join(f"<th>{name}</th>" for name in names)
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in line.cells) + _code(line.next) for line in listed)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    table = f'<table class="{PLAIN}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return table + "".join(f"<p>{escape(line)}</p>" for line in total(listed))


def _shortened(text: str) -> str:
    return text if len(text) <= ASKED else text[: ASKED - 1] + "…"


def _code(text: str) -> str:
    return f"<td><code>{escape(text)}</code></td>"


def answered(ledger: Ledger, record: RunRecord, chunks: Iterable[ChunkRecord]) -> int:
    """How many rows have an answer, by what was found when it was collected."""
    rows = rows_of(ledger, record)["request"]
    good = succeeded(ledger, record, chunks)
    one_of = np.logical_or.reduce(good.reshape(record.spec.samples, -1))  # one sample of a row is enough
    return int(one_of[rows[rows >= 0]].sum())


def succeeded(ledger: Ledger, record: RunRecord, chunks: Iterable[ChunkRecord]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Of each request of a run, whether it has an answer."""
    requests = requests_of(ledger, record)
    good = np.zeros(len(requests), bool)
    for chunk in chunks:
        if chunk.state == COLLECTED:
            found = found_of(ledger, chunk)["outcome"] == SUCCEEDED
            there = asked_in(ledger, chunk)[found]
            if chunk.run == record.id and chunk.head:  # asked in another way: its digests are others
                good |= np.isin(requests["position"], there["position"])
            else:
                good |= locate(requests["digest"], there["digest"]) >= 0
    return good


def kept(ledger: Ledger, chunks: Iterable[ChunkRecord], now: datetime) -> str:
    """Until when results that are not collected yet can be had, in days; empty where all are."""
    batches = [ledger.batch(chunk.id) for chunk in chunks if chunk.state in (SUBMITTED, ENDED)]
    ends = [end for batch in batches if batch and (end := kept_until(batch.created_at))]
    if not ends:
        return ""
    first = min(ends)
    if first < now:
        return f"results could be had until {first.date()}"
    return f"results can be had for {(first - now).days} days, until {first.date()}"


def files(ledger: Ledger, record: RunRecord, chunks: Iterable[ChunkRecord], runs: frozenset[str]) -> list[Path]:
    """The files of a run: its folder's, and those of its chunks. A chunk whose run is gone is whoever draws on it's."""
    mine = [chunk.id for chunk in chunks if chunk.run == record.id or chunk.run not in runs]
    return [*ledger.run_file(record.id, "rows.npy").parent.iterdir(), *chunk_files(ledger, mine)]


def chunk_files(ledger: Ledger, chunk_ids: Iterable[str]) -> list[Path]:
    """The files of chunks, there or not."""
    return [ledger.chunk_file(chunk_id, ending) for chunk_id in chunk_ids for ending in _CHUNK_FILES]


def size(path: Path) -> int:
    """Bytes of a file; none where it is not there (any more)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def in_bytes(count: float) -> str:
    """A number of bytes, as people read it.

    >>> in_bytes(900), in_bytes(12_345), in_bytes(3_400_000)
    ('900 B', '12 kB', '3.4 MB')
    """
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit and count < 10 else f"{count:.0f} {_UNITS[unit]}"
