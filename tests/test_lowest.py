"""The lowest pandas and polars that are promised, in an environment of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOWEST = ("pandas==2.2.3", "polars==1.20.0", "numpy<2.3")

ROUND_TRIP = """
import pandas as pd, polars as pl, dfbatch
from typing import Literal
from dfbatch.testing import answers
with answers(lambda params: "sport"):
    for frame in (pd.DataFrame({"text": ["A goal!", None]}), pl.DataFrame({"text": ["A goal!", None]})):
        out = frame.claude.batch("Topic: {text}", Literal["sport", "tech"], into="topic", progress=False)
        again = out.claude.batch("Topic: {text}", Literal["sport", "tech"], into="topic", progress=False)
        assert again.equals(out)
        print(list(out["topic"])[0])
print(pd.__version__, pl.__version__)
"""


@pytest.mark.full
def test_the_lowest_versions_hold_the_same_frames(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [str(python), "-m", "pip", "install", "-q", f"{ROOT}[local]", "pyarrow", "pytest", "hypothesis", *LOWEST]
    subprocess.run(install, check=True)
    told = subprocess.run([str(python), "-c", ROUND_TRIP], capture_output=True, text=True, check=True, cwd=tmp_path)
    frames = subprocess.run(
        [str(python), "-m", "pytest", "tests/frames"], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert told.stdout.split() == ["sport", "sport", "2.2.3", "1.20.0"]
    assert frames.returncode == 0, frames.stdout[-2000:]
