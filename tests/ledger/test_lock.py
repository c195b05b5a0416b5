"""The lock of a run: one holder, and none once its process is gone, whatever children it left."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from dfbatch.ledger.lock import Lock

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

HOLD = """
import os, sys
from pathlib import Path
from dfbatch.ledger.lock import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.acquire()
if "fork" in sys.argv and not os.fork():
    os.close(1), os.close(2)
    sys.stdin.read()
    os._exit(0)
print("held", flush=True)
sys.stdin.read()
"""
FORK = """
import os, sys
from pathlib import Path
from dfbatch.ledger.lock import Lock
path = Path(sys.argv[1])
lock = Lock(path)
assert lock.acquire()
child = os.fork()
if not child:
    taken = lock.acquire()
    lock.release()
    del lock
    os._exit(int(taken))
_, status = os.waitpid(child, 0)
print("taken by the child:", os.waitstatus_to_exitcode(status), "free:", Lock(path).is_free(), flush=True)
sys.stdin.read()
"""


def test_there_is_one_holder_at_a_time(tmp_path: Path) -> None:
    one, two = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")

    assert one.is_free()
    assert one.acquire()
    assert one.acquire()
    assert not two.acquire()
    assert not one.is_free()
    assert not two.is_free()
    one.release()
    one.release()
    assert two.is_free()
    assert two.acquire()
    two.release()


def test_looking_at_a_lock_does_not_take_it_from_its_holder(tmp_path: Path) -> None:
    """POSIX drops all locks of a process on a file when it closes any handle of it: SQLite knows."""
    one = Lock(tmp_path / "lock")
    one.acquire()
    for _ in range(3):
        assert not Lock(tmp_path / "lock").is_free()
        assert not Lock(tmp_path / "lock").acquire()
    one.release()


def test_garbage_in_the_file_of_a_lock_keeps_nobody_out_and_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"no database at all, and long enough to be looked at" * 100)
    one = Lock(path)

    assert one.is_free()
    assert one.acquire()
    assert not Lock(path).acquire()
    one.release()


def test_a_lock_may_be_released_by_another_thread(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()

    assert lock.is_free()


@pytest.mark.parametrize("way", ["alone", "fork"])
def test_a_kill_frees_the_lock_also_where_a_forked_child_lives_on(
    way: str, tmp_path: Path, other: Callable[..., subprocess.Popen[str]]
) -> None:
    path = tmp_path / "lock"
    holder = other(HOLD, path, way)
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    assert not Lock(path).is_free()
    holder.kill()
    holder.wait(10)

    assert Lock(path).is_free()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_neither_has_the_lock_nor_frees_it(
    tmp_path: Path, other: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = other(FORK, tmp_path / "lock")
    assert holder.stdout

    assert holder.stdout.readline() == "taken by the child: 0 free: False\n"
    assert not Lock(tmp_path / "lock").is_free()
