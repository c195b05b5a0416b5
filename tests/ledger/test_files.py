"""Files of the ledger: under their name only when whole, the user's alone, and an error says which and why."""

from __future__ import annotations

import errno
import os
import signal
import stat
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.errors import DiskFull, LedgerError, Unauthorized, Unreachable
from dfbatch.ledger import files
from dfbatch.ledger.files import lines, private_folder, read_array, translated, whole, write_array, write_lines

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIE = """
import os, signal, sys
from pathlib import Path
from dfbatch.ledger.files import whole
with whole(Path(sys.argv[1])) as file:
    file.write(b"half" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_appears_whole_under_its_name_and_for_the_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with whole(path) as file:
        file.write(b"content")
        assert not path.exists()

    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path) == ["f"]


def half() -> Iterator[bytes]:
    yield b"half"
    raise ValueError("stop")


def test_a_file_that_fails_leaves_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="stop"), whole(path) as file:
        file.writelines(half())

    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["f"]


def test_a_kill_in_the_middle_leaves_no_complete_name(
    tmp_path: Path, other: Callable[..., subprocess.Popen[str]]
) -> None:
    process = other(DIE, tmp_path / "f")
    assert process.wait(60) == -signal.SIGKILL

    assert not (tmp_path / "f").exists()
    assert all(name.endswith(".part") for name in names(tmp_path))


def test_the_last_of_two_writers_wins_and_neither_breaks_the_other(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with whole(path) as one:
        one.write(b"one")
        with whole(path) as two:
            two.write(b"two")
        assert path.read_bytes() == b"two"

    assert path.read_bytes() == b"one"
    assert names(tmp_path) == ["f"]


def test_folders_are_the_users_alone(tmp_path: Path) -> None:
    assert stat.S_IMODE(private_folder(tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    array = np.array([(1, b"x"), (2, b"y")], dtype=[("at", "<i8"), ("digest", "S16")])
    write_array(tmp_path / "a.npy", array)

    assert (read_array(tmp_path / "a.npy") == array).all()


def test_no_array_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([object()]), allow_pickle=True)

    with pytest.raises(ValueError, match="allow_pickle"):
        read_array(tmp_path / "a.npy")


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line)), st.integers(1, 9))
def test_lines_come_back_as_they_were_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, kept: list[bytes], block: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "l"
    write_lines(path, kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_READ", block)
        assert list(lines(path)) == kept


def test_a_last_line_without_its_end_comes_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"one\ntwo")

    assert list(lines(tmp_path / "l")) == [b"one", b"two"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_apart(code: int, tmp_path: Path) -> None:
    with pytest.raises(DiskFull) as caught, translated(tmp_path / "f"):
        raise OSError(code, os.strerror(code))

    assert str(caught.value) == (
        f"no space left on the disk of {tmp_path}\n"
        "what was on disk before is intact\n"
        "Hint: free some space, or point DFBATCH_HOME at a larger disk"
    )


def test_other_errors_of_the_system_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught, translated(tmp_path / "f"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    assert not isinstance(caught.value, DiskFull)
    assert str(caught.value) == (
        f"the ledger cannot use {tmp_path}/f: Permission denied\n"
        "nothing is sent without a ledger: it is what keeps answers from being paid twice\n"
        "Hint: make the folder writable, or set DFBATCH_HOME to one that is"
    )


@pytest.mark.parametrize("error", [Unauthorized("401"), Unreachable("no route"), DiskFull("full")])
def test_errors_of_ours_pass_also_where_they_are_oserrors(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught, translated(tmp_path / "f"):
        raise error

    assert caught.value is error
