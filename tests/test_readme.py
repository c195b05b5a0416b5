"""Every Python block of the README runs, in order, and every command it names exists."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

from dfbatch.cli import main
from dfbatch.testing import Emulator

TESTS = Path(__file__).parent
README = TESTS.parent / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("default::dfbatch.errors.RowsFailedWarning")
def test_the_blocks_run_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks("python")
    names: dict[str, object] = {}
    with Emulator(engine="sample"), warnings.catch_warnings():
        for number, block in enumerate(found):
            exec(compile(block, f"README block {number}", "exec", dont_inherit=True), names)

    assert len(found) >= 6
    assert "run" in names


def test_the_shell_commands_exist() -> None:
    named = {line.split()[1] for block in blocks("sh") for line in block.splitlines() if line.startswith("dfbatch ")}
    for command in sorted(named):
        result = CliRunner().invoke(main, [command, "--help"])

        assert result.exit_code == 0, f"{command}: {result.output}"
    assert {"runs", "show", "wait", "emulate", "fetch-model"} <= named


def test_every_promise_of_what_happens_if_names_a_test_that_is_there() -> None:
    section = README.read_text().partition("## What happens if")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    sources = [path.read_text() for path in TESTS.rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.MULTILINE)}

    assert len(rows) >= 10
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= there, row


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (README.parent / "Makefile").read_text(), flags=re.MULTILINE))
    promised = set(re.findall(r"^ +(?:[A-Z_]+=… )?make ([a-z-]+)", README.read_text(), flags=re.MULTILINE))

    assert promised
    assert promised <= targets
