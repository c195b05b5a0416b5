"""What tests of the ledger stand on: a ledger, records for it, and other processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dfbatch
from dfbatch.ledger import Ledger
from dfbatch.ledger.records import BatchRecord, ChunkRecord, RunRecord, Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SPEC = Spec(
    prompt="Say {text}",
    reads=["text"],
    key=None,
    full=None,
    shape="text",
    columns=[],
    include=[],
    prefix="claude_",
    unpack=True,
    into=None,
    system=None,
    betas=[],
    head="{",
    tail="}",
    on_error="null",
    dtype_backend=None,
    reasons=[""],
    reuse=True,
    chunk_size=None,
    backend={"kind": "anthropic"},
)


def run_record(run_id: str = "aaaa1111", **changes: Any) -> RunRecord:
    said: dict[str, Any] = {
        "id": run_id,
        "created": 1.0,
        "name": "",
        "status": "planned",
        "message": "",
        "frame": "pandas",
        "rows": 3,
        "requests": 3,
        "skipped": 0,
        "model": "claude-haiku-4-5",
        "max_tokens": 10,
        "shared": "s1",
        "who": "anthropic x",
        "backend": "anthropic",
        "answered_by": "",
        "spends": True,
        "spec": SPEC,
    }
    return RunRecord(**said | changes)


def chunk_record(run_id: str = "aaaa1111", ordinal: int = 0, **changes: Any) -> ChunkRecord:
    said: dict[str, Any] = {
        "id": f"{run_id}-{ordinal}",
        "run": run_id,
        "ordinal": ordinal,
        "state": "planned",
        "shared": "s1",
        "nonce": f"n{run_id}{ordinal}",
        "requests": 3,
        "bytes": 100,
        "max_tokens": 10,
        "allowed": 10,
    }
    return ChunkRecord(**said | changes)


def batch_record(chunk: str, **changes: Any) -> BatchRecord:
    said: dict[str, Any] = {
        "chunk": chunk,
        "id": "msgbatch_1",
        "base_url": "https://api.anthropic.com",
        "organization": "",
        "workspace": "",
        "request_id": "req_1",
        "status": "in_progress",
        "created_at": "",
        "expires_at": "",
        "ended_at": "",
        "accepted": 2.0,
    }
    return BatchRecord(**said | changes)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    made = Ledger(tmp_path / "ledger", now=lambda: 5.0)
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start another process that runs this code; whatever is left of it ends with the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(code: str, *given: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, given)],
            cwd=Path(dfbatch.__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()
