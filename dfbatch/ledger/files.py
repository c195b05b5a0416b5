"""Private files of the ledger: whole or not there, synced with their folder. What they mean is not known here.

A file is known again by its length and its checksum (CRC-32 finds every burst of 32 bits, and reads 3 GB a second).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tokenize
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dfbatch.errors import DfbatchError, DiskFull, LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_READ = 1 << 20
# What numpy says of a file that holds no array it wrote, or too little of one.
_NO_ARRAY = (ValueError, EOFError, TypeError, KeyError, MemoryError, OverflowError, SyntaxError, RecursionError)
_READS = 3  # tries: up to Python 3.11.7 ast.parse, which reads headers, can stumble over itself (python/cpython#106905)


class Sum(NamedTuple):
    """What a file is known again by."""

    size: int
    crc: int


class NoArray(ValueError):
    """A file that holds no array of plain numbers and bytes; its text says what is wrong with it."""


def private_folder(path: Path) -> Path:
    """Make a folder that only the user can enter; its name is on disk before anything in it is."""
    with translated(path):
        if path.is_dir():
            return path
        missing = [made for made in (path, *path.parents) if not made.exists()]
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for made in reversed(missing):
            with contextlib.suppress(PermissionError):  # a folder may be written to and not read
                sync_folder(made.parent)
    return path


def closed(folder: Path) -> LedgerError:
    """What to raise where a ledger is used after its end."""
    return LedgerError(
        f"the ledger at {folder} is closed",
        "what the block of an emulator held is gone with it",
        hint="use runs, answers and costs inside of the block: with Emulator(): …",
    )


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the operating system says about this place into the ledger's errors."""
    try:
        yield
    except OSError as error:
        if isinstance(error, DfbatchError):  # some of ours are OSErrors too: PermissionError, ConnectionError
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space left on the disk of {path.parent}",
                "what was on disk before is intact",
                hint="free some space, or point DFBATCH_HOME at a larger disk",
            ) from error
        raise LedgerError(
            f"the ledger cannot use {path}: {error.strerror or error}",
            "nothing is sent without a ledger: it is what keeps answers from being paid twice",
            hint="make the folder writable, or set DFBATCH_HOME to one that is",
        ) from error


class _Summed:
    """A file being written, and the checksum of what was."""

    def __init__(self, file: Any) -> None:
        self._file, self.size, self.crc = file, 0, 0

    def write(self, block: Any) -> int:
        """One more block."""
        self.crc = zlib.crc32(block, self.crc)
        count: int = self._file.write(block)
        self.size += count
        return count

    def flush(self) -> None:
        """Hand it over to the system."""
        self._file.flush()

    def writelines(self, blocks: Iterable[bytes]) -> None:
        """Many more."""
        for block in blocks:
            self.write(block)


@contextlib.contextmanager
def whole(
    path: Path,
    *,
    durable: bool = True,
    instead: Callable[[], bool] = lambda: True,
    before: Callable[[Sum], None] = lambda _: None,
) -> Iterator[Any]:
    """A binary file that appears under its name only when it is complete and synced; removed where that fails.

    Runs and processes that write the same file at one time do not meet. `instead` is asked at the end whether it
    may take the name, and `before` is called with its checksum right before it does. What is not `durable` may be lost
    with the machine's power, never in part.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with translated(path):
            with open(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:  # noqa: PTH123
                summed = _Summed(file)
                yield summed
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            if not instead():
                part.unlink()
                return
            before(Sum(summed.size, summed.crc))
            part.replace(path)
            if durable:
                sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make names in this folder durable; Windows has no such call and does it by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sum_of(path: Path) -> Sum:
    """The length and the checksum of a file as it is now."""
    size = crc = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_READ):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return Sum(size, crc)


def write_array(path: Path, array: np.ndarray[Any, Any], *, durable: bool = True) -> None:
    """Keep an array of plain numbers and bytes."""
    with whole(path, durable=durable) as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path) -> np.ndarray[Any, Any]:
    """An array as it was written; never a pickle, whatever is in the file. Raises NoArray."""
    with translated(path):
        for _ in range(_READS):
            with contextlib.suppress(SystemError):
                return _loaded(path)
        return _loaded(path)


def _loaded(path: Path) -> np.ndarray[Any, Any]:
    with path.open("rb") as file:
        try:  # not np.load, which would also take a zip file or a pickle
            loaded: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
        except (*_NO_ARRAY, tokenize.TokenError) as error:
            raise NoArray(str(error)) from error
    return loaded


def write_blocks(path: Path, blocks: Iterable[bytes]) -> None:
    """Blocks of any size, in order."""
    with whole(path) as file:
        file.writelines(blocks)


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """One line each, in order."""
    with whole(path) as file:
        file.writelines(line + b"\n" for line in lines)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file without their ends, held a block at a time; a line without an end comes as it is."""
    for block in whole_lines(path):
        yield from block.split(b"\n")


def whole_lines(path: Path) -> Iterator[bytes]:
    """A file in blocks of whole lines, each block without its last line's end: no line is in two of them."""
    rest = b""
    with translated(path), path.open("rb", buffering=0) as file:
        while block := file.read(_READ):
            end = block.rfind(b"\n")
            if end >= 0:
                yield rest + block[:end]
                rest = b""
            rest += block[end + 1 :]
    if rest:
        yield rest
