from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dfbatch.progress import BatchMark, Snapshot
from dfbatch.progress.log import Log

if TYPE_CHECKING:
    import pytest

SHOW = """
from dataclasses import replace
from dfbatch.progress import BatchMark, Snapshot
from dfbatch.progress.choose import display
half = Snapshot("7f3a", "", "waiting", "claude-haiku-4-5", "", 1000, 960, 0, {"succeeded": 597, "pending": 403},
                (BatchMark("1", "waiting", 960, 250.0),), 250.0, "$0.41")
shown = display("auto")
for _ in range(100):
    shown.show(half)
shown.close(replace(half, status="done", counts={"succeeded": 1000}))
import sys
print([name for name in ("tqdm", "ipywidgets", "anywidget", "IPython", "asyncio") if name in sys.modules])
"""


def test_a_process_without_a_terminal_reads_one_line_per_change_and_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        capture_output=True,
        check=True,
        encoding="utf-8",
        cwd=Path(__file__).parents[2],
        env={"PYTHONIOENCODING": "utf-8"},
    )

    assert done.stderr.splitlines() == [
        "dfbatch run 7f3a: waiting for 1 batch · 597/1,000 rows · 4 min · $0.41 · all sent: safe to close",
        "dfbatch run 7f3a: done · 1,000/1,000 rows · 4 min · $0.41",
    ]
    assert done.stdout.strip() == "[]"


def test_why_nothing_is_reused_is_the_first_line_and_is_said_once(
    halfway: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [0.0]
    shown = Log(clock=lambda: times[-1])
    for now in (0.0, 40.0, 80.0):
        times.append(now)
        shown.show(replace(halfway, why="run 1a2b is not reused:\x1b prompt 'a' → 'b'"))
    lines = capsys.readouterr().err.splitlines()

    assert lines[0] == "dfbatch run 7f3a “topics of 2026”: run 1a2b is not reused:\\x1b prompt 'a' → 'b'"
    assert ["1a2b" in line for line in lines] == [True, False, False, False]


def test_a_quiet_run_gives_a_sign_of_life_every_thirty_seconds(
    halfway: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _lines(capsys, [(second, replace(halfway, elapsed=second)) for second in range(100)])

    assert said == [0, 30, 60, 90]


def test_signs_of_life_of_an_old_run_are_five_minutes_apart(
    halfway: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _lines(capsys, [(second, replace(halfway, elapsed=80_000 + second)) for second in range(1000)])

    assert said == [0, 300, 600, 900]


def test_a_change_is_said_at_once_and_silence_is_counted_from_there(
    halfway: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    down = replace(halfway, message="network down")

    said = _lines(capsys, [(second, down if second >= 10 else halfway) for second in range(60)])

    assert said == [0, 10, 40]


def test_a_thousand_chunks_on_their_way_are_not_a_thousand_lines(
    halfway: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    def sending(sent: int) -> Snapshot:
        marks = [BatchMark(str(at), "waiting" if at < sent else "planned", 1) for at in range(1000)]
        return replace(halfway, batches=tuple(marks))

    said = _lines(capsys, [(sent / 50, sending(sent)) for sent in range(0, 1001, 10)])

    assert said == [0, 20]  # the first, and the one that says all is sent


def test_a_chunk_in_doubt_is_said_at_once(halfway: Snapshot, capsys: pytest.CaptureFixture[str]) -> None:
    planned = replace(halfway, batches=(BatchMark("1", "sending", 960),))
    doubt = replace(halfway, batches=(BatchMark("1", "in doubt", 960),))

    assert _lines(capsys, [(0, planned), (5, planned), (7, doubt), (8, doubt)]) == [0, 7]


def test_a_change_within_the_second_is_not_lost(halfway: Snapshot, capsys: pytest.CaptureFixture[str]) -> None:
    down = replace(halfway, message="network down")

    assert _lines(capsys, [(0, halfway), (0.5, down), (0.9, down), (1.0, down), (1.1, down)]) == [0, 1.0]


def test_the_last_line_is_always_written(ended: Snapshot, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Log(clock=lambda: 0.0)
    shown.show(ended)
    shown.close(ended)

    assert len(capsys.readouterr().err.splitlines()) == 2


def _lines(capsys: pytest.CaptureFixture[str], moments: list[tuple[float, Snapshot]]) -> list[float]:
    """The times at which a line was written."""
    now = 0.0
    shown, said = Log(clock=lambda: now), []
    for now, snapshot in moments:  # the clock reads it
        shown.show(snapshot)
        said += [now] * len(capsys.readouterr().err.splitlines())
    return said
