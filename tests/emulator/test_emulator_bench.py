"""The figures the emulator promises: 100,000 requests of 250 MB in bounded memory, ten such batches side by side."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .test_command import emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTE = "/v1/messages/batches"
HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01", "content-type": "application/json"}
COUNT = 100_000
SCHEMA = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "enum": ["sport", "tech", "politics"]},
        "summary": {"type": "string"},
        "score": {"type": "integer"},
        "flag": {"type": "boolean"},
    },
    "required": ["topic", "summary", "score", "flag"],
    "additionalProperties": False,
}
MB = 1e6

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc"),
]


def peak(pid: int, *, anew: bool = False) -> float:
    """The process's highest resident size in MB since it was last set anew."""
    if anew:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def write_body(path: Path, count: int) -> None:
    shared = {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "system": "Judge the text by its topic and tone. " * 42,
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    opening = json.dumps(shared, separators=(",", ":"))[:-1]
    with path.open("w") as out:
        out.write('{"requests":[')
        for row in range(count):
            text = f"text {row} " + "hello world " * 40
            comma = "," if row else ""
            out.write(
                f'{comma}{{"custom_id":"r{row}","params":{opening},"messages":[{{"role":"user","content":"{text}"}}]}}}}'
            )
        out.write("]}")


def post(client: httpx.Client, path: Path) -> Any:
    def blocks() -> Iterator[bytes]:
        with path.open("rb") as file:
            while block := file.read(1 << 18):
                yield block

    return client.post(ROUTE, content=blocks(), headers={"content-length": str(path.stat().st_size)}).json()


def wait(client: httpx.Client, batch_id: str) -> None:
    while client.get(f"{ROUTE}/{batch_id}").json()["processing_status"] != "ended":
        time.sleep(0.05)


def download(client: httpx.Client, batch_id: str) -> int:
    with client.stream("GET", f"{ROUTE}/{batch_id}/results") as reply:
        return sum(piece.count(b"\n") for piece in reply.iter_raw())


def test_a_hundred_thousand_requests_in_bounded_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = tmp_path / "body.json"
    write_body(body, COUNT)
    options = ("--data", str(tmp_path / "data"), "--law", "0", "--tier", "none", "--quiet")
    with (
        emulator(tmp_path, *options) as (process, facts),
        httpx.Client(base_url=facts["url"], headers=HEADERS, timeout=300) as client,
    ):
        client.get(ROUTE)
        idle = peak(process.pid, anew=True)
        began = time.perf_counter()
        batch = post(client, body)
        received, up = time.perf_counter() - began, peak(process.pid) - idle
        wait(client, batch["id"])
        processed, made = time.perf_counter() - began - received, peak(process.pid) - idle
        began = time.perf_counter()
        lines = download(client, batch["id"])
        streamed, down = time.perf_counter() - began, peak(process.pid) - idle
    with capsys.disabled():
        print(
            f"\n{body.stat().st_size / MB:.0f} MB, idle {idle:.0f} MB: received and checked in {received:.2f} s "
            f"(+{up:.0f} MB), answered in {processed:.2f} s (+{made:.0f} MB), "
            f"streamed in {streamed:.2f} s (+{down:.0f} MB)"
        )

    assert lines == COUNT
    assert body.stat().st_size > 230 * MB
    assert up < 150
    assert down < 150


def test_ten_such_batches_live_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = tmp_path / "body.json"
    write_body(body, COUNT)
    options = ("--data", str(tmp_path / "data"), "--law", "fixed:60", "--speed", "1", "--tier", "none", "--quiet")
    with (
        emulator(tmp_path, *options) as (process, facts),
        httpx.Client(base_url=facts["url"], headers=HEADERS, timeout=300) as client,
    ):
        idle = peak(process.pid, anew=True)
        began = time.perf_counter()
        ids = [post(client, body)["id"] for _ in range(10)]
        took, most = time.perf_counter() - began, peak(process.pid) - idle
        listed = client.get(ROUTE).json()["data"]
    with capsys.disabled():
        print(f"\nten batches created in {took:.1f} s while being answered, +{most:.0f} MB")

    assert [batch["id"] for batch in listed] == ids[::-1]
    assert {batch["processing_status"] for batch in listed} == {"in_progress"}
    assert {batch["request_counts"]["processing"] for batch in listed} == {COUNT}
    assert most < 300
