"""Whose column is in the way: what any run wrote there makes room, and a refusal names the row and the case."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch.columns import Builder, prints
from dfbatch.errors import ColumnClash
from dfbatch.kinds import TEXT
from dfbatch.ledger.files import read_array
from dfbatch.run import written

from .plain_server import PlainServer, always, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = ["a", "b", "c", "d"]
ERROR = {
    "type": "errored",
    "error": {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long"}},
}
HINT = "Hint: name the answer with into=, or pass overwrite=True to replace them; a cell set to None is filled"

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def cell(claude: dfbatch.Anthropic) -> Callable[..., Any]:
    """The cell `df = df.claude.batch(…)`, into the default column."""
    return lambda frame, prompt="One: {text}", schema=None, **more: frame.claude.batch(
        prompt, schema, **{"backend": claude, "progress": False, **more}
    )


def stacked(*frames: Any) -> Any:
    if isinstance(frames[0], pl.DataFrame):
        return pl.concat(frames, how="diagonal")
    return pd.concat(frames, ignore_index=True)


def with_cell(frame: Any, name: str, row: int, value: Any) -> Any:
    cells = list(frame[name])
    cells[row] = value
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(pl.Series(name, cells, dtype=None if value is None else pl.String))
    return frame.assign(**{name: pd.Series(cells, dtype=object)})


def answers(frame: Any, name: str = "answer") -> list[Any]:
    return [value if isinstance(value, str) else None for value in frame[name]]


# ------------------------------------------------------------------ what makes room


def test_a_frame_makes_room_though_a_slice_of_it_was_labelled_otherwise_since(new: Any, cell: Any) -> None:
    whole = cell(new({"text": TEXTS}))
    cell(whole.head(2), "Two: {text}")

    assert answers(cell(whole)) == [f"answer to One: {text}" for text in TEXTS]
    assert answers(cell(whole, "Two: {text}")) == [f"answer to Two: {text}" for text in TEXTS]


def test_two_prompts_into_the_same_column_then_the_first_again(new: Any, cell: Any) -> None:
    first = cell(new({"text": TEXTS}))
    second = cell(first, "Two: {text}")
    cell(new({"text": TEXTS}))  # the newest run wrote the first prompt's answers

    assert answers(cell(second)) == answers(first)
    assert answers(cell(first, "Two: {text}")) == answers(second)


def test_rows_of_two_frames_with_answers_of_two_prompts_make_room_side_by_side(new: Any, cell: Any) -> None:
    both = stacked(cell(new({"text": ["a", "b"]})), cell(new({"text": ["a", "c"]}), "Two: {text}"))

    assert answers(cell(both)) == [f"answer to One: {text}" for text in "abac"]


@pytest.mark.parametrize("new_texts", [["e"], ["a"], ["e", "a", "e"]], ids=" ".join)
def test_a_grown_frame_makes_room_whatever_its_new_rows_say(new: Any, cell: Any, new_texts: list[str]) -> None:
    grown = stacked(cell(new({"text": TEXTS})), new({"text": new_texts}))

    assert answers(cell(grown)) == [f"answer to One: {text}" for text in [*TEXTS, *new_texts]]


def test_failed_rows_that_a_later_run_answered_make_room(new: Any, cell: Any, plain: PlainServer) -> None:
    plain.result = always(ERROR)
    failed = cell(new({"text": TEXTS}), include=["status", "error"])
    plain.result = always(succeeded("good"))
    cell(new({"text": TEXTS}), include=["status", "error"])

    assert answers(failed) == [None] * 4
    assert answers(cell(failed, include=["status", "error"])) == ["good"] * 4


def test_a_frame_from_before_a_retry_is_joined_and_makes_room(new: Any, cell: Any, plain: PlainServer) -> None:
    plain.result = lambda params: ERROR if "b" in str(params["messages"]) else succeeded("first")
    before = cell(new({"text": TEXTS}), include=["status"])
    run = dfbatch.last_run()
    plain.result = always(succeeded("second"))
    after = run.retry().result()

    assert list(before["claude_status"]) == ["succeeded", "errored", "succeeded", "succeeded"]
    for frame in (before, after, run.join(before)):
        assert answers(run.join(frame)) == ["first", "second", "first", "first"]
    assert answers(cell(before, include=["status"])) == ["first", "second", "first", "first"]


def test_what_was_joined_and_never_laid_otherwise_makes_room(new: Any, claude: dfbatch.Anthropic) -> None:
    frame = new({"text": TEXTS})
    run = frame.claude.submit("One: {text}", backend=claude, progress=False).wait()
    joined = run.join(frame)

    assert answers(run.join(joined)) == answers(joined)
    assert answers(frame.claude.batch("One: {text}", backend=claude, progress=False)) == answers(joined)


def test_a_null_that_was_filled_in_since_is_asked(new: Any, cell: Any) -> None:
    once = cell(new({"text": ["a", None]}), include=["status"])
    filled = with_cell(once, "text", 1, "found")

    assert list(once["claude_status"]) == ["succeeded", "skipped"]
    assert answers(cell(filled, include=["status"])) == ["answer to One: a", "answer to One: found"]


def test_with_a_key_an_edited_text_is_asked_again(new: Any, cell: Any) -> None:
    once = cell(new({"text": TEXTS, "id": ["1", "2", "3", "4"]}), key="id")
    edited = with_cell(once, "text", 1, "edited")

    assert answers(cell(edited, key="id"))[:2] == ["answer to One: a", "answer to One: edited"]


def test_another_schema_under_the_same_name_makes_room(new: Any, cell: Any, plain: PlainServer) -> None:
    plain.result = always(succeeded('{"answer": "x"}'))
    closed = cell(new({"text": TEXTS}), "Two: {text}", Literal["x", "y"])
    plain.result = always(succeeded("free text"))
    free = cell(new({"text": TEXTS}))

    assert answers(cell(closed)) == ["free text"] * 4
    assert answers(cell(free, "Two: {text}", Literal["x", "y"])) == ["x"] * 4
    mixed = (
        stacked(*(frame.assign(answer=frame["answer"].astype(object)) for frame in (free, closed)))
        if isinstance(free, pd.DataFrame)
        else stacked(free, closed.with_columns(pl.col("answer").cast(pl.String)))
    )
    assert answers(cell(mixed)) == ["free text"] * 8


def test_a_column_of_nothing_makes_room(new: Any, cell: Any) -> None:
    out = cell(new({"answer": [None] * 4, "text": TEXTS}))

    assert list(out.columns) == ["answer", "text"]


# ------------------------------------------------------------------- what is refused


def refused(cell: Any, frame: Any, **more: Any) -> str:
    with pytest.raises(ColumnClash) as caught:
        cell(frame, **more)
    return str(caught.value)


def test_an_edited_value_names_its_row_and_the_run_that_knows_better(new: Any, cell: Any) -> None:
    once = cell(new({"text": TEXTS}))

    assert refused(cell, with_cell(with_cell(once, "answer", 3, "hm"), "answer", 2, "mine")) == (
        "columns in the way: 'answer'\n"
        f"'answer', row 2: 'mine' was edited by hand, or came from elsewhere: run {dfbatch.last_run().id} answered this"
        f" row otherwise; so is 1 more row\n{HINT}"
    )


def test_an_old_answer_beside_an_edited_text_names_its_row_and_what_was_edited(new: Any, cell: Any) -> None:
    once = cell(new({"text": TEXTS}))

    assert refused(cell, with_cell(once, "text", 1, "edited")) == (
        "columns in the way: 'answer'\n"
        "'answer', row 1: 'answer to One: b' is an old answer beside a text that was edited: run"
        f" {dfbatch.last_run().id} wrote it for another 'text'\n{HINT}"
    )


def test_a_column_that_was_never_written_says_so(new: Any, cell: Any) -> None:
    assert refused(cell, new({"text": TEXTS, "answer": [None, "x" * 99, "y", None]})) == (
        f"columns in the way: 'answer'\n'answer', row 1: {repr('x' * 99)[:39]}… was never written by dfbatch: no run"
        f" wrote a column of this name; so is 1 more row\n{HINT}"
    )


def test_a_row_that_no_run_knows_says_so(new: Any, cell: Any) -> None:
    cell(new({"text": TEXTS}))

    assert "row 0: 'x' was never written by dfbatch, and no run knows this row\n" in refused(
        cell, new({"text": ["z"], "answer": ["x"]})
    )


def test_rows_whose_column_was_renamed_name_what_is_not_there(new: Any, cell: Any) -> None:
    once = cell(new({"text": TEXTS}))
    renamed = (
        once.rename({"text": "review"}) if isinstance(once, pl.DataFrame) else once.rename(columns={"text": "review"})
    )

    assert re.search(
        r"'answer to One: a' may be run \w+'s, which knows its rows by 'text': 'text' is not there; so are 3 more rows",
        refused(cell, renamed, prompt="One: {review}"),
    )


def test_a_joined_frame_is_guarded_as_well(new: Any, cell: Any) -> None:
    once = cell(new({"text": TEXTS}))

    with pytest.raises(ColumnClash, match=r"row 0: 'mine' .*\nHint: pass overwrite=True to replace them; a cell"):
        dfbatch.last_run().join(with_cell(once, "answer", 0, "mine"))


def test_a_status_that_nobody_wrote_is_guarded_beside_a_missing_answer(new: Any, cell: Any, plain: PlainServer) -> None:
    plain.result = always(ERROR)
    failed = cell(new({"text": TEXTS}), include=["status"])

    assert "'claude_status', row 0: 'looked at' was edited by hand" in refused(
        cell, with_cell(failed, "claude_status", 0, "looked at"), include=["status"]
    )


# --------------------------------------------------------------------------- notes


def test_what_a_run_laid_before_stays_known(new: Any, cell: Any) -> None:
    cell(new({"text": TEXTS}))
    run = dfbatch.last_run()
    texts: list[list[str | None]] = [["p", None, "r", "s"], ["p", "q", "R", "s"], ["p", "q", "r", "s"]]
    for cells in texts:
        builder = Builder("other", TEXT, 4)
        builder.put(range(4), cells)
        written.note(run._ledger, run.record, [builder.column()])
    before = read_array(written._file(run._ledger, run.id, "other", "before"))

    assert before["row"].tolist() == [2, 2]
    assert set(before["print"].tolist()) == {_print("r"), _print("R")}


def _print(text: str) -> int:
    builder = Builder("other", TEXT, 1)
    builder.put([0], [text])
    return int(prints(builder.column())[0])


def test_membership_is_that_of_numpy() -> None:
    draw = np.random.default_rng(7)
    for size in (0, 1, 1000):
        wanted, there = (draw.integers(0, 500, size, dtype=np.uint64) for _ in range(2))

        assert (written._among(wanted, there) == np.isin(wanted, there)).all()
