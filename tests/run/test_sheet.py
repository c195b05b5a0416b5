"""Rows and answers stay together, whatever a results file holds; nothing is sent here."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from dfbatch import schemas
from dfbatch.columns import cells
from dfbatch.ledger import Ledger
from dfbatch.ledger.files import write_array
from dfbatch.ledger.records import ChunkRecord
from dfbatch.requests import REQUEST, custom_ids
from dfbatch.results import FINAL, OUTCOMES
from dfbatch.run.report import answer_text
from dfbatch.run.sheet import Sheet

from .plain_server import succeeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MANY = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
SIZE = 6
NONCE = "d123456789"


def requests_of(size: int, step: int = 3) -> np.ndarray[Any, Any]:
    made = np.empty(size, REQUEST)
    made["position"] = np.arange(size) * step
    made["digest"] = [hashlib.sha256(b"%d" % at).digest()[:16] for at in range(size)]
    return made


REQUESTS = requests_of(SIZE)
IDS = [name.decode() for name in custom_ids(NONCE, REQUESTS)]
CHUNK = ChunkRecord(
    id="c",
    run="r",
    ordinal=0,
    state="ended",
    shared="s",
    nonce=NONCE,
    requests=SIZE,
    bytes=0,
    max_tokens=9,
    allowed=9,
)


def told(kind: str, name: str) -> dict[str, Any]:
    """A result of this kind; succeeded ones name the request they answer."""
    return {
        "succeeded": succeeded(f"{name} says é😀"),
        "other": succeeded(f"{name} says something else"),
        "split": succeeded("")
        | {"message": {"content": [{"type": "thinking"}, {"type": "text", "text": f"{name} .."}]}},
        "refusal": succeeded(f"{name} no", stop_reason="refusal"),
        "cut": succeeded(f"{name} and", stop_reason="max_tokens"),
        "errored": {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": name}}},
        "expired": {"type": "expired"},
        "canceled": {"type": "canceled"},
        "deferred": {"type": "deferred", "until": name},
        "hollow": {"type": "succeeded", "message": None},
    }[kind]


KINDS = ("succeeded", "other", "split", "refusal", "cut", "errored", "expired", "canceled", "deferred", "hollow")
OUTCOME = dict(
    zip(
        KINDS,
        ["succeeded"] * 3 + ["refused", "truncated", *["errored"], "expired", "canceled"] + ["errored"] * 2,
        strict=True,
    )
)


def line(at: int, kind: str) -> bytes:
    return json.dumps({"custom_id": IDS[at], "result": told(kind, IDS[at])}).encode()


own = st.builds(line, st.integers(0, SIZE - 1), st.sampled_from(KINDS))
strangers = st.sampled_from(
    [IDS[0] + "0", IDS[0][:-1], IDS[0].upper(), "", "x" * 64, IDS[1] + "\0", "d123456789" + "9" * 14, "é" * 12]
)
foreign = st.builds(lambda name: json.dumps({"custom_id": name, "result": succeeded("foreign")}).encode(), strangers)
junk = st.sampled_from(
    [
        b"",
        b"  ",
        b"\r",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"custom_id":1}',
        b'{"custom_id":"\\ud800","result":{}}',
        b"{" * 9,
    ]
)
pair = st.builds(lambda one, two: one + two, own, own)  # two objects on one line: both count
piece = st.one_of(own, own, own, foreign, junk, pair)


def whole_lines(raw: bytes) -> list[tuple[str, dict[str, Any], bytes]]:
    """What an honest, slow reader makes of a file: JSON objects of the right shape, one or several a line."""
    found = []
    for part in raw.split(b"\n"):
        for text in objects(part.decode("latin-1")):
            try:
                made = json.loads(text)
                found.append((made["custom_id"], made["result"], text.encode("latin-1")))
            except (KeyError, TypeError):
                continue
    return [one for one in found if one[0] in IDS]


def objects(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        try:
            _, end = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            return
        yield text[at:end]
        at = end


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    opened = Ledger(tmp_path / "small")
    write_array(opened.chunk_file("c", "map.npy"), REQUESTS, durable=False)
    opened.close()
    return opened


def filled(ledger: Ledger, raw: bytes, requests: np.ndarray[Any, Any] = REQUESTS) -> Sheet:
    sheet = Sheet(requests, schemas.read(None), ("custom_id", "message"))
    path = ledger.chunk_file("c", "jsonl")
    path.write_bytes(raw)
    path.chmod(0o600)
    sheet.take(CHUNK, REQUESTS, path)
    sheet.absent(REQUESTS, "missing", "no line")
    return sheet


def laid(sheet: Sheet) -> list[tuple[str, Any, Any]]:
    take = np.arange(len(sheet.requests))
    names = [OUTCOMES[code] for code in sheet.outcomes(take).tolist()]
    ids = cells(sheet.added("custom_id", take), take.tolist())
    return list(zip(names, cells(sheet.columns()[0], take.tolist()), ids, strict=True))


@MANY
@given(parts=st.lists(piece, max_size=14), crlf=st.booleans(), torn=st.integers(0, 200))
@example(parts=[line(0, "succeeded") + line(1, "succeeded"), b"", line(2, "other")], crlf=False, torn=0)
def test_every_row_gets_its_own_answer_or_a_missing_value_with_a_status(
    ledger: Ledger,
    parts: list[bytes],
    crlf: Any,
    torn: int,
) -> None:
    end = b"\r\n" if crlf else b"\n"
    raw = b"".join(part + end for part in parts)
    raw = raw[: max(0, len(raw) - torn)]
    sheet = filled(ledger, raw)
    expected = {name: result for name, result, _ in whole_lines(raw)}

    for at, (outcome, answer, custom_id) in enumerate(laid(sheet)):
        if IDS[at] not in expected:
            assert (outcome, answer) == ("missing", None)
            continue
        assert custom_id == IDS[at]
        assert (answer is not None) == (outcome == "succeeded")
        if outcome in {"succeeded", "refused", "truncated"}:
            assert (answer or IDS[at]).startswith(IDS[at])
            assert answer_text(ledger, sheet, at).startswith(IDS[at])


@MANY
@given(parts=st.lists(st.tuples(st.integers(0, SIZE - 1), st.sampled_from(KINDS)), max_size=10), data=st.data())
def test_any_permutation_of_lines_gives_the_same_rows(
    ledger: Ledger, parts: list[tuple[int, str]], data: st.DataObject
) -> None:
    raw = [line(at, kind) for at, kind in parts]
    first = laid(filled(ledger, b"\n".join(raw)))
    again = data.draw(st.permutations(raw))

    assert laid(filled(ledger, b"\n".join(again) + b"\n")) == first
    for at, (outcome, _, _) in enumerate(first):
        kinds = [kind for row, kind in parts if row == at]
        best = [kind for kind in kinds if OUTCOME[kind] == "succeeded"]
        best = best or [kind for kind in kinds if OUTCOME[kind] in FINAL] or kinds
        assert outcome in ({OUTCOME[kind] for kind in best} or {"missing"})


@MANY
@given(parts=st.lists(piece, max_size=10), read=st.integers(1, 40), longest=st.integers(0, 400))
def test_lines_that_are_too_long_to_hold_are_as_if_they_were_not_there(
    ledger: Ledger, parts: list[bytes], read: int, longest: int
) -> None:
    """Wherever a line begins and ends in what is read at one time, by which it may be longer."""
    assume(not any(longest < len(part) <= longest + read for part in parts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfbatch.run.reader._READ", read)
        patch.setattr("dfbatch.run.reader.LONGEST", longest)
        found = laid(filled(ledger, b"".join(part + b"\n" for part in parts)))

    assert found == laid(filled(ledger, b"\n".join(part for part in parts if len(part) <= longest)))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.parametrize("size", [1 << 30, pytest.param(2 << 30, marks=pytest.mark.full)])
def test_a_line_of_gigabytes_is_passed_over_in_bounded_memory(ledger: Ledger, size: int) -> None:
    """The file is sparse: it takes no room. The process may have half of it more than it has: it would need all."""
    path = ledger.chunk_file("c", "jsonl")
    with path.open("wb") as file:
        file.write(line(0, "succeeded") + b"\n")
        file.seek(size, os.SEEK_CUR)
        file.write(b"\n" + line(1, "refusal") + b"\n")
    path.chmod(0o600)
    sheet = Sheet(REQUESTS, schemas.read(None))
    before = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + size // 2, before[1]))
    try:
        sheet.take(CHUNK, REQUESTS, path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    sheet.absent(REQUESTS, "missing", "no line")

    assert [outcome for outcome, *_ in laid(sheet)] == ["succeeded", "refused", *["missing"] * 4]


@MANY
@given(parts=st.lists(own, max_size=12), data=st.data())
def test_two_downloads_of_one_chunk_leave_what_either_held(
    ledger: Ledger, parts: list[bytes], data: st.DataObject
) -> None:
    """A second download goes behind the first: what is shown of a row is still the row's own."""
    sheet = Sheet(REQUESTS, schemas.read(None), ("custom_id",))
    path = ledger.chunk_file("c", "jsonl")
    raw = b""
    for block in (parts, data.draw(st.permutations(parts))):
        raw += b"\n".join(block)[: data.draw(st.integers(0, 2000))] + b"\n"
        path.write_bytes(raw)
        path.chmod(0o600)
        sheet.take(CHUNK, REQUESTS, path)
    sheet.absent(REQUESTS, "missing", "no line")

    assert laid(sheet) == laid(filled(ledger, raw))

    for at in range(SIZE):
        text = answer_text(ledger, sheet, at)
        assert not any(name in text for name in IDS if name != IDS[at])


def test_rows_of_other_runs_in_a_chunk_are_judged_and_not_laid(ledger: Ledger) -> None:
    sheet = Sheet(REQUESTS[[4, 1]], schemas.read(None))
    path = ledger.chunk_file("c", "jsonl")
    path.write_bytes(b"\n".join(line(at, "succeeded") for at in range(SIZE)))
    path.chmod(0o600)
    found = sheet.take(CHUNK, REQUESTS, path)

    assert (found["outcome"] == 1).all()
    assert [str(cell)[:24] for cell in cells(sheet.columns()[0], [0, 1])] == [IDS[4], IDS[1]]


@pytest.mark.parametrize("order", [range(5), range(4, -1, -1), [2, 2, 0, 2]])
def test_later_tries_take_the_place_of_all_but_a_success(ledger: Ledger, order: Sequence[int]) -> None:
    """A success stays; anything else gives way to what was asked later."""
    kinds = ("errored", "cut", "succeeded", "refusal", "expired")
    sheet = Sheet(REQUESTS[:1], schemas.read(None))
    path = ledger.chunk_file("c", "jsonl")
    for number, at in enumerate(order):
        path.write_bytes(line(0, kinds[at]))
        path.chmod(0o600)
        sheet.take(replace(CHUNK, id=f"try-{number}"), REQUESTS, path)

    assert OUTCOMES[sheet.found[0]["outcome"]] == "succeeded"
