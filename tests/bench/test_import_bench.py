"""What `import dfbatch` costs a pandas user: at most 25 ms beyond pandas, the least of several fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys

AT_MOST = 0.025
RUNS = 9
CLOCKED = """
import json, sys, time
marks = [time.perf_counter()]
for name in sys.argv[1:]:
    __import__(name)
    marks.append(time.perf_counter())
print(json.dumps([after - before for before, after in zip(marks, marks[1:])]))
"""


def seconds(*modules: str) -> list[float]:
    """Of each import in a fresh interpreter, one after the other."""
    command = [sys.executable, "-c", CLOCKED, *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    spent: list[float] = json.loads(done.stdout)
    return spent


def test_importing_dfbatch_costs_at_most_25_ms_beyond_pandas() -> None:
    spent = [seconds("pandas", "dfbatch")[1] for _ in range(RUNS)]
    print(f"\nimport dfbatch: {min(spent) * 1e3:.1f} ms after pandas")

    assert min(spent) <= AT_MOST
