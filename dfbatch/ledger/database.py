"""`ledger.sqlite` as a file: opened where it is sound, backed up, set aside where it is damaged. Tables are elsewhere.

What is no database is never written over, and no empty ledger takes the place of one that is gone: that would ask, and
pay for, everything again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sqlite3
import time
from typing import TYPE_CHECKING, Final

from dfbatch.errors import LedgerDamaged
from dfbatch.ledger.files import sync_folder, translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME: Final = "ledger.sqlite"
BACKUP: Final = "ledger.backup.sqlite"
_BESIDE: Final = ("", "-wal", "-shm", "-journal")  # what SQLite keeps with a database
_PATIENCE: Final = 120.0  # seconds to wait for another process's transaction
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LARGE: Final = 64_000_000  # bytes: copying and checking more takes a quarter of a second, and is done …
SELDOM: Final = 3_600.0  # … once in so many seconds
IN_DOUBT: Final = "the ledger was brought back from a backup: it may have been sent since"
FORGONE: Final = "the ledger was brought back from a backup: it may have been asked since, and billed"


def connect(folder: Path) -> sqlite3.Connection:
    """The database of a ledger, made where there is none; raises LedgerDamaged where it is not what it was."""
    place = folder / NAME
    with translated(place):
        if _size(place) == 0 and _had_runs(folder):
            raise damaged(folder, "is empty" if place.exists() else "is gone, and files of its runs are there")
        place.touch(mode=0o600)
    return sqlite3.connect(
        place, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=64
    )


def check(link: sqlite3.Connection, folder: Path, *, always: bool = False) -> None:
    """Look once at all pages, where that takes a moment: a page of zeros may show much later otherwise."""
    place = folder / NAME
    if _size(place) == 0 and _had_runs(folder):
        raise damaged(folder, "is empty" if place.exists() else "is gone")
    if (always or _size(place) <= LARGE) and not _is_sound(link):
        raise damaged(folder, "is damaged: some of its pages are not what was written")


def _is_sound(link: sqlite3.Connection) -> bool:
    (told,) = link.execute("PRAGMA quick_check(1)").fetchone()
    return bool(told == "ok")


@contextlib.contextmanager
def errors_told(folder: Path) -> Iterator[None]:
    """Turn what SQLite says into the ledger's errors."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError):
            raise  # ours
        if (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _DAMAGED:
            raise damaged(folder, f"cannot be read: {error}") from error
        code = errno.ENOSPC if "full" in str(error) else errno.EIO
        with translated(folder / NAME):
            raise OSError(code, str(error)) from error


def damaged(folder: Path, wrong: str) -> LedgerDamaged:
    """The error about the database itself."""
    backup = folder / BACKUP
    hint = (
        "dfbatch.repair() (`dfbatch repair` in a shell) puts the damaged file aside and brings the backup back"
        if _size(backup)
        else "dfbatch.repair() puts the damaged file aside and begins an empty ledger; dfbatch.adopt() then lays the"
        " batches of the last 29 days back onto their rows, for free"
    )
    kept = f"a backup of {_day(backup)} is beside it" if _size(backup) else "there is no backup of it"
    return LedgerDamaged(
        f"the ledger {folder / NAME} {wrong}",
        f"{kept}; nothing is sent, so that nothing is paid twice, and no file was changed",
        hint=hint,
        path=folder / NAME,
        wrong=wrong,
    )


def back_up(link: sqlite3.Connection, folder: Path, *, now: float) -> None:
    """Copy the database beside itself, whole or not at all; a large one not more than once an hour."""
    place = folder / BACKUP
    if _size(folder / NAME) > LARGE and place.exists() and 0 <= now - place.stat().st_mtime < SELDOM:
        return
    part = folder / f"{BACKUP}.{secrets.token_hex(4)}.part"
    try:
        with translated(part):
            os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with errors_told(folder), contextlib.closing(sqlite3.connect(part)) as copy:
            link.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            sound = _is_sound(copy)
        if sound:  # else the backup that is there is the better one
            _replace(part, place)
    finally:
        part.unlink(missing_ok=True)


def _replace(part: Path, place: Path) -> None:
    with translated(place):
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(place)
        sync_folder(place.parent)


def set_aside(folder: Path) -> Path | None:
    """Give a damaged database another name, and all that SQLite keeps with it; that name, None where it was gone."""
    place = folder / NAME
    aside = folder / f"{NAME}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    with translated(place):
        for ending in _BESIDE:
            with contextlib.suppress(FileNotFoundError):
                place.with_name(place.name + ending).rename(aside.with_name(aside.name + ending))
    return aside if aside.exists() else None


def bring_back(folder: Path) -> bool:
    """Put the backup in the place of the database, which is set aside; False where there is no backup that is sound.

    What had not been sent when it was made may have been sent since: that is in doubt, and looked for at the server.
    """
    backup = folder / BACKUP
    if not _size(backup):
        return False
    part = folder / f"{NAME}.{secrets.token_hex(4)}.part"
    try:
        with translated(part):
            shutil.copyfile(backup, part)
            part.chmod(0o600)
        try:
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as link:
                if not _is_sound(link):
                    return False
                _doubt_unsent(link, backup.stat().st_mtime)
        except sqlite3.DatabaseError:
            return False
        _replace(part, folder / NAME)
    finally:
        for ending in _BESIDE:
            part.with_name(part.name + ending).unlink(missing_ok=True)
    return True


def begin_anew(folder: Path) -> None:
    """An empty database, where the files of runs that nobody knows any more are left."""
    with translated(folder / NAME), contextlib.closing(sqlite3.connect(folder / NAME)) as link:
        (folder / NAME).chmod(0o600)
        link.execute("PRAGMA journal_mode=WAL")


def _doubt_unsent(link: sqlite3.Connection, since: float) -> None:
    """What goes through `/v1/messages` cannot be found at the server: it is let go, and never asked by itself."""
    direct = "kind IN ('now', 'preflight')"
    link.execute(f"UPDATE chunks SET state = 'forgone', error = ? WHERE state = 'planned' AND {direct}", (FORGONE,))  # noqa: S608 - our words
    link.execute(
        "UPDATE chunks SET state = 'orphaned', orphaned = 0, intended = max(0, ?1), error = ?2"
        " WHERE state IN ('planned', 'rejected')",
        (since, IN_DOUBT),
    )


def _had_runs(folder: Path) -> bool:
    """Whether a ledger was here: it left files."""
    if _size(folder / BACKUP):
        return True
    return any(place.is_dir() and any(place.iterdir()) for place in (folder / "runs", folder / "chunks"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _day(path: Path) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
