"""What every test stands on: a ledger of its own, and nothing of this machine's environment."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How fast examples are drawn depends on what else the machine does; no test asserts it.
settings.register_profile("dfbatch", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("dfbatch")


@pytest.fixture(autouse=True)
def ledger_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The ledger folder of this test alone; keys, backends and budgets of the environment are out of sight."""
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "DFBATCH_"))]:
        monkeypatch.delenv(name)
    home = tmp_path / "ledger-home"
    monkeypatch.setenv("DFBATCH_HOME", str(home))
    yield home
    if run := sys.modules.get("dfbatch.run"):
        run.close_ledgers()
