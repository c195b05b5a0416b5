"""The files beside the database: where they are, what each is known again by, and what is said of a damaged one.

Checksums are noted as files are written and compared as they are read. Files of ledgers that are older than that have
none: what can be told from their length and form is told. How files are made again is not known here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfbatch.errors import LedgerDamaged
from dfbatch.ledger import files
from dfbatch.ledger.files import NoArray, Sum, private_folder, sum_of, translated, whole
from dfbatch.ledger.lock import Lock
from dfbatch.requests import REQUEST
from dfbatch.results import FOUND

if TYPE_CHECKING:
    import sqlite3
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    Array = np.ndarray[Any, Any]

ROW: Final = np.dtype([("request", "<i8"), ("content", "S16"), ("why", "u1")])  # one line of a run's rows file
_FORMS: Final = {"rows.npy": ROW, "requests.npy": REQUEST, "map.npy": REQUEST, "found.npy": FOUND}
_NO_FORM: Final = np.dtype([])
ALONE: Final = "it concerns this run alone: nothing is taken from it or sent again until that is settled"
GONE: Final = "is gone"


class Folder:
    """The files of a ledger's folder."""

    folder: Path
    _link: sqlite3.Connection
    _guard: threading.RLock
    _unnoted: dict[str, Sum]  # of files that are new: noted with the next transaction, which says what they are for
    _all: Callable[..., list[sqlite3.Row]]
    transaction: Callable[[], AbstractContextManager[None]]

    def run_file(self, run_id: str, name: str) -> Path:
        """A file of a run's own folder."""
        return private_folder(private_folder(self.folder / "runs") / run_id) / name

    def chunk_file(self, chunk_id: str, ending: str) -> Path:
        """A chunk's file: `map.npy`, `spool`, `jsonl` (raw results) or `found.npy`."""
        return private_folder(self.folder / "chunks") / f"{chunk_id}.{ending}"

    def lock(self, run_id: str) -> Lock:
        """The lock of a run: its holder, and nobody else, sends its chunks."""
        return Lock(self.run_file(run_id, "lock"))

    # --------------------------------------------------------------- writing

    @contextlib.contextmanager
    def whole(self, path: Path, *, durable: bool = True, instead: Callable[[], bool] = lambda: True) -> Iterator[Any]:
        """A binary file that appears under its name when it is complete, and is known again from then on."""
        with whole(path, durable=durable, instead=instead, before=lambda made: self._expect(path, made)) as file:
            yield file

    def write_array(self, path: Path, array: Array, *, durable: bool = True) -> None:
        """Keep an array of plain numbers and bytes."""
        with self.whole(path, durable=durable) as file:
            np.save(file, array, allow_pickle=False)

    def write_blocks(self, path: Path, blocks: Iterable[bytes]) -> None:
        """Keep blocks of any size, in order."""
        with self.whole(path) as file:
            file.writelines(blocks)

    def write_lines(self, path: Path, lines: Iterable[bytes]) -> None:
        """Keep one line each, in order."""
        self.write_blocks(path, (line + b"\n" for line in lines))

    def accept(self, path: Path) -> None:
        """Take a file as it is: one that was put together in another way, or what is left of a damaged one."""
        with translated(path):
            self._expect(path, sum_of(path))

    def know(self, other: Folder, paths: Iterable[Path]) -> None:
        """Know files of another ledger by what it knows them by: they are copied here."""
        with self.transaction():
            for path in paths:
                rows = [(other._name(path), *known) for known in other._sums(path)]
                self._link.executemany("INSERT OR IGNORE INTO files VALUES (?, ?, ?)", rows)

    def _expect(self, path: Path, made: Sum) -> None:
        """Note what a file will be known by, before it is there under its name.

        A file that is new is noted with the next transaction: until then nothing refers to it. Where one is written
        anew, the note has to be there first, and the older one stays: a kill leaves either version.
        """
        with self._guard:
            known = self._sums(path)
            if made in known:
                return
            self._unnoted[self._name(path)] = made
            if known and not self._link.in_transaction:
                with self.transaction():
                    pass

    def unlink(self, path: Path) -> None:
        """Remove a file; it need not be there."""
        with self._guard:
            self._unnoted.pop(self._name(path), None)
        path.unlink(missing_ok=True)

    def _note_sums(self) -> None:
        """Write what is not noted yet, as a part of a transaction."""
        for name, made in self._unnoted.items():
            self._link.execute("INSERT OR IGNORE INTO files VALUES (?, ?, ?)", (name, *made))

    def _forget_sums(self, prefix: str) -> None:
        """Drop what is known of all files whose names begin so, as a part of a transaction."""
        self._unnoted = {name: made for name, made in self._unnoted.items() if not name.startswith(prefix)}
        self._link.execute("DELETE FROM files WHERE name >= ?1 AND name < ?1 || char(1114111)", (prefix,))

    # --------------------------------------------------------------- reading

    def read_array(self, path: Path) -> Array:
        """An array as it was written; raises LedgerDamaged."""
        self.check(path)
        try:
            read = files.read_array(path)
        except NoArray:
            raise self.damaged(path, "does not hold what dfbatch writes") from None
        form = next((form for ending, form in _FORMS.items() if path.name.endswith(ending)), None)
        if read.ndim != 1 or (form is not None and not {*(read.dtype.names or ("",))} <= {*(form.names or ())}):
            raise self.damaged(path, "does not hold what dfbatch writes")
        return read

    def read_lines(self, path: Path) -> Iterator[bytes]:
        """The lines of a file without their ends; raises LedgerDamaged before the first of them."""
        self.check(path)
        return files.lines(path)

    def read_blocks(self, path: Path) -> Iterator[bytes]:
        """A file in blocks of whole lines; raises LedgerDamaged before the first of them."""
        self.check(path)
        return files.whole_lines(path)

    def check(self, path: Path) -> None:
        """Raise LedgerDamaged where a file is gone, or is not what was written."""
        known = self._sums(path)
        if wrong := self.wrong_length(path, known):
            raise self.damaged(path, wrong)
        with translated(path):
            if known and sum_of(path) not in known:
                raise self.damaged(path, "is not what was written: its checksum is another")

    def wrong_length(self, path: Path, known: set[Sum] | None = None) -> str:
        """What a look at the folder tells of a damaged file: that it is gone, or cut short; empty where it is whole."""
        with translated(path):
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                return GONE
        sizes = {each.size for each in (self._sums(path) if known is None else known)}
        if not sizes or size in sizes:
            return ""
        if size < max(sizes):
            return f"is cut short: {size:,} of {max(sizes):,} bytes"
        return f"is not what was written: {size:,} bytes instead of {max(sizes):,}"

    def is_noted(self, path: Path) -> bool:
        """Whether a file is known by its checksum: not in ledgers that are older than that."""
        return bool(self._sums(path))

    def is_lost(self, path: Path) -> bool:
        """Whether a file that need not be there was there once, and is not any more."""
        return not path.exists() and bool(self._sums(path))

    def damaged(self, path: Path, wrong: str) -> LedgerDamaged:
        """The error that says so, for whoever meets it."""
        name, run_id = self._name(path), self.owner(path)
        mend = f"dfbatch.repair({run_id!r}) mends what can be mended, for free, and says what is lost"
        if path.name in ("rows.npy", "requests.npy", "keys.jsonl"):
            mend = f"run the cell again: answers that are there are used again and cost nothing; {mend}"
        elif path.name.endswith(".jsonl"):
            mend = f"dfbatch.open({run_id!r}).wait() fetches it again for free, while the server keeps it (29 days)"
        return LedgerDamaged(
            f"run {run_id} is damaged: {name} {wrong}", ALONE, hint=mend, path=path, run_id=run_id, wrong=wrong
        )

    def owner(self, path: Path) -> str:
        """The id of the run that a file was made for."""
        kind, name, *_ = *path.relative_to(self.folder).parts, ""
        return name if kind == "runs" else name.partition("-")[0]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _sums(self, path: Path) -> set[Sum]:
        """All that a file may be known by."""
        name = self._name(path)
        found = {Sum(row["size"], row["crc"]) for row in self._all("SELECT * FROM files WHERE name = ?", name)}
        return found | ({self._unnoted[name]} if name in self._unnoted else set())
