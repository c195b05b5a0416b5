"""Results files in which something stands before, between or behind lines: what was paid for is read, in its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfbatch.requests import REQUEST, custom_ids
from dfbatch.results import answer
from dfbatch.run.reader import Reader

from .plain_server import succeeded

if TYPE_CHECKING:
    from pathlib import Path

NONCE = "d123456789"
BOM = b"\xef\xbb\xbf"
PRETTY = {"indent": 1}

BETWEEN = st.sampled_from(
    [
        *(b"\n", b"\r\n", b"\n\n", b"\n \t\n", b"\n" + BOM, b"\n\0\0", b"\r", b" ", b"", b",\n", b"\n# of today\n"),
        *(b"\n\x1e", b"\n<!-- it's {one} -->\n", "\u2028".encode(), b"\n{\n", b'\n{"custom_id":"torn\n', b"\ndata: "),
        b"\n\xff\n",
    ]
)


class Chunk:
    """As much of a chunk as a reader asks for."""

    nonce = NONCE


def requests(count: int) -> Any:
    made = np.zeros(count, REQUEST)
    made["position"] = np.arange(count)
    made["digest"] = [bytes([number + 1] * 16) for number in range(count)]
    return made


def lines(count: int, **how: Any) -> list[bytes]:
    ids = custom_ids(NONCE, requests(count)).tolist()
    told = [{"custom_id": name.decode(), "result": succeeded(f"é{at}")} for at, name in enumerate(ids)]
    return [json.dumps(line, ensure_ascii=False, **how).encode() for line in told]


def read(path: Path, raw: bytes, count: int) -> tuple[dict[int, str], Reader]:
    """The text of each request, read again from where the reader says it is."""
    path.write_bytes(raw)
    reader = Reader(Chunk(), requests(count), path)  # type: ignore[arg-type]  # as much of one as is asked for
    texts: dict[int, str] = {}
    for block in reader.blocks():
        for at, line, offset, length in zip(block.at.tolist(), block.lines, block.offset, block.length, strict=True):
            there = json.loads(reader.raw(int(offset), int(length)))
            assert line.result.message is not None
            assert there["custom_id"] == line.custom_id
            texts[at] = answer(line.result.message)
    return texts, reader


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), before=BETWEEN, after=BETWEEN, shuffled=st.randoms(use_true_random=False))
def test_nothing_that_stands_around_lines_takes_one(
    tmp_path: Path, data: st.DataObject, before: bytes, after: bytes, shuffled: Any
) -> None:
    held = data.draw(st.lists(st.sampled_from(range(5)), unique=True))
    made = [lines(5, **data.draw(st.sampled_from([{}, PRETTY])))[at] for at in held]
    shuffled.shuffle(made)
    raw = before + b"".join(line + data.draw(BETWEEN) for line in made) + after
    texts, _ = read(tmp_path / "raw", raw, 5)

    assert texts == {at: f"é{at}" for at in held}


@pytest.mark.parametrize("before", [BOM, b"\0" * 512, b"\n\n", b"[", b")]}',\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_what_stands_before_the_first_line_takes_no_row(tmp_path: Path, before: bytes) -> None:
    texts, _ = read(tmp_path / "raw", before + b"\n".join(lines(3)), 3)

    assert texts == {0: "é0", 1: "é1", 2: "é2"}


def test_what_holds_no_line_is_counted_as_strange(tmp_path: Path) -> None:
    texts, reader = read(tmp_path / "raw", b"# one\n" + lines(1)[0] + b"\n<two>\n{\n\n", 1)

    assert (texts, reader.strange) == ({0: "é0"}, 3)


def test_of_a_torn_line_and_the_whole_one_behind_it_the_whole_one_counts(tmp_path: Path) -> None:
    line = lines(1)[0]

    for cut in range(1, len(line)):
        assert read(tmp_path / "raw", line[:cut] + BOM + line, 1)[0] == {0: "é0"}
