"""Where the emulator's files lie, private to the user: one folder for state, one below it per batch.

Not here: what is in SQLite (store.py) or in the files (envelope.py, records.py).
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from pathlib import Path


class Folder:
    """A data folder, made private (0700) on first use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for path in (root, self.incoming, self.batches, self.billed):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700)

    @property
    def incoming(self) -> Path:
        """Bodies not yet accepted; emptied at every start."""
        return self.root / "incoming"

    @property
    def batches(self) -> Path:
        """A folder for each batch."""
        return self.root / "batches"

    @property
    def billed(self) -> Path:
        """Digests of what was billed, 32 bytes each: a file per batch, one per workspace for direct calls."""
        return self.root / "billed"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "state.sqlite"

    def batch(self, batch_id: str) -> BatchFolder:
        """The files of one batch."""
        return BatchFolder(self.batches / batch_id)

    def sweep(self, *, keep: set[str], live: set[str]) -> None:
        """Remove what a kill left behind: half received bodies, and files that an ended batch needs no more."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir(mode=0o700)
        for path in self.batches.iterdir():
            if path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)
            elif path.name not in live:
                BatchFolder(path).shrink()


class BatchFolder:
    """The files of one batch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.body = root / "body.json"  # as received
        self.index = root / "index.bin"  # envelope.ENTRY: where each request's params lie in the body
        self.lines = root / "lines.part"  # result lines as they are answered, in answering order
        self.records = root / "records.bin"  # records.RECORD: one fixed-size entry for each of those lines
        self.results = root / "results.jsonl"  # what the results endpoint streams, once ended

    def shrink(self) -> None:
        """Keep the results alone."""
        for path in (self.body, self.index, self.lines, self.records):
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """The folder with all its files."""
        shutil.rmtree(self.root, ignore_errors=True)


def private_open(path: Path, mode: str = "wb") -> BinaryIO:
    """Open for writing (`wb` anew, `ab` at the end), readable by the owner alone (0600)."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if mode == "wb" else os.O_APPEND) | getattr(os, "O_BINARY", 0)
    return cast("BinaryIO", os.fdopen(os.open(path, flags, 0o600), mode))
