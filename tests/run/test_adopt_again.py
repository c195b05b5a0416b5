"""A batch adopted more than once: what the first frame did not ask, a later one does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch import run as run_layer

if TYPE_CHECKING:
    from pathlib import Path

    from .plain_server import PlainServer

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
TEXTS = ["a", "b", "a", None, "c"]
ANSWERS = ["answer to a", "answer to b", "answer to a", None, "answer to c"]


@pytest.mark.parametrize("shorter", [1, 2, 3])
def test_a_frame_that_was_too_short_at_first_loses_nothing(
    claude: dfbatch.Anthropic, plain: PlainServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shorter: int
) -> None:
    whole = Polars({"text": TEXTS})
    run = whole.claude.submit("{text}", backend=claude, progress=False).wait()
    (batch,) = [mark.batch_id for mark in run.snapshot().batches]
    run_layer.close_ledgers()
    monkeypatch.setenv("DFBATCH_HOME", str(tmp_path / "new-home"))
    first = dfbatch.adopt(batch, whole.head(shorter), "{text}", backend=claude, progress=False)
    second = dfbatch.adopt(batch, whole, "{text}", backend=claude, progress=False)
    third = whole.claude.batch("{text}", backend=claude, progress=False)

    assert first.answers()["answer"].to_list() == ANSWERS[:shorter]
    assert second.answers()["answer"].to_list() == ANSWERS
    assert third["answer"].to_list() == ANSWERS
    assert (plain.gates["create"].count, set(plain.billed.values())) == (1, {1})
