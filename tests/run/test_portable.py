"""An exported run is a ledger of its own for as long as it is open, and leaves nothing behind."""

from __future__ import annotations

import gc
import tempfile
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.errors import LedgerDamaged, NoSuchRun
from dfbatch.run import shelf

if TYPE_CHECKING:
    from pathlib import Path

    from dfbatch.run import Run

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers


@pytest.fixture
def run(claude: dfbatch.Anthropic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that is done; folders for a while are made in one of this test."""
    (tmp_path / "while").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "while"))
    made: Run = Polars({"text": ["a", "b"]}).claude.submit("{text}", backend=claude, progress=False)
    return made.wait()


def test_the_folder_of_an_opened_file_goes_with_the_run(run: Run, tmp_path: Path) -> None:
    opened = dfbatch.open(str(run.export(tmp_path / "run.dfbatch")))
    ledger = opened._ledger

    assert opened.answers().equals(run.answers())
    assert [path.name for path in (tmp_path / "while").iterdir()] == [ledger.folder.name]
    ledger.close()
    shelf._known.clear()
    del opened, ledger
    gc.collect()
    assert list((tmp_path / "while").iterdir()) == []


@pytest.mark.parametrize("held", ["nothing", "escape", "no zip", "another name", "absolute", "twice", "two runs"])
def test_a_file_that_is_no_run_leaves_nothing_behind(run: Run, tmp_path: Path, held: str) -> None:
    path = tmp_path / "run.dfbatch"
    names = {
        "nothing": ["ledger.sqlite"],
        "escape": ["../outside"],
        "another name": ["ledger.sqlite", "runs/aaaa1111/rows.npy", "runs/aaaa1111/rows.npy.py"],
        "absolute": [str(tmp_path / "outside")],
        "twice": ["ledger.sqlite", "runs/aaaa1111/rows.npy", "runs/aaaa1111/rows.npy"],
        "two runs": ["ledger.sqlite", "runs/aaaa1111/rows.npy", "runs/aaaa2222/rows.npy"],
    }
    if held == "no zip":
        path.write_bytes(b"plain text")
    else:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as out:
            warnings.simplefilter("ignore")  # a name that is there twice
            for name in names[held]:
                out.writestr(name, b"x")
    with pytest.raises(NoSuchRun, match=r"run\.dfbatch (is not|holds no)"):
        dfbatch.open(path)

    assert list((tmp_path / "while").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_a_bomb_is_not_unpacked(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run.dfbatch"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in ("ledger.sqlite", "runs/aaaa1111/rows.npy", "chunks/aaaa1111-0-d123456789.jsonl"):
            with out.open(name, "w") as file:
                for _ in range(100):
                    file.write(bytes(1 << 20))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(NoSuchRun, match=r"it would unpack to 314,572,800 bytes, and 256,000,000 are the most"):
        dfbatch.open(path)

    assert list((tmp_path / "while").iterdir()) == []


def test_what_says_that_it_is_smaller_than_it_is_is_cut_off(run: Run, tmp_path: Path) -> None:
    """The sizes that a zip file tells are its writer's words."""
    path = run.export(tmp_path / "run.dfbatch")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as held:
        size = held.getinfo("ledger.sqlite").file_size
    told = size.to_bytes(4, "little")
    assert data.count(told) >= 2
    path.write_bytes(bytes(data).replace(told, (100).to_bytes(4, "little")))
    with pytest.raises(LedgerDamaged, match=r"the exported run run\.dfbatch is damaged"):
        dfbatch.open(path)

    assert list((tmp_path / "while").iterdir()) == []


@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("how", ["cut", "zeroed", "garbage"])
def test_a_damaged_file_is_an_error_of_ours_and_leaves_nothing_behind(
    run: Run, tmp_path: Path, how: str, where: float
) -> None:
    path = run.export(tmp_path / "run.dfbatch")
    data = path.read_bytes()
    at = int(len(data) * where)
    other = {"cut": b"", "zeroed": bytes(200), "garbage": b"\xa5\x5a" * 100}[how]
    path.write_bytes(data[:at] + other + (data[at + 200 :] if other else b""))
    with pytest.raises((LedgerDamaged, NoSuchRun), match=r"run\.dfbatch is (damaged|not an exported run)") as caught:
        dfbatch.open(path)

    assert "Hint:" in str(caught.value)
    assert list((tmp_path / "while").iterdir()) == []


def test_no_damaged_run_is_exported(run: Run, tmp_path: Path) -> None:
    (chunk,) = run._ledger.chunks(run.id)
    raw = run._ledger.chunk_file(chunk.id, "jsonl")
    raw.write_bytes(raw.read_bytes()[:-10])
    with pytest.raises(LedgerDamaged, match=r"jsonl is cut short"):
        run.export(tmp_path / "run.dfbatch")

    assert not (tmp_path / "run.dfbatch").exists()


def test_an_opened_file_is_checked_as_the_ledger_is(run: Run, tmp_path: Path) -> None:
    opened = dfbatch.open(str(run.export(tmp_path / "run.dfbatch")))
    (chunk,) = opened._ledger.chunks(opened.id)
    known = opened._ledger._sums(opened._ledger.chunk_file(chunk.id, "jsonl"))
    opened._ledger.close()

    assert known == run._ledger._sums(run._ledger.chunk_file(chunk.id, "jsonl"))
    assert len(known) == 1
