"""Runs, chunks and batches: every change is one transaction, and nobody reads half of it."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.errors import LedgerDamaged, LedgerError, NoSuchRun
from dfbatch.kinds import TEXT, Kind
from dfbatch.ledger import Ledger, home

from .conftest import batch_record, chunk_record, run_record

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, "tests")
from dfbatch.ledger import Ledger
from ledger.conftest import chunk_record, run_record
ledger = Ledger(Path(sys.argv[1]))
sys.stdin.readline()
for at in range(40):
    run_id = f"{sys.argv[2]}{at:06}"
    assert ledger.begin(run_record(run_id, shared=run_id), [chunk_record(run_id, shared=run_id)], (), unless_changed=0)
    ledger.happen(f"{run_id}-0", "send")
ledger.close()
"""
DIE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, "tests")
from dfbatch.ledger import Ledger
from ledger.conftest import run_record
ledger = Ledger(Path(sys.argv[1]))
ledger.begin(run_record("aaaa1111"), (), (), unless_changed=0)
with ledger.transaction():
    ledger._link.execute("UPDATE runs SET status = 'half'")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_home_is_the_named_folder_else_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFBATCH_HOME", "~/x")
    assert home() == Path.home() / "x"
    monkeypatch.delenv("DFBATCH_HOME")
    assert home().name == "dfbatch"


def test_a_run_comes_back_as_it_was_written(ledger: Ledger) -> None:
    record = run_record(name="größer 🙂")
    assert ledger.begin(record, [chunk_record()], (), unless_changed=0)

    assert ledger.run("aaaa1111") == ledger.run("aaaa") == record
    assert ledger.chunks("aaaa1111") == [chunk_record(changed=5.0, seq=1)]


def test_a_run_that_is_not_there_is_named_with_the_newest_that_are(ledger: Ledger) -> None:
    for at, run_id in enumerate(["aaaa1111", "aaaa2222"]):
        ledger.begin(run_record(run_id, created=float(at)), (), (), unless_changed=0)

    for wrong in ("bbbb", "aaaa", "aa", "%", "____1111"):
        with pytest.raises(NoSuchRun) as caught:
            ledger.run(wrong)
        assert str(caught.value) == (
            f"no run {wrong!r} in the ledger\nnewest runs: aaaa2222, aaaa1111\nHint: dfbatch.runs() lists them all"
        )


def test_claims_are_refused_where_others_came_since_they_were_read(ledger: Ledger) -> None:
    seen = ledger.claims_version("s1")
    assert ledger.begin(run_record("aaaa1111"), [chunk_record("aaaa1111")], (), unless_changed=seen)

    assert not ledger.begin(run_record("bbbb1111"), [chunk_record("bbbb1111")], (), unless_changed=seen)
    assert [run.id for run in ledger.runs()] == ["aaaa1111"]
    assert ledger.begin(run_record("bbbb1111"), (), ["aaaa1111-0"], unless_changed=ledger.claims_version("s1"))
    assert [chunk.id for chunk in ledger.chunks("bbbb1111")] == ["aaaa1111-0"]


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    row: dict[str, Any] = {"run": "x", "name": "n", "kind": b"", "at": 1.0}

    def write_twice() -> None:
        with ledger.transaction():
            ledger._insert("written", row)
            ledger._insert("written", row)

    with pytest.raises(sqlite3.IntegrityError):
        write_twice()

    assert ledger._all("SELECT * FROM written") == []
    ledger.begin(run_record(), (), (), unless_changed=0)
    assert len(ledger.runs()) == 1


def test_a_begin_that_fails_half_way_leaves_neither_run_nor_chunks(ledger: Ledger) -> None:
    twice = [chunk_record(), chunk_record()]
    with pytest.raises(sqlite3.IntegrityError):
        ledger.begin(run_record(), twice, (), unless_changed=0)

    assert (ledger.runs(), ledger.claims("s1")) == ([], [])


def test_a_commit_that_fails_leaves_no_transaction_open(ledger: Ledger) -> None:
    """A deferred constraint is judged at the commit: what fails there is rolled back, and the ledger goes on."""
    ledger._link.execute("CREATE TABLE strict (run TEXT REFERENCES runs(id) DEFERRABLE INITIALLY DEFERRED)")
    ledger._link.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError), ledger.transaction():
        ledger._link.execute("INSERT INTO strict VALUES ('nobody')")

    assert not ledger._link.in_transaction
    ledger.begin(run_record(), (), (), unless_changed=0)
    assert len(ledger.runs()) == 1


def test_one_of_many_threads_gets_to_send_a_chunk(ledger: Ledger) -> None:
    ledger.begin(run_record(), [chunk_record()], (), unless_changed=0)
    won: list[bool] = []

    def try_it() -> None:
        won.append(ledger.happen("aaaa1111-0", "send") == "post")

    threads = [threading.Thread(target=try_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won) == [False] * 7 + [True]


def test_an_accepted_chunk_has_its_batch_and_its_state_at_once(ledger: Ledger) -> None:
    ledger.begin(run_record(), [chunk_record(error="an earlier try")], (), unless_changed=0)
    ledger.happen("aaaa1111-0", "send")
    ledger.happen("aaaa1111-0", "accepted", batch=batch_record("aaaa1111-0"))
    ledger.update_batch("aaaa1111-0", status="ended", ended_at="then")

    assert ledger.batch("aaaa1111-0") == batch_record("aaaa1111-0", status="ended", ended_at="then")
    assert (ledger.chunk("aaaa1111-0").state, ledger.chunk("aaaa1111-0").error) == ("submitted", "")


def test_forgetting_a_run_spares_chunks_that_another_draws_on(ledger: Ledger) -> None:
    chunks = [chunk_record(ordinal=0), chunk_record(ordinal=1)]
    ledger.begin(run_record("aaaa1111"), chunks, (), unless_changed=0)
    ledger.begin(run_record("bbbb1111"), (), ["aaaa1111-1"], unless_changed=ledger.claims_version("s1"))
    ledger.wrote("aaaa1111", "answer", TEXT)

    assert ledger.forget("aaaa1111") == ["aaaa1111-0"]
    assert [chunk.id for chunk in ledger.chunks("bbbb1111")] == ["aaaa1111-1"]
    assert ledger.writers("answer") == []
    assert ledger.forget("bbbb1111") == ["aaaa1111-1"]
    assert (ledger.runs(), ledger.claims("s1")) == ([], [])


def test_who_wrote_a_column_is_known_newest_first(ledger: Ledger) -> None:
    kind = Kind("category", categories=("a", "b"))
    for run_id in ("aaaa1111", "bbbb1111"):
        ledger.begin(run_record(run_id), (), (), unless_changed=0)
        ledger.wrote(run_id, "topic", kind)

    assert [(record.id, found) for record, found in ledger.writers("topic")] == [
        ("bbbb1111", kind),
        ("aaaa1111", kind),
    ]


def test_the_folder_is_the_users_alone(ledger: Ledger) -> None:
    ledger.begin(run_record(), [chunk_record()], (), unless_changed=0)
    ledger.run_file("aaaa1111", "rows.npy")
    ledger.chunk_file("aaaa1111-0", "spool")
    lock = ledger.lock("aaaa1111")
    lock.acquire()
    kept = [ledger.folder, *ledger.folder.rglob("*")]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in kept}
    lock.release()

    assert modes.pop("ledger") == modes.pop("runs") == modes.pop("chunks") == modes.pop("aaaa1111") == 0o700
    assert set(modes) >= {"ledger.sqlite", "ledger.sqlite-wal", "lock"}
    assert set(modes.values()) == {0o600}


def test_two_processes_write_at_once_and_nothing_is_lost(
    tmp_path: Path, other: Callable[..., subprocess.Popen[str]]
) -> None:
    others = [other(WRITE, tmp_path, letter * 4) for letter in "abc"]
    for process in others:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=120) for process in others]

    assert told == [("", "")] * 3
    ledger = Ledger(tmp_path)
    assert len(ledger.runs()) == 120
    assert {chunk.state for run in ledger.runs() for chunk in ledger.chunks(run.id)} == {"submitting"}
    ledger.close()


def test_a_kill_within_a_transaction_leaves_what_was_before(
    tmp_path: Path, other: Callable[..., subprocess.Popen[str]]
) -> None:
    assert other(DIE, tmp_path).communicate(timeout=60) == ("", "")

    ledger = Ledger(tmp_path)
    assert [run.status for run in ledger.runs()] == ["planned"]
    ledger.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerError) as caught:
        Ledger(tmp_path / "file" / "ledger")

    assert str(caught.value) == (
        f"the ledger cannot use {tmp_path}/file/ledger: Not a directory\n"
        "nothing is sent without a ledger: it is what keeps answers from being paid twice\n"
        "Hint: make the folder writable, or set DFBATCH_HOME to one that is"
    )


def test_a_file_that_is_no_ledger_is_named_and_stays_as_it_is(tmp_path: Path) -> None:
    other = b"something else, and long enough to be looked at" * 100
    (tmp_path / "ledger.sqlite").write_bytes(other)
    with pytest.raises(LedgerDamaged) as caught:
        Ledger(tmp_path)

    assert (tmp_path / "ledger.sqlite").read_bytes() == other
    assert str(caught.value) == (
        f"the ledger {tmp_path}/ledger.sqlite cannot be read: file is not a database\n"
        "there is no backup of it; nothing is sent, so that nothing is paid twice, and no file was changed\n"
        "Hint: dfbatch.repair() puts the damaged file aside and begins an empty ledger; dfbatch.adopt() then lays the"
        " batches of the last 29 days back onto their rows, for free"
    )
