"""Cells that are no text: refused with column, row and what to do, before anything is sent."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch.errors import PromptError
from dfbatch.prompts import compile_prompt, opaque
from dfbatch.testing import Emulator

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


class Scan:
    """An object that does not say what it is."""


class Picture:
    """As much of PIL's images as tells them."""

    def save(self, file: Any) -> None: ...

    def tobytes(self) -> bytes:
        return PNG


@dataclass
class Point:
    x: int


OPAQUE = [
    (PNG, "bytes", "image/png"),
    (bytearray(PNG), "bytes", "image/png"),
    (memoryview(PNG), "bytes", "image/png"),
    (b"%PDF-1.7", "bytes", '"document"'),
    (b"caf\xc3\xa9", "bytes", '.decode("utf-8")'),
    (b"", "bytes", '.decode("utf-8")'),
    (Path("a.txt"), "a path", "str(path)"),
    (Path("a.PNG"), "a path", "read_bytes()"),
    (io.BytesIO(PNG), "an open file", "read it first"),
    (Picture(), "a picture", ".save(buffer"),
    (Scan(), "an object", "a column of texts"),
    (Scan().__init__, "an object", "a column of texts"),  # type: ignore[misc]  # a bound method is one
]
PROMPTS: list[Any] = ["{cell}", "{cell!s}", "{row}", "{ok} {cell}", [{"role": "user", "content": "{cell}"}]]


@pytest.mark.parametrize(("value", "what", "hint"), OPAQUE)
@pytest.mark.parametrize("prompt", PROMPTS, ids=str)
def test_what_is_no_text_is_refused_with_its_place_and_what_to_do(
    prompt: Any, value: Any, what: str, hint: str
) -> None:
    compiled = compile_prompt(prompt, ["ok", "cell"])
    with pytest.raises(PromptError) as error:
        compiled.render({"ok": ["a", "b"], "cell": ["text", value]}, start=4)

    assert str(error.value).startswith(f"column 'cell' holds {what}, not text (row 5)")
    assert hint in str(error.value).partition("Hint: ")[2]


@pytest.mark.parametrize("cell", [[1, PNG], {"scan": {"data": PNG}}, [[Path("a")]]])
@pytest.mark.parametrize("prompt", ["{cell}", "{row}"])
def test_what_is_no_text_is_found_inside_lists_and_dicts(prompt: str, cell: Any) -> None:
    with pytest.raises(PromptError, match="column 'cell' holds lists or dicts with"):
        compile_prompt(prompt, ["cell"]).render({"cell": [cell]})


@pytest.mark.parametrize(
    "cell", ["b'x'", "<a at 0x7f>", 1, 2.5, None, True, [1, ["a"]], {"a": None}, Point(1), pd.Period("2026-01"), 1j]
)
def test_what_has_a_text_is_written(cell: Any) -> None:
    assert opaque.inside(cell) is None
    assert len(compile_prompt("{cell}!", ["cell"]).render({"cell": [cell]}).contents) == 1


def test_whoever_asks_for_how_python_writes_bytes_gets_that() -> None:
    assert compile_prompt("{cell!r}", ["cell"]).render({"cell": [b"a"]}).contents == ["b'a'"]


@pytest.mark.parametrize(
    "function",
    [
        lambda row: f"Look: {row['cell']}",
        lambda row: [{"type": "text", "text": str(row["cell"])}],
        lambda row: [{"role": "user", "content": "{}".format(row["cell"])}],
    ],
)
@pytest.mark.parametrize("value", [PNG, b"it's", b'a "word"', Scan()], ids=["bytes", "a quote", "quotes", "object"])
def test_a_function_that_writes_such_a_cell_into_its_text_is_told(function: Any, value: Any) -> None:
    with pytest.raises(PromptError, match=r"column 'cell' holds .*, not text \(row 1\)"):
        compile_prompt(function, ["cell"]).render({"cell": ["fine", value]})


def test_a_function_that_makes_text_or_blocks_of_such_a_cell_is_right() -> None:
    def ask(row: Any) -> Any:
        return row["cell"].decode() if len(row["cell"]) < 9 else [{"type": "text", "text": row["cell"].hex()}]

    assert compile_prompt(ask, ["cell"]).render({"cell": [b"text", PNG]}).contents == [
        "text",
        [{"type": "text", "text": PNG.hex()}],
    ]


@pytest.mark.parametrize("answer", [PNG, [{"type": "image", "source": {"data": PNG}}]], ids=["alone", "in a block"])
def test_bytes_that_a_function_returns_are_refused_with_how_they_go_in(answer: Any) -> None:
    with pytest.raises(PromptError, match=r"got bytes.*\(row 0\)[\s\S]*Hint: .*base64\.b64encode\(data\)"):
        compile_prompt(lambda row: answer if row["cell"] else "", ["cell"]).render({"cell": [1]})


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"cell": [PNG]}),
        pd.DataFrame({"cell": pd.array([PNG], dtype="binary[pyarrow]")}),
        pd.DataFrame({"cell": [Path("a")]}),
        Polars({"cell": [PNG]}),
        Polars({"cell": [{"data": PNG}]}),
        Polars({"cell": pl.Series([Scan()], dtype=pl.Object)}),
    ],
    ids=["object", "arrow", "path", "Binary", "Struct", "Object"],
)
def test_nothing_is_sent_for_a_frame_that_holds_what_is_no_text(frame: Any) -> None:
    with Emulator() as emulator:
        for prompt in ("{cell}", "{row}"):
            with pytest.raises(PromptError, match="column 'cell' holds"):
                dfbatch.batch(frame, prompt, progress=False)

        assert emulator.usage()["batches_created"] == len(emulator.requests) == 0
