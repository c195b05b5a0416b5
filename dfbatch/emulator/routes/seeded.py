"""The stateless stand-in behind `--seed-id`: one id that can be retrieved, canceled, deleted and read in any order.

For test suites written against an OpenAPI mock, such as the official SDK's. Not here: real batches (batches.py).
"""

from __future__ import annotations

from typing import Any

from dfbatch.emulator import lines, shapes
from dfbatch.emulator.clock import DAY
from dfbatch.emulator.store import Batch

_CREATED = 1_727_202_000_000_000


def batch(batch_id: str, origin: str) -> dict[str, Any]:
    """A batch that ended with its one request expired."""
    it = Batch(
        id=batch_id,
        workspace="",
        created_at=_CREATED,
        expires_at=_CREATED + DAY,
        ended_at=_CREATED + DAY,
        total=1,
        expired=1,
        version="",
        law="0",
        lanes=1,
        speed=1,
        seed=0,
    )
    return shapes.batch(it, archived_at=None, origin=origin)


def results() -> bytes:
    """Its result line."""
    return lines.plain("seeded", "expired")
