"""Every file of the ledger, damaged in every way: what is shown, that others go on, and that nothing is paid for again.

One ledger is made for all cases, copied for each, and looked at as by a process that has just begun.
"""

from __future__ import annotations

import io
import shutil
import sqlite3
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import dfbatch
from dfbatch import run as run_layer
from dfbatch.emulator import Server
from dfbatch.errors import BudgetReached, LedgerDamaged, RowsFailedWarning
from dfbatch.ledger import database
from dfbatch.run import shelf
from tests.run.conftest import brisk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TEXTS = ["1", "2", "1", "bad", "3", "4"]  # two rows are one request, and one answer does not fit
ANSWERS = [1, 2, 1, None, 3, 4]
ASKED = len({*TEXTS})
OTHERS = ["5", "6"]
CALL: dict[str, Any] = {"schema": int, "progress": False, "correct": False, "preflight": False, "pilot": False}

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")
__all__ = ["brisk"]  # the clock of all tests here, ten times as fast


def says(params: dict[str, Any]) -> str:
    """The number that was asked for, or what is none."""
    asked = params["messages"][-1]["content"].rpartition(" ")[2]
    return f'{{"answer": {asked}}}' if asked.isdecimal() else "no number"


@dataclass(frozen=True)
class Made:
    """A ledger with two runs that are done, the server that answered, and how often it was to be paid."""

    folder: Path
    server: Server
    run: str
    other: str
    chunk: str

    @property
    def paid(self) -> int:
        return int(self.server.usage()["requests"])

    @property
    def backend(self) -> dfbatch.Anthropic:
        return dfbatch.Anthropic(api_key="sk-of-this-test", base_url=self.server.url)

    def place(self, name: str) -> str:
        """A file of the run, by a short name."""
        if name in ("map.npy", "spool", "jsonl", "found.npy"):
            return f"chunks/{self.chunk}.{name}"
        if name.startswith(("ledger.", "models/")):
            return name
        return f"runs/{self.run}/{name}"


def frame(texts: list[str] = TEXTS) -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "id": range(len(texts))})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("template") / "ledger"
    with pytest.MonkeyPatch.context() as patch, Server(engine=says) as server:
        patch.setenv("DFBATCH_HOME", str(folder))
        backend = dfbatch.Anthropic(api_key="sk-of-this-test", base_url=server.url)
        other = dfbatch.submit(frame(OTHERS), "Number {text}", backend=backend, **CALL).wait()
        run = dfbatch.submit(frame(), "Number {text}", backend=backend, key="id", budget=1.0, **CALL).wait()
        run.resume(budget=2.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run.result()
        (chunk,) = run._ledger.chunks(run.id)
        run_layer.close_ledgers()
        yield Made(folder, server, run.id, other.id, chunk.id)


@pytest.fixture
def home(made: Made, ledger_home: Path) -> Path:
    """A copy of the ledger, for this test."""
    shutil.copytree(made.folder, ledger_home)
    return ledger_home


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed(data: bytes) -> bytes:
    third = len(data) // 3
    return data[:third] + bytes(len(data) - 2 * third) + data[len(data) - third :]


def garbage(data: bytes) -> bytes:
    return np.random.default_rng(7).bytes(len(data) or 100)


def pickled(_: bytes) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([print]), allow_pickle=True)
    return file.getvalue()


def damage(path: Path, how: Callable[[bytes], bytes] | None) -> None:
    if how is None:
        path.unlink()
    else:
        path.write_bytes(how(path.read_bytes()))


def table() -> dict[str, str]:
    """The status of each run as the table shows it."""
    listed = dfbatch.runs()._listed()
    return {line.run: line.status for line in listed}


def answers(made: Made, run_id: str) -> list[Any]:
    column = dfbatch.open(run_id, backend=made.backend).answers()["answer"]
    return [None if value is pd.NA else value for value in column]


def again(made: Made, texts: list[str] = TEXTS, **options: Any) -> list[Any]:
    out = dfbatch.batch(frame(texts), "Number {text}", backend=made.backend, **CALL | options)
    return [None if value is pd.NA else value for value in out["answer"]]


WAYS = {"cut": cut, "zeroed": zeroed, "deleted": None, "garbage": garbage, "pickled": pickled}
MADE_AGAIN = ["map.npy", "found.npy", "requests.npy", "jsonl"]  # as they are met
NOTES = ["outlook", "wrote", "lock", "models"]  # that are made anew
SHOWN = ["rows.npy", "keys.jsonl", "spool"]  # what nothing else in the ledger tells


def found(made: Made, home: Path, name: str) -> Path:
    if name == "wrote":
        return next((home / "runs" / made.run).glob("wrote-*"))
    return next((home / "models").iterdir()) if name == "models" else home / made.place(name)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [*MADE_AGAIN, *NOTES, *SHOWN, "budget"])
def test_a_damaged_file_harms_nobody_else_and_nothing_is_paid_again(
    made: Made, home: Path, name: str, way: str
) -> None:
    before = made.paid
    damage(found(made, home, name), WAYS[way])
    shown = table()
    try:
        read = answers(made, made.run)
    except LedgerDamaged as error:
        read = [error.run_id, error.path.name]
    others = answers(made, made.other)
    once_more = again(made)
    told = dfbatch.repair()
    run_layer.close_ledgers()

    assert shown[made.other] == "done"
    assert shown[made.run] == ("damaged" if name in ("jsonl", *SHOWN) else "done")
    assert read == ([made.run, "rows.npy"] if name == "rows.npy" else ANSWERS)
    assert others == [5, 6]
    assert once_more == ANSWERS
    assert bool(told.lost) == (name in ("keys.jsonl", "spool", "budget"))
    assert all(made.run in line for line in told.lost)
    assert made.paid == before
    if name in (*MADE_AGAIN, "rows.npy"):  # the cell was run again, and its frame tells of the rows
        assert table()[made.run] == "done"


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_database_is_told_and_comes_back_from_its_backup(made: Made, home: Path, way: str) -> None:
    before = made.paid
    damage(home / "ledger.sqlite", WAYS[way])
    kept = (home / "ledger.sqlite").read_bytes() if way != "deleted" else None
    for use in (dfbatch.runs, lambda: again(made), lambda: answers(made, made.run)):
        with pytest.raises(LedgerDamaged, match=r"ledger\.sqlite .*\na backup of .*\nHint: dfbatch\.repair\(\)"):
            use()
    assert kept is None or (home / "ledger.sqlite").read_bytes() == kept
    told = dfbatch.repair()

    assert told.lost == ()
    assert [path.read_bytes() for path in home.glob("ledger.sqlite.damaged-*")] == ([kept] if kept else [])
    assert (answers(made, made.run), again(made)) == (ANSWERS, ANSWERS)
    assert made.paid == before


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_backup_is_no_harm_and_is_written_anew(made: Made, home: Path, way: str) -> None:
    before = made.paid
    damage(home / "ledger.backup.sqlite", WAYS[way])

    assert again(made) == ANSWERS
    assert made.paid == before
    with sqlite3.connect(home / "ledger.backup.sqlite") as link:
        assert link.execute("SELECT count(*) FROM runs").fetchone() == (3,)
    link.close()


def test_without_a_sound_backup_an_empty_ledger_is_begun_and_what_that_means_is_said(made: Made, home: Path) -> None:
    damage(home / "ledger.sqlite", garbage)
    damage(home / "ledger.backup.sqlite", garbage)
    told = dfbatch.repair()

    assert told.lost[0].startswith("the ledger is lost, and there is no backup of it: an empty one was begun")
    assert "dfbatch.adopt(batch_id, df, …)" in told.lost[1]
    assert sorted(line.split()[1] for line in told.lost[2:]) == sorted([made.run, made.other])
    assert list(dfbatch.runs()) == []


def test_an_empty_file_is_no_new_ledger_where_there_was_one(made: Made, home: Path) -> None:
    (home / "ledger.sqlite").write_bytes(b"")
    with pytest.raises(LedgerDamaged, match="is empty"):
        dfbatch.runs()


def test_what_was_not_sent_when_the_backup_was_made_is_in_doubt_and_not_sent_again(made: Made, home: Path) -> None:
    link = sqlite3.connect(home / "ledger.backup.sqlite")
    link.execute("UPDATE chunks SET state = 'planned' WHERE run = ?", (made.run,))
    link.commit()
    link.close()
    damage(home / "ledger.sqlite", garbage)
    dfbatch.repair()
    (chunk,) = shelf.ledger().chunks(made.run)

    assert (chunk.state, chunk.error) == ("orphaned", database.IN_DOUBT)


# --------------------------------------------------------------- what is lost


def test_answers_that_the_server_has_no_more_are_said_to_be_lost_and_only_those_are_paid_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.rmtree(home)
    with Server(engine=says) as server:
        backend = dfbatch.Anthropic(api_key="sk-of-this-test", base_url=server.url)
        run = dfbatch.submit(frame(), "Number {text}", backend=backend, **CALL).wait()
        (chunk,) = run._ledger.chunks(run.id)
        batch = run._ledger.batch(chunk.id)
        assert batch is not None
        server.advance(30 * 86_400.0)
        run_layer.close_ledgers()
        path = home / "chunks" / f"{chunk.id}.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:2]) + lines[2][:50])
        opened = dfbatch.open(run.id, backend=backend)
        with pytest.raises(LedgerDamaged) as caught:
            opened.wait()
        (told,) = dfbatch.repair(run.id).lost
        counts = dfbatch.open(run.id, backend=backend).counts
        before = server.usage()["requests"]
        with pytest.warns(UserWarning, match="requests of run .* are not asked again: what they asked is not kept"):
            dfbatch.open(run.id, backend=backend).retry(which="missing").wait()
        out = dfbatch.batch(frame(), "Number {text}", backend=backend, **CALL)
        paid = server.usage()["requests"] - before
        run_layer.close_ledgers()

    assert (caught.value.run_id, caught.value.path.name) == (run.id, f"{chunk.id}.jsonl")
    assert "it cannot be fetched again from the server" in str(caught.value)
    assert "3 answers of 5 lost, which were paid for" in told
    assert counts["missing"] == 3
    assert paid == 3
    assert [None if value is pd.NA else value for value in out["answer"]] == ANSWERS


def test_a_call_that_may_have_been_paid_for_stops_and_says_how_to_go_on(made: Made, home: Path) -> None:
    """Neither the map nor what it could be made of is there: which requests were asked is not known."""
    before = made.paid
    for name in ("map.npy", "requests.npy", "jsonl"):
        damage(home / made.place(name), None)
    with pytest.raises(LedgerDamaged) as caught:
        again(made)

    assert str(caught.value).startswith(f"run {made.run} is damaged: chunks/{made.chunk}.map.npy is gone\n")
    assert "5 of the requests of this call may be among the 5 that it paid for" in str(caught.value)
    assert "reuse=False" in str(caught.value)
    assert again(made, OTHERS) == [5, 6]  # answered by another run
    assert made.paid == before
    assert again(made, ["1"], reuse=False) == [1]
    assert made.paid == before + 1


def test_a_call_that_the_damaged_run_did_not_ask_goes_on(made: Made, home: Path) -> None:
    before = made.paid
    for name in ("map.npy", "jsonl"):
        damage(home / made.place(name), None)

    assert again(made, ["8"]) == [8]
    assert made.paid == before + 1


def test_a_run_that_cannot_be_read_says_so_and_can_be_forgotten(made: Made, home: Path) -> None:
    damage(home / made.place("rows.npy"), None)
    run = dfbatch.open(made.run, backend=made.backend)

    assert repr(run) == f"<Run {made.run} · damaged · rows.npy is gone>"
    assert (run.status, run.done) == ("damaged", False)
    for read in (lambda: run.counts, run.partial, run.failures, run.answers, run.resume, run.retry):
        with pytest.raises(LedgerDamaged, match="run the cell again: answers that are there are used again"):
            read()
    run.forget()
    assert [each.id for each in dfbatch.runs()] == [made.other]


@pytest.mark.parametrize("name", ["rows.npy", "requests.npy", "keys.jsonl"])
def test_the_cell_run_again_makes_the_run_whole_by_its_frame(made: Made, home: Path, name: str) -> None:
    before, path = made.paid, home / made.place(name)
    held = path.read_bytes()
    damage(path, zeroed)

    assert again(made, key="id") == ANSWERS
    assert path.read_bytes() == held
    assert (table()[made.run], answers(made, made.run)) == ("done", ANSWERS)
    assert made.paid == before


def test_another_frame_makes_nothing_of_a_damaged_run(made: Made, home: Path) -> None:
    damage(home / made.place("rows.npy"), None)
    again(made, ["2", "1", "2", "bad", "3", "4"])

    assert not (home / made.place("rows.npy")).exists()


def test_rows_that_are_in_memory_are_written_again(made: Made, home: Path) -> None:
    run = dfbatch.open(made.run, backend=made.backend)
    path = home / made.place("rows.npy")
    held = path.read_bytes()
    damage(path, cut)

    assert repr(dfbatch.repair(run.id)) == f"run {made.run}: rows.npy was damaged: written again from memory"
    assert path.read_bytes() == held


def test_a_retry_of_rows_whose_prompts_are_damaged_says_so_and_asks_nothing(made: Made, home: Path) -> None:
    before = made.paid
    damage(home / made.place("spool"), zeroed)
    with pytest.raises(LedgerDamaged, match=r"spool is not what was written"):
        dfbatch.open(made.run, backend=made.backend).retry(which="invalid")

    assert made.paid == before


def test_a_budget_that_is_not_known_any_more_sends_nothing(made: Made, home: Path) -> None:
    before = made.paid
    damage(home / made.place("budget"), garbage)
    with pytest.raises(LedgerDamaged, match=r"the budget that it was given later is not known .*\n.*\n.*budget=…"):
        dfbatch.open(made.run, backend=made.backend).retry(which="invalid").wait()
    assert made.paid == before

    dfbatch.open(made.run, backend=made.backend).resume(budget=2.0).wait()
    assert made.paid == before + 1


def test_requests_whose_prompts_are_damaged_before_they_are_sent_are_let_go_unpaid(made: Made, home: Path) -> None:
    before = made.paid
    with pytest.raises(BudgetReached) as paused:
        again(made, ["1", "20", "21"], budget=0.0)
    run = paused.value.run or dfbatch.last_run()
    (chunk,) = [chunk for chunk in run._ledger.chunks(run.id) if chunk.run == run.id]
    run_layer.close_ledgers()
    damage(home / "chunks" / f"{chunk.id}.spool", zeroed)
    with pytest.raises(LedgerDamaged, match="spool is not what was written"):
        dfbatch.open(run.id, backend=made.backend).resume(budget=1.0).wait()
    assert made.paid == before
    (told,) = dfbatch.repair(run.id).lost

    assert "its 2 requests were never sent, and let go unpaid" in told
    assert again(made, ["1", "20", "21"]) == [1, 20, 21]
    assert made.paid == before + 2


# ------------------------------------------------------------- older ledgers


@pytest.mark.parametrize(
    ("name", "way"),
    [("jsonl", "zeroed"), *((name, way) for name in (*MADE_AGAIN, "rows.npy") for way in WAYS if way != "zeroed")],
)
def test_a_ledger_without_checksums_is_checked_by_length_and_form(made: Made, home: Path, name: str, way: str) -> None:
    """Zeros within an array have the form of one: only a checksum finds them."""
    before = made.paid
    link = sqlite3.connect(home / "ledger.sqlite")
    link.execute("DELETE FROM files")
    link.commit()
    link.close()
    damage(home / made.place(name), WAYS[way])
    try:
        read = answers(made, made.run)
    except LedgerDamaged as error:
        read = [error.run_id, error.path.name]

    assert read == ([made.run, "rows.npy"] if name == "rows.npy" else ANSWERS)
    assert answers(made, made.other) == [5, 6]
    assert made.paid == before


@pytest.mark.parametrize("way", WAYS)
def test_a_spool_without_a_checksum_is_no_raw_error(made: Made, home: Path, way: str) -> None:
    link = sqlite3.connect(home / "ledger.sqlite")
    link.execute("DELETE FROM files")
    link.commit()
    link.close()
    damage(home / made.place("spool"), WAYS[way])
    failed = dfbatch.open(made.run, backend=made.backend).failures()

    assert failed["status"].tolist() == ["invalid"]


@pytest.mark.parametrize(
    ("way", "noted"), [*((way, True) for way in WAYS), *((way, False) for way in WAYS if way != "zeroed")]
)
def test_no_damaged_prompt_is_sent(made: Made, home: Path, way: str, noted: bool) -> None:  # noqa: FBT001
    """Zeros are as long as what they stand for: in an older ledger, without a checksum, the server refuses them."""
    before = made.paid
    with pytest.raises(BudgetReached):
        again(made, ["40", "41"], budget=0.0)
    newest = dfbatch.last_run()
    (chunk,) = [chunk for chunk in newest._ledger.chunks(newest.id) if chunk.run == newest.id]
    run_layer.close_ledgers()
    if not noted:
        link = sqlite3.connect(home / "ledger.sqlite")
        link.execute("DELETE FROM files")
        link.commit()
        link.close()
    damage(home / "chunks" / f"{chunk.id}.spool", WAYS[way])
    with pytest.raises(LedgerDamaged, match="spool"):
        dfbatch.open(newest.id, backend=made.backend).resume(budget=1.0).wait()

    assert made.paid == before


def test_what_is_lost_is_told_in_a_warning_and_the_rest_is_shown(made: Made, home: Path) -> None:
    """Answers by `/v1/messages` are nowhere but here."""
    run = dfbatch.preview(
        frame(["30", "31"]), "Number {text}", backend=made.backend, rows=2, schema=int, progress=False
    )
    assert run is not None
    newest = dfbatch.last_run()
    (chunk,) = [chunk for chunk in newest._ledger.chunks(newest.id) if chunk.run == newest.id]
    run_layer.close_ledgers()
    damage(home / "chunks" / f"{chunk.id}.jsonl", None)
    with pytest.warns(RowsFailedWarning, match="jsonl is gone"):
        shown = dfbatch.open(newest.id, backend=made.backend).answers()["answer"]
    assert shown.isna().all()

    assert "2 answers of 2 lost" in dfbatch.repair(newest.id).lost[0]
    assert dfbatch.open(newest.id, backend=made.backend).counts == {"missing": 2}
