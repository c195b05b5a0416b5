"""What every test stands on: a ledger of its own, and nothing of this machine's environment."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# How fast examples are drawn depends on what else the machine does; no test asserts it.
settings.register_profile("dfbatch", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("dfbatch")

TESTS: Final = Path(__file__).parent
HOUR: Final = 3600
# Seconds for a test where the 120 of pyproject.toml do not do. The first line that holds counts.
PATIENT: Final = {
    "full": 4 * HOUR,  # the long draws: their size is their purpose
    "storm": 4 * HOUR,  # one test draws all schedules: `make storm` ten thousand of them
    "bench": HOUR,  # the same work several times, ours and the SDK's
    "browser": 600,  # Jupyter servers and Chromium start, on a machine that may be busy
    "model": 600,  # a real language model on two cores
    "test_packaging.py": 600,  # builds wheels and virtual environments
    "test_notebooks.py": 600,  # kernels, and in one of them the model
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its time; all others have what pyproject.toml says."""
    for item in items:
        kinds = {item.path.relative_to(TESTS).parts[0], *(mark.name for mark in item.iter_markers())}
        limits = [seconds for kind, seconds in PATIENT.items() if kind in kinds]
        if limits and "timeout" not in kinds:
            item.add_marker(pytest.mark.timeout(limits[0]))


@pytest.fixture(autouse=True, scope="session")
def stop_button() -> Iterator[None]:
    """Python's handler of SIGINT, which a suite started by nohup or in the background, and its children, would lack."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
