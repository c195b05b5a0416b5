"""A run as one file: a zip of a small ledger that holds nothing else. Reading it makes a ledger of its own.

What is read came from somewhere: only names that `export` writes are taken, sizes are bounded before anything is
written, and nothing is held whole in memory.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import weakref
import zipfile
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from dfbatch.errors import LedgerDamaged, LedgerError, NoSuchRun
from dfbatch.ledger import Ledger
from dfbatch.ledger.files import private_folder, translated
from dfbatch.run.spools import is_spent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dfbatch.ledger.records import ChunkRecord, RunRecord

_ENDINGS: Final = ("map.npy", "spool", "jsonl", "found.npy")
_OF_RUNS: Final = re.compile(r"rows\.npy|requests\.npy|keys\.jsonl|outlook|budget|(wrote|before)-[0-9a-f]{16}\.npy")
_OF_CHUNKS: Final = re.compile(r"[0-9a-f]{8}-[0-9]{1,9}-d[0-9a-f]{9}\.(map\.npy|spool|jsonl|found\.npy)")
_RUN: Final = re.compile(r"[0-9a-f]{8}")
_DATABASE: Final = "ledger.sqlite"
RATIO: Final = 100  # bytes that one byte of such a file may unpack to: JSON of answers comes to 5 to 20 …
SMALL: Final = 256_000_000  # … and as many bytes as that, however small the file is
_BLOCK: Final = 1 << 20
_WRITERS_HINT: Final = "run.export(path) writes such files"
_NO_ZIP: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError, ValueError)


def export(ledger: Ledger, record: RunRecord, path: Path) -> Path:
    """Write the run to `path`, whole or not at all; raises LedgerDamaged where something of it is not as it was."""
    with tempfile.TemporaryDirectory() as folder:
        chunks = ledger.chunks(record.id)
        files = list(_files(ledger, record, chunks))
        for file in files:
            ledger.check(file)
        small = Ledger(Path(folder))
        small.begin(record, chunks, (), shared=record.shared, unless_changed=0)
        for chunk in chunks:
            if batch := ledger.batch(chunk.id):
                small.keep(batch)
        small.know(ledger, files)
        small.say(record.id, ledger.run(record.id).status)
        small.close()
        with _written(path) as out:
            out.write(Path(folder) / _DATABASE, _DATABASE)
            for file in files:
                out.write(file, file.relative_to(ledger.folder).as_posix())
    return path


def _files(ledger: Ledger, record: RunRecord, chunks: list[ChunkRecord]) -> Iterator[Path]:
    """The files of a run; what was there and is not any more is among them."""
    folder = ledger.run_file(record.id, "rows.npy").parent
    yield from (file for file in sorted(folder.iterdir()) if _OF_RUNS.fullmatch(file.name))
    for chunk in chunks:
        for ending in _ENDINGS:
            file = ledger.chunk_file(chunk.id, ending)
            if file.exists() or (ledger.is_lost(file) and not (ending == "spool" and is_spent(ledger, chunk))):
                yield file


@contextlib.contextmanager
def _written(path: Path) -> Iterator[zipfile.ZipFile]:
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as out:
            yield out
        part.replace(path)
    except LedgerError:
        raise
    except OSError as error:
        raise LedgerError(
            f"cannot write {path}: {error.strerror or error}", "the run itself is intact", hint="export to another path"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def unpacked(path: Path) -> tuple[Ledger, str]:
    """A ledger of its own for an exported run, and the run's id; the folder it is in goes with the ledger."""
    if not zipfile.is_zipfile(path):
        raise NoSuchRun(
            f"{path.name} is not an exported run, or only a part of one",
            "nothing was read from it",
            hint=f"{_WRITERS_HINT}; where it was copied or downloaded, do that once more",
        )
    folder = private_folder(Path(tempfile.mkdtemp(prefix="dfbatch-")))
    try:
        ledger, run_id = _unpacked(path, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(ledger, shutil.rmtree, folder, ignore_errors=True)
    return ledger, run_id


def _unpacked(path: Path, folder: Path) -> tuple[Ledger, str]:
    try:
        with zipfile.ZipFile(path) as held:
            members = _members(path, held)
            for member in members:
                with held.open(member) as packed:
                    _unpack(packed, folder / member.filename)
    except _NO_ZIP as error:
        if isinstance(error, LedgerError | NoSuchRun):
            raise
        raise _damaged(path, str(error)) from error
    try:
        ledger = Ledger(folder)
    except LedgerDamaged as damage:
        raise _damaged(path, damage.wrong) from damage
    records = [record for record in ledger.runs() if (folder / "runs" / record.id).is_dir()]
    if not records:
        ledger.close()
        raise NoSuchRun(f"{path.name} holds no run", hint=_WRITERS_HINT)
    return ledger, records[0].id


def _members(path: Path, held: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """What such a file may hold; raises where it holds anything else, anything twice, or too much."""
    members = held.infolist()
    names = [member.filename for member in members]
    strange = next((name for name in names if not _is_ours(name)), None)
    runs = {name.split("/")[1] for name in names if name.startswith("runs/")}
    if strange is not None or len({*names}) < len(names) or len(runs) > 1:
        what = f"it holds {strange!r}" if strange is not None else "it holds more than one run"
        raise NoSuchRun(f"{path.name} is not an exported run: {what}", "nothing was unpacked", hint=_WRITERS_HINT)
    if _DATABASE not in names or not runs:
        raise NoSuchRun(f"{path.name} holds no run", hint=_WRITERS_HINT)
    most, size = max(SMALL, RATIO * path.stat().st_size), sum(member.file_size for member in members)
    if size > most:
        raise NoSuchRun(
            f"{path.name} is not an exported run: it would unpack to {size:,} bytes, and {most:,} are the most that one"
            " of its size holds",
            "nothing was unpacked",
            hint=_WRITERS_HINT,
        )
    return members


def _is_ours(name: str) -> bool:
    """Whether `export` writes a file of this name."""
    match name.split("/"):
        case [database]:
            return database == _DATABASE
        case ["runs", run_id, file]:
            return bool(_RUN.fullmatch(run_id) and _OF_RUNS.fullmatch(file))
        case ["chunks", file]:
            return bool(_OF_CHUNKS.fullmatch(file))
    return False


def _unpack(packed: IO[bytes], target: Path) -> None:
    """One file, a block at a time: never more than it says it is, which is bounded."""
    private_folder(target.parent)
    with translated(target), os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        while block := packed.read(_BLOCK):
            file.write(block)


def _damaged(path: Path, why: str) -> LedgerDamaged:
    return LedgerDamaged(
        f"the exported run {path.name} is damaged: {why or 'it cannot be unpacked'}",
        "nothing of it was kept; the run in the ledger that it was exported from is another copy",
        hint="copy or download the file once more, or export the run again",
        path=path,
        wrong=why,
    )
