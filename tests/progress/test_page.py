"""In marimo the summary stands below the cell, in an exported page too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("marimo")

NOTEBOOK = """
import marimo

app = marimo.App()


@app.cell
def _():
    import pandas as pd
    import dfbatch
    from dfbatch.testing import answers

    with answers(lambda params: "sport"):
        frame = pd.DataFrame({"text": ["<script>alert(1)</script>", "goal"]})
        out = frame.claude.batch("{text}", into="topic", name="<i>in marimo</i>")
    return
"""


def test_a_cell_shows_the_summary_and_nothing_in_it_becomes_markup(tmp_path: Path) -> None:
    path, page = tmp_path / "notebook.py", tmp_path / "page.html"
    path.write_text(NOTEBOOK)
    command = [sys.executable, "-m", "marimo", "-y", "export", "html", str(path), "-o", str(page), "--no-include-code"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    text = page.read_text("utf-8")

    assert done.returncode == 0, done.stderr
    assert re.search(r"dfbatch run [0-9a-f]{8}", text)
    assert "done after" in text
    assert "succeeded" in text
    assert "<i>in marimo" not in text
