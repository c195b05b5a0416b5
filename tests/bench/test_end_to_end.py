"""Speed and memory against the official SDK's typed calls, as ratios within one run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def measured(side: str, url: str, rows: int) -> dict[str, float]:
    command = [sys.executable, str(HERE / "sides.py"), side, url, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compared(rows: int, runs: int) -> tuple[float, float, str]:
    """How many times faster, and which part of the memory; minima of interleaved runs."""
    server = subprocess.Popen([sys.executable, str(HERE / "instant_server.py")], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        ours, theirs = [], []
        for _ in range(runs):
            ours.append(measured("dfbatch", url, rows))
            theirs.append(measured("sdk", url, rows))
    finally:
        server.kill()
        server.communicate()
    seconds = [min(run["seconds"] for run in side) for side in (ours, theirs)]
    peaks = [min(run["peak_bytes"] for run in side) for side in (ours, theirs)]
    report = (
        f"{rows:,} rows: dfbatch {seconds[0]:.2f} s, {peaks[0] / 1e6:.0f} MB;"
        f" SDK {seconds[1]:.2f} s, {peaks[1] / 1e6:.0f} MB;"
        f" {seconds[1] / seconds[0]:.1f} times faster, {peaks[0] / peaks[1]:.2f} of the memory"
    )
    print(report)
    return seconds[1] / seconds[0], peaks[0] / peaks[1], report


@pytest.mark.full
def test_a_hundred_thousand_rows_are_eight_times_faster_in_a_fifth_of_the_memory() -> None:
    faster, memory, report = compared(100_000, runs=5)

    assert faster >= 8, report
    assert memory <= 0.2, report


def test_ten_thousand_rows_are_faster_and_smaller_with_the_ledger_on() -> None:
    faster, memory, report = compared(10_000, runs=2)

    assert faster >= 2, report  # imports and first connections weigh more here
    assert memory <= 0.8, report
