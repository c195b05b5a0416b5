"""The ledger's tables come to be in one step that is whole or not there, whoever else is at it."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from dfbatch.errors import LedgerError
from dfbatch.ledger import Ledger, migrations
from dfbatch.ledger.migrations import STEPS, migrate

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

OPEN = """
import sys
from pathlib import Path
from dfbatch.ledger import Ledger
sys.stdin.readline()
ledger = Ledger(Path(sys.argv[1]))
print(len(ledger.runs()), flush=True)
ledger.close()
"""


def tables(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as link:
        return {name for (name,) in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def version(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as link:
        return int(link.execute("PRAGMA user_version").fetchone()[0])


def test_a_fresh_ledger_has_all_tables_and_the_newest_version(tmp_path: Path) -> None:
    Ledger(tmp_path).close()

    assert {"runs", "chunks", "batches", "uses", "written"} <= tables(tmp_path)
    assert version(tmp_path) == len(STEPS)


def test_opening_a_ledger_again_changes_nothing(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    before = (tmp_path / "ledger.sqlite").read_bytes()
    Ledger(tmp_path).close()

    assert (tmp_path / "ledger.sqlite").read_bytes() == before


def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Ledger(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as link:
        link.execute("PRAGMA user_version = 99")
    before = (tmp_path / "ledger.sqlite").read_bytes()

    with pytest.raises(LedgerError) as caught:
        Ledger(tmp_path)

    assert str(caught.value) == (
        f"the ledger at {tmp_path} was written by a newer dfbatch (its version 99, ours {len(STEPS)})\n"
        "nothing was changed in it\n"
        "Hint: pip install -U dfbatch, or set DFBATCH_HOME to another folder"
    )
    assert (tmp_path / "ledger.sqlite").read_bytes() == before


def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def second(link: sqlite3.Connection) -> None:
        link.execute("CREATE TABLE more (x)")
        link.execute("CREATE TABLE runs (x)")

    Ledger(tmp_path).close()
    monkeypatch.setattr(migrations, "STEPS", (*STEPS, second))
    with pytest.raises(LedgerError):
        Ledger(tmp_path)

    assert "more" not in tables(tmp_path)
    assert version(tmp_path) == len(STEPS)


def test_only_the_missing_steps_are_applied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(tmp_path).close()
    monkeypatch.setattr(migrations, "STEPS", (*STEPS, lambda link: link.execute("CREATE TABLE more (x)")))
    Ledger(tmp_path).close()

    assert "more" in tables(tmp_path)
    assert version(tmp_path) == len(STEPS) + 1


def test_processes_that_open_a_fresh_ledger_at_once_all_succeed(
    tmp_path: Path, other: Callable[..., subprocess.Popen[str]]
) -> None:
    others = [other(OPEN, tmp_path) for _ in range(4)]
    for process in others:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60) for process in others]

    assert told == [("0\n", "")] * 4
    assert version(tmp_path) == len(STEPS)


def test_migrating_within_a_transaction_of_somebody_else_waits(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "l", isolation_level=None)) as one:
        one.execute("BEGIN IMMEDIATE")
        with closing(sqlite3.connect(tmp_path / "l", isolation_level=None, timeout=0)) as two:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                migrate(two, "here")
            one.execute("COMMIT")
            migrate(two, "here")

    with closing(sqlite3.connect(tmp_path / "l")) as link:
        assert link.execute("PRAGMA user_version").fetchone() == (len(STEPS),)


def test_a_new_ledger_opens_while_another_process_is_writing_its_tables(tmp_path: Path) -> None:
    """SQLite refuses at once to change the journal then, whatever its time-out."""
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(Ledger, tmp_path)
            assert wait([opening], timeout=0.2).not_done
            other.execute("COMMIT")
            with closing(opening.result()) as ledger:
                assert ledger.runs() == []
