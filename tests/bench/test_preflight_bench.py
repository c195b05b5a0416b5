"""How soon a wrong model name in a large frame is told: under five seconds, with nothing spent."""

from __future__ import annotations

import time
from typing import Any

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import NotFound

ROWS = 50_000
AT_MOST = 5.0  # seconds
RUNS = 3


def test_a_wrong_model_name_in_fifty_thousand_rows_costs_nothing_and_is_told_in_five_seconds() -> None:
    frame: Any = pl.DataFrame({"text": [f"text number {at} of many, with some words more" for at in range(ROWS)]})
    spent = []
    with Server(engine="sample") as server:
        backend = dfbatch.Anthropic(api_key="k", base_url=server.url)
        for _ in range(RUNS):
            begun = time.perf_counter()
            with pytest.raises(NotFound, match="model: claude-haiku-45"):
                frame.claude.batch("{text}", model="claude-haiku-45", backend=backend, progress=False)
            spent.append(time.perf_counter() - begun)
        bill = server.usage()
    print(f"\na wrong model in {ROWS:,} rows is told in {min(spent):.2f} s")

    assert (bill["dollars"], bill["requests"]) == (0, 0)
    assert min(spent) < AT_MOST
