"""What files are known again by: noted as they are written, compared as they are read, whatever a kill left."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dfbatch.errors import LedgerDamaged
from dfbatch.ledger import Ledger
from dfbatch.requests import REQUEST

from .conftest import chunk_record, run_record

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = (np.array([(at, b"d" * 16)], REQUEST) for at in (1, 2))


def noted(ledger: Ledger) -> list[str]:
    return [row["name"] for row in ledger._all("SELECT name FROM files")]


def test_what_is_new_is_noted_with_the_transaction_that_says_what_it_is_for(ledger: Ledger) -> None:
    path = ledger.chunk_file("aaaa1111-0", "map.npy")
    ledger.write_array(path, ONE)
    assert noted(ledger) == []
    ledger.begin(run_record(), [chunk_record()], (), unless_changed=0)

    assert noted(ledger) == ["chunks/aaaa1111-0.map.npy"]
    assert (ledger.read_array(path) == ONE).all()


def test_a_transaction_that_fails_leaves_the_note_to_the_next(ledger: Ledger) -> None:
    path = ledger.chunk_file("aaaa1111-0", "map.npy")
    ledger.write_array(path, ONE)
    with pytest.raises(RuntimeError), ledger.transaction():
        raise RuntimeError
    with ledger.transaction():
        pass

    assert noted(ledger) == ["chunks/aaaa1111-0.map.npy"]


def test_where_a_kill_falls_between_the_note_and_the_name_either_version_is_whole(ledger: Ledger) -> None:
    path = ledger.chunk_file("aaaa1111-0", "map.npy")
    ledger.write_array(path, ONE)
    with ledger.transaction():
        pass
    before = path.read_bytes()
    ledger.write_array(path, TWO)
    assert (ledger.read_array(path) == TWO).all()
    path.write_bytes(before)

    assert (ledger.read_array(path) == ONE).all()


@pytest.mark.parametrize("kept", [0, 60, 151])
def test_what_is_cut_is_told_with_its_length(ledger: Ledger, kept: int) -> None:
    path = ledger.chunk_file("aaaa1111-0-d1", "map.npy")
    ledger.write_array(path, ONE)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(LedgerDamaged) as caught:
        ledger.read_array(path)

    assert (caught.value.run_id, caught.value.path) == ("aaaa1111", path)
    assert str(caught.value).startswith(
        f"run aaaa1111 is damaged: chunks/aaaa1111-0-d1.map.npy is cut short: {kept} of {size:,} bytes\n"
    )


@pytest.mark.parametrize("wrong", [b"", b"PK\x03\x04" + bytes(90), b"\x80\x04N.", b"\x93NUMPY\x01\x00\xff\xff{"])
def test_what_nobody_noted_is_told_by_its_form(ledger: Ledger, wrong: bytes) -> None:
    path = ledger.run_file("aaaa1111", "rows.npy")
    path.write_bytes(wrong)
    with pytest.raises(LedgerDamaged, match=r"runs/aaaa1111/rows\.npy does not hold what dfbatch writes"):
        ledger.read_array(path)


def test_an_array_of_another_form_is_not_taken_for_one_of_ours(ledger: Ledger) -> None:
    path = ledger.run_file("aaaa1111", "rows.npy")
    for other in (np.zeros(3), np.zeros(3, [("x", "<i8")]), np.zeros((2, 2), REQUEST)):
        np.save(path, other)
        with pytest.raises(LedgerDamaged, match="does not hold what dfbatch writes"):
            ledger.read_array(path)


def test_a_forgotten_run_leaves_no_notes(ledger: Ledger) -> None:
    for run_id in ("aaaa1111", "aaaa11112"):
        ledger.write_array(ledger.run_file(run_id, "rows.npy"), ONE)
        ledger.begin(run_record(run_id, shared=run_id), [chunk_record(run_id, shared=run_id)], (), unless_changed=0)
    ledger.write_array(ledger.chunk_file("aaaa1111-0", "map.npy"), ONE)
    ledger.forget("aaaa1111")

    assert noted(ledger) == ["runs/aaaa11112/rows.npy"]


def test_a_backup_is_whole_private_and_of_one_file(ledger: Ledger) -> None:
    ledger.begin(run_record(), [chunk_record()], (), unless_changed=0)
    ledger.back_up()
    backup = ledger.folder / "ledger.backup.sqlite"
    copy = Ledger_of(backup, ledger.folder.parent / "copy")

    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert [run.id for run in copy.runs()] == ["aaaa1111"]
    assert sorted(path.name for path in ledger.folder.glob("*backup*")) == ["ledger.backup.sqlite"]
    copy.close()


def Ledger_of(backup: Path, folder: Path) -> Ledger:  # noqa: N802 - reads as the class
    folder.mkdir()
    (folder / "ledger.sqlite").write_bytes(backup.read_bytes())
    return Ledger(folder)


def test_a_large_ledger_is_backed_up_once_an_hour(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfbatch.ledger.database.LARGE", 0)
    backup = ledger.folder / "ledger.backup.sqlite"
    ledger.back_up()
    first = backup.read_bytes()
    ledger.begin(run_record(), [chunk_record()], (), unless_changed=0)
    ledger.back_up()
    assert backup.read_bytes() == first
    monkeypatch.setattr("dfbatch.ledger.database.SELDOM", 0.0)
    ledger.back_up()

    assert backup.read_bytes() != first
