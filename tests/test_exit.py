"""Scripts of all kinds end in silence: nothing is left open, and nothing is looked for where it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SLOW = "Executing <"  # how asyncio's debug mode begins what it says of a busy machine
ANNOUNCED = ("run ", "dfbatch run ", "preview: ")
HEAD = """
import os, pathlib, signal, tempfile, threading
import pandas as pd, dfbatch
from dfbatch.testing import Emulator, answers
signal.signal(signal.SIGINT, signal.default_int_handler)
df = pd.DataFrame({"text": [f"text {at}" for at in range(30)]})
"""
SCRIPTS = {
    "a batch, a preview, a plan": """
with Emulator():
    out = df.claude.batch("{text}", progress=False)
    few = df.claude.preview("About {text}", rows=3, progress=False)
    plan = df.claude.plan("Of {text}", progress=False)
""",
    "a run left when its emulator's block closes": """
with Emulator(law="fixed:3600"):
    run = df.claude.submit("{text}", progress=False)
""",
    "an exception within the block": """
try:
    with Emulator(law="fixed:3600"):
        run = df.claude.submit("{text}", progress=False)
        raise RuntimeError("of the script itself")
except RuntimeError:
    pass
""",
    "a run looked at after its block": """
with Emulator(law="fixed:3600"):
    run = df.claude.submit("{text}", progress=False)
for look in (lambda: run.counts, run.wait, run.result):
    try:
        look()
    except dfbatch.errors.LedgerError as error:
        assert "is closed" in str(error) and "inside of the block" in str(error)
    else:
        raise AssertionError
""",
    "all sent, then the end": """
with Emulator(law="fixed:3600"):
    df.claude.submit("{text}", progress=False).wait(until="sent")
""",
    "detached": """
with Emulator(law="fixed:3600"):
    run = df.claude.submit("{text}", progress=False)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        run.wait()
    except dfbatch.Detached:
        pass
""",
    "an exported run": """
with answers(lambda params: "yes"), tempfile.TemporaryDirectory() as folder:
    run = df.claude.submit("{text}", progress=False).wait()
    dfbatch.open(run.export(pathlib.Path(folder) / "run.zip")).answers()
    repr(dfbatch.runs())
""",
    "the local backend": """
out = df.claude.batch("{text}", backend=dfbatch.Local(engine="sample"), progress=False)
""",
    "an emulator that cannot be made": """
try:
    with Emulator(nonsense=1):
        pass
except TypeError:
    pass
""",
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Every script as a process of its own, all at once: warnings are errors, and Python looks closely."""
    processes = {}
    for name, script in SCRIPTS.items():
        place = {**os.environ, "DFBATCH_HOME": str(tmp_path_factory.mktemp("home"))}
        processes[name] = subprocess.Popen(
            [sys.executable, "-W", "error", "-X", "dev", "-c", HEAD + script],
            cwd=ROOT,
            env=place,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_ends_in_silence(ended: dict[str, subprocess.Popen[str]], name: str) -> None:
    _, said = ended[name].communicate(timeout=100)
    told = [line for line in said.splitlines() if not line.startswith((SLOW, *ANNOUNCED))]

    assert (told, ended[name].returncode) == ([], 0)
