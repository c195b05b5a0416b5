"""How a batch ends: which answers are delivered, which requests were canceled or expired, and the file of results.

Not here: when it ends (life.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dfbatch.emulator import lines
from dfbatch.emulator.envelope import ENTRY
from dfbatch.emulator.folder import private_open

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from dfbatch.emulator.folder import BatchFolder
    from dfbatch.emulator.schedule import Timetable
    from dfbatch.emulator.store import Batch


@dataclass(frozen=True, slots=True)
class Ending:
    """For each request, by its place in answering order: delivered, canceled, or neither, which is expired."""

    records: NDArray[np.void]
    delivered: NDArray[np.bool_]
    canceled: NDArray[np.bool_]

    @classmethod
    def of(cls, batch: Batch, table: Timetable, answered: NDArray[np.void]) -> Ending:
        """What the ending of `batch` delivers, by its timetable and the records of its lines."""
        started = np.ones(batch.total, np.bool_)
        if batch.cancel_at is not None:
            started = table.starts <= batch.cancel_at - batch.created_at
        in_time = table.finishes <= batch.expires_at - batch.created_at
        has_line = np.arange(batch.total) < len(answered)
        canceled = ~(started & has_line) if batch.cancel_at is not None else np.zeros(batch.total, np.bool_)
        return cls(answered, started & in_time & has_line, canceled)

    @property
    def paid(self) -> NDArray[np.void]:
        """The records of delivered lines."""
        return self.records[self.delivered[: len(self.records)]]

    def count(self, batch: Batch) -> None:
        """Into the batch: its final counts."""
        batch.succeeded = int(self.paid["succeeded"].sum())
        batch.errored = len(self.paid) - batch.succeeded
        batch.canceled = int(self.canceled.sum())
        batch.expired = batch.total - batch.succeeded - batch.errored - batch.canceled


def write_results(folder: BatchFolder, ending: Ending, *, order: NDArray[np.int64], seed: tuple[int, ...]) -> None:
    """The file that is streamed: the lines as answered if all are delivered, else a new file, shuffled again."""
    if bool(ending.delivered.all()):
        folder.lines.replace(folder.results)
        return
    entries = np.fromfile(folder.index, ENTRY)
    draft = folder.results.with_suffix(".part")
    private_open(folder.lines, "ab").close()  # a batch canceled at once has none
    with private_open(draft) as out, folder.lines.open("rb") as made:
        for position in np.random.default_rng((*seed, 2)).permutation(len(order)).tolist():
            if ending.delivered[position]:
                record = ending.records[position]
                made.seek(int(record["offset"]))
                out.write(made.read(int(record["length"])))
            else:
                custom_id = bytes(entries[order[position]]["custom_id"]).decode()
                out.write(lines.plain(custom_id, "canceled" if ending.canceled[position] else "expired"))
    draft.replace(folder.results)


def write_billed(path: Path, ending: Ending) -> None:
    """The digests of billed requests, for `/_emulator/usage`."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    paid = ending.paid
    with private_open(path) as out:
        out.write(paid[paid["billed"]]["digest"].tobytes())
