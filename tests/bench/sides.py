"""The two sides of the end-to-end benchmark, each run in a process of its own: `python sides.py dfbatch|sdk URL ROWS`.

Prints seconds from the call to the typed columns, and peak memory over what was there before the call.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel

SYSTEM = "You classify what customers write about their orders. " * 28  # 1,512 characters
PROMPT = "Classify this review:\n{text}"


class Review(BaseModel):
    """Four fields, as in the benchmark's description."""

    sentiment: Literal["positive", "neutral", "negative"]
    score: int
    urgent: bool
    topic: str


def texts(rows: int) -> list[str]:
    """Texts of 300 to 600 characters, all different."""
    draw = random.Random(1)
    words = ["parcel", "late", "great", "colour", "refund", "support", "broken", "quick", "price", "again"]
    made = []
    for row in range(rows):
        length = draw.randint(300, 600)
        text = f"Order {row}: "
        while len(text) < length:
            text += draw.choice(words) + " "
        made.append(text[:length])
    return made


def resident(field: str) -> int:
    """A figure of this process's memory in bytes: `VmRSS` now, `VmHWM` the peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def with_dfbatch(url: str, df: pd.DataFrame) -> pd.DataFrame:
    """What a user of dfbatch writes, with ledger and budget; nothing goes ahead, as the other side asks all at once."""
    import dfbatch

    backend = dfbatch.Anthropic(api_key="k", base_url=url)
    half = len(df) // 2 + 1
    at_once: dict[str, Any] = {"preflight": False, "pilot": False, "budget": 1_000}
    return dfbatch.batch(df, PROMPT, Review, system=SYSTEM, backend=backend, chunk_size=half, progress=False, **at_once)


def with_sdk(url: str, df: pd.DataFrame) -> pd.DataFrame:
    """What the SDK's documentation shows: typed calls, dicts, two batches."""
    import anthropic

    client = anthropic.Anthropic(api_key="k", base_url=url)
    schema: Any = anthropic.transform_schema(Review)
    half = len(df) // 2 + 1
    found: dict[str, Review] = {}
    for start in range(0, len(df), half):
        requests: list[Any] = [
            {
                "custom_id": f"row-{start + at}",
                "params": {
                    "model": "claude-haiku-4-5",
                    "max_tokens": 1024,
                    "system": SYSTEM,
                    "output_config": {"format": {"type": "json_schema", "schema": schema}},
                    "messages": [{"role": "user", "content": f"Classify this review:\n{text}"}],
                },
            }
            for at, text in enumerate(df["text"].iloc[start : start + half])
        ]
        batch = client.messages.batches.create(requests=requests)
        while client.messages.batches.retrieve(batch.id).processing_status != "ended":
            time.sleep(0.1)
        for line in client.messages.batches.results(batch.id):
            if line.result.type == "succeeded":
                block: Any = line.result.message.content[0]
                found[line.custom_id] = Review.model_validate_json(block.text)
    answers = pd.DataFrame([found[f"row-{row}"].model_dump() for row in range(len(df))], index=df.index)
    return pd.concat([df, answers], axis=1)


def main(side: str, url: str, rows: int) -> None:
    """Run one side once."""
    df = pd.DataFrame({"text": texts(rows)})
    importlib.import_module("dfbatch" if side == "dfbatch" else "anthropic")
    with tempfile.TemporaryDirectory() as home:
        os.environ["DFBATCH_HOME"] = home
        (with_dfbatch if side == "dfbatch" else with_sdk)(url, df.head(2))  # modules and connections are there
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
        began = time.perf_counter()
        out = (with_dfbatch if side == "dfbatch" else with_sdk)(url, df)
        took = time.perf_counter() - began
        peak = resident("VmHWM") - before
    assert len(out) == rows
    assert out["score"].between(1, 5).all()
    print(json.dumps({"seconds": took, "peak_bytes": peak}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
