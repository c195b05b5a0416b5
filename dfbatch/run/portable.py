"""A run as one file: a zip of a small ledger that holds nothing else. Reading it makes a ledger of its own."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from dfbatch.errors import LedgerError, NoSuchRun
from dfbatch.ledger import Ledger
from dfbatch.ledger.files import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dfbatch.ledger.records import RunRecord

_ENDINGS = ("map.npy", "spool", "jsonl", "found.npy")


def export(ledger: Ledger, record: RunRecord, path: Path) -> Path:
    """Write the run to `path`."""
    with tempfile.TemporaryDirectory() as folder:
        small = Ledger(Path(folder))
        chunks = ledger.chunks(record.id)
        small.begin(record, chunks, (), shared=record.shared, unless_changed=0)
        for chunk in chunks:
            if batch := ledger.batch(chunk.id):
                small.keep(batch)
        small.say(record.id, ledger.run(record.id).status)
        small.close()
        with _written(path) as out:
            out.write(Path(folder) / "ledger.sqlite", "ledger.sqlite")
            for file in sorted(ledger.run_file(record.id, "rows.npy").parent.iterdir()):
                if file.name != "lock":
                    out.write(file, f"runs/{record.id}/{file.name}")
            for chunk in chunks:
                for ending in _ENDINGS:
                    file = ledger.chunk_file(chunk.id, ending)
                    if file.exists():
                        out.write(file, f"chunks/{chunk.id}.{ending}")
    return path


@contextlib.contextmanager
def _written(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            yield out
    except OSError as error:
        raise LedgerError(
            f"cannot write {path}: {error.strerror or error}", "the run itself is intact", hint="export to another path"
        ) from error


def unpacked(path: Path) -> tuple[Ledger, str]:
    """A ledger of its own for an exported run, and the run's id; the folder it is in goes with the ledger."""
    if not zipfile.is_zipfile(path):
        raise NoSuchRun(f"{path.name} is not an exported run", hint="run.export(path) writes such files")
    folder = private_folder(Path(tempfile.mkdtemp(prefix="dfbatch-")))
    try:
        ledger, run_id = _unpacked(path, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(ledger, shutil.rmtree, folder, ignore_errors=True)
    return ledger, run_id


def _unpacked(path: Path, folder: Path) -> tuple[Ledger, str]:
    with zipfile.ZipFile(path) as held:
        for name in held.namelist():
            target = (folder / name).resolve()
            if not target.is_relative_to(folder.resolve()):
                raise NoSuchRun(f"{path.name} is not a run: it holds a file outside of itself")
            private_folder(target.parent)
            target.write_bytes(held.read(name))
    ledger = Ledger(folder)
    records = [record for record in ledger.runs() if (folder / "runs" / record.id).is_dir()]
    if not records:
        raise NoSuchRun(f"{path.name} holds no run", hint="run.export(path) writes such files")
    return ledger, records[0].id
