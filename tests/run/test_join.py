"""The cell again, the frame again: columns that are ours make room, rows are known by content or key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest
from pandas.testing import assert_frame_equal

import dfbatch
from dfbatch.errors import ColumnClash, NoSuchRun, UnknownColumn

from .plain_server import PlainServer, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXTS = ["a", "b", "a", "c", "d"]
SCHEMA = {
    "type": "object",
    "properties": {"topic": {"enum": ["sport", "tech"]}, "score": {"type": "number"}, "ok": {"type": "boolean"}},
    "required": ["topic", "score", "ok"],
    "additionalProperties": False,
}


@pytest.fixture
def again(claude: dfbatch.Anthropic) -> Callable[[Any], Any]:
    """The cell `df = df.claude.batch(…, into="topic")`."""
    return lambda frame, **more: frame.claude.batch("{text}", into="topic", backend=claude, progress=False, **more)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, pl.DataFrame):
        return one.equals(two)
    assert_frame_equal(one, two, check_flags=False)
    return True


def changed(frame: Any, name: str, row: int, value: Any) -> Any:
    """The frame with one cell edited by hand."""
    if isinstance(frame, pl.DataFrame):
        cells = frame[name].to_list()
        cells[row] = value
        return frame.with_columns(pl.Series(name, cells, dtype=frame[name].dtype))
    edited = frame.copy()
    edited.iloc[row, list(frame.columns).index(name)] = value
    return edited


def test_the_cell_twice_is_the_same_frame(new: Any, again: Any, plain: PlainServer) -> None:
    once = again(new({"text": TEXTS, "n": range(5)}))
    twice = again(once)

    assert same(again(twice), once)
    assert list(once.columns) == ["text", "n", "topic"]
    assert plain.asked.total() == 4


def test_the_cell_again_on_a_grown_or_changed_frame_asks_what_is_new(new: Any, again: Any, plain: PlainServer) -> None:
    once = again(new({"text": TEXTS}))
    grown = again(new({"text": [*TEXTS, "e"]}))
    sliced = again(grown[1:4])

    assert list(sliced["topic"]) == ["answer to b", "answer to a", "answer to c"]
    assert list(again(once)["topic"]) == [f"answer to {text}" for text in TEXTS]
    assert plain.asked.total() == 5


def test_one_cell_edited_by_hand_is_a_clash(new: Any, again: Any) -> None:
    edited = changed(again(new({"text": TEXTS})), "topic", 2, "mine")
    with pytest.raises(ColumnClash) as caught:
        again(edited)

    assert str(caught.value) == (
        "columns in the way: 'topic'\n"
        f"'topic', row 2: 'mine' was edited by hand, or came from elsewhere: run {dfbatch.last_run().id} answered this"
        " row otherwise\n"
        "Hint: name the answer with into=, or pass overwrite=True to replace them; a cell set to None is filled"
    )
    assert list(again(edited, overwrite=True)["topic"])[2] == "answer to a"


def test_a_text_changed_under_its_answer_is_a_clash(new: Any, again: Any) -> None:
    """Its answer was another row's: replacing it silently could hide that."""
    edited = changed(again(new({"text": TEXTS})), "text", 2, "unheard of")

    with pytest.raises(ColumnClash):
        again(edited)


def test_every_clash_is_listed_and_nothing_is_sent(new: Any, claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    frame = new({"text": TEXTS, "score": [1] * 5, "topic": ["x"] * 5})
    with pytest.raises(ColumnClash, match=r"columns in the way: 'topic', 'score'\n"):
        frame.claude.batch("{text}", SCHEMA, backend=claude, progress=False)

    assert plain.batches == {}


def test_a_foreign_column_is_replaced_in_place_with_overwrite(new: Any, again: Any) -> None:
    out = again(new({"topic": ["x"] * 5, "text": TEXTS}), overwrite=True)

    assert list(out.columns) == ["topic", "text"]
    assert list(out["topic"]) == [f"answer to {text}" for text in TEXTS]


def read_csv(frame: Any, place: Path) -> Any:
    path = place / "frame.csv"
    if isinstance(frame, pl.DataFrame):
        frame.write_csv(path)
        return pl.read_csv(path)
    frame.to_csv(path, index=False)
    return pd.read_csv(path)


def read_parquet(frame: Any, place: Path) -> Any:
    path = place / "frame.parquet"
    if isinstance(frame, pl.DataFrame):
        frame.write_parquet(path)
        return pl.read_parquet(path)
    frame.attrs.clear()
    frame.to_parquet(path)
    return pd.read_parquet(path)


def to_other(frame: Any, _: Path) -> Any:
    return frame.to_pandas() if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)


@pytest.mark.parametrize("reread", [read_csv, read_parquet, to_other])
def test_a_frame_read_again_from_disk_is_still_ours(
    new: Any, claude: dfbatch.Anthropic, plain: PlainServer, tmp_path: Path, reread: Any
) -> None:
    scores = {"a": "0.1", "b": "1e-9", "c": "3", "d": "123456.789"}
    plain.result = lambda params: (
        succeeded("no", stop_reason="refusal")
        if params["messages"][0]["content"] == "b"
        else succeeded(f'{{"topic": "sport", "score": {scores[params["messages"][0]["content"]]}, "ok": true}}')
    )
    ask = {"prompt": "{text}", "schema": SCHEMA, "backend": claude, "progress": False, "include": ("status",)}
    with pytest.warns(dfbatch.RowsFailedWarning):
        once = new({"text": TEXTS}).claude.batch(**ask)
    back = reread(once, tmp_path)
    with pytest.warns(dfbatch.RowsFailedWarning):
        twice = back.claude.batch(**ask)

    assert list(twice.columns) == list(once.columns)
    assert list(twice["score"])[3:] == [3.0, 123456.789]
    assert plain.asked.total() == 4
    assert dfbatch.run_of(back).id == dfbatch.runs()[0].id


def test_filtered_reordered_and_repeated_rows_are_joined(new: Any, again: Any, plain: PlainServer) -> None:
    again(new({"text": TEXTS}))
    run = dfbatch.last_run()
    out = run.join(new({"text": ["d", "a", "a", "b", "d"], "n": [1, 2, 3, 4, 5]}))

    assert list(out["topic"]) == [f"answer to {text}" for text in "daabd"]
    assert list(out.columns) == ["text", "n", "topic"]
    assert same(run.join(out), out)


def test_rows_that_are_new_or_were_changed_are_missing_and_said(new: Any, again: Any) -> None:
    again(new({"text": TEXTS}))
    with pytest.warns(UserWarning, match=re.escape("2 of 3 rows are not in run")) as caught:
        out = dfbatch.last_run().join(new({"text": ["a", "A", "new"]}))

    assert str(caught[0].message) == (
        f"2 of 3 rows are not in run {dfbatch.last_run().id} (known by the content of 'text'): new, or changed since"
        " they were sent; their columns are missing: rows 1, 2"
    )
    assert [cell if isinstance(cell, str) else None for cell in list(out["topic"])] == ["answer to a", None, None]


def test_of_many_rows_that_changed_the_first_five_are_named(new: Any, again: Any) -> None:
    again(new({"text": TEXTS}))
    with pytest.warns(UserWarning, match="rows 0, 1, 2, 3, 4, …$"):
        dfbatch.last_run().join(new({"text": [f"new {number}" for number in range(6)]}))
    with pytest.warns(UserWarning, match="are missing: row 1$"):
        dfbatch.last_run().join(new({"text": ["a", "new"]}))


def test_with_a_key_rows_are_known_by_it(new: Any, claude: dfbatch.Anthropic) -> None:
    frame = new({"text": TEXTS, "id": [10, 11, 12, 13, 14]})
    run = frame.claude.submit("{text}", key="id", backend=claude, progress=False).wait()
    edited = new({"id": [14, 10, 11], "text": ["edited", "a", "since"]})
    with pytest.warns(UserWarning, match="rows were changed") as caught:
        out = run.join(edited)

    assert str(caught[0].message) == (
        f"2 of 3 rows were changed since run {run.id} sent them, in 'text'; they have the answer to what was sent:"
        " rows 0, 2"
    )
    assert list(out["answer"]) == ["answer to d", "answer to a", "answer to b"]
    assert list(run.join(new({"id": [14, 10]}))["answer"]) == ["answer to d", "answer to a"]
    assert list(run.answers()["id"]) == [10, 11, 12, 13, 14]
    with pytest.raises(UnknownColumn, match="the frame has no column 'id', by which rows of run"):
        run.join(new({"text": ["a"]}))


def test_a_frame_nobody_answered_has_no_run(new: Any, again: Any) -> None:
    again(new({"text": TEXTS}))
    with pytest.raises(NoSuchRun, match="no run of the ledger wrote columns of this frame"):
        dfbatch.run_of(new({"text": ["never"], "topic": ["asked"]}))


def test_the_newest_of_several_runs_is_the_frames(new: Any, again: Any) -> None:
    first = again(new({"text": TEXTS}))
    second = again(first, system="Again.")

    assert dfbatch.run_of(second).id == dfbatch.runs()[0].id
    assert same(again(second), first)


def test_columns_beside_each_other_from_several_cells(new: Any, claude: dfbatch.Anthropic, plain: PlainServer) -> None:
    ask = {"backend": claude, "progress": False}
    frame = new({"text": TEXTS})
    for _ in range(2):
        frame = frame.claude.batch("One: {text}", into="one", **ask)
        frame = frame.claude.batch("Two: {text} {one}", into="two", **ask)

    assert list(frame.columns) == ["text", "one", "two"]
    assert list(frame["two"])[1] == "answer to Two: b answer to One: b"
    assert plain.asked.total() == 8


def test_a_prompt_that_reads_the_whole_row_leaves_its_own_column_out(
    new: Any, claude: dfbatch.Anthropic, plain: PlainServer
) -> None:
    ask = {"backend": claude, "progress": False, "into": "topic"}
    once = new({"text": TEXTS}).claude.batch("{row}", **ask)

    assert same(once.claude.batch("{row}", **ask), once)
    assert plain.asked.total() == 4
