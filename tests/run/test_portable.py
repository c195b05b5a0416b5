"""An exported run is a ledger of its own for as long as it is open, and leaves nothing behind."""

from __future__ import annotations

import gc
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.errors import NoSuchRun
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


@pytest.mark.parametrize("held", ["nothing", "escape", "no zip"])
def test_a_file_that_is_no_run_leaves_nothing_behind(run: Run, tmp_path: Path, held: str) -> None:
    path = tmp_path / "run.dfbatch"
    if held == "no zip":
        path.write_bytes(b"plain text")
    else:
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("../outside" if held == "escape" else "something", b"x")
    with pytest.raises(NoSuchRun, match=r"run\.dfbatch (is not|holds no)"):
        dfbatch.open(path)

    assert list((tmp_path / "while").iterdir()) == []
    assert not (tmp_path / "outside").exists()
