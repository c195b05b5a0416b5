"""The bar in a real pseudo-terminal: what a person reads there."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dfbatch.progress import BatchMark, Snapshot, bar

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
import fcntl  # noqa: E402  # as pty, not on Windows
import os  # noqa: E402
import struct  # noqa: E402
import subprocess  # noqa: E402
import termios  # noqa: E402

SHOW = """
from dataclasses import replace
from dfbatch.progress import BatchMark, Snapshot
from dfbatch.progress.choose import display
half = Snapshot("7f3a", "topics", "waiting", "claude-haiku-4-5", "SmolLM2, not Claude", 1000, 960, 0,
                {"succeeded": 597, "pending": 403}, (BatchMark("1", "waiting", 960, 250.0),), 250.0, "$0.41 as-if",
                "network down\\x1b[2J")
shown = display("auto")
shown.show(half)
shown.close(replace(half, status="done", counts={"succeeded": 1000}, message=""))
"""


def test_a_person_reads_what_is_waited_for_and_how_to_come_back() -> None:
    lines = _read(SHOW, columns=120)

    assert lines[0] == "dfbatch run 7f3a “topics”: claude-haiku-4-5, answered by SmolLM2, not Claude"
    assert lines[1] == "Ctrl-C = detach: batches go on, come back with dfbatch.open('7f3a')"
    assert "network down\\x1b[2J" in lines
    assert re.fullmatch(
        r"waiting for 1 batch, 4 min 10 s \|█+[▉-▏]? *\| 597/1000 rows, all sent: safe to close · \$0\.41 as-if",
        lines[-2],
    )


def test_why_nothing_is_reused_stands_before_the_bar() -> None:
    why = SHOW.replace("\nshown = ", "\nhalf = replace(half, why='run 1a2b is not reused: model a to b')\nshown = ", 1)
    lines = _read(why, columns=120)

    assert lines[1] == "run 1a2b is not reused: model a to b"
    assert sum("1a2b" in line for line in lines) == 1


def test_the_bar_leaves_one_summary_line() -> None:
    assert _read(SHOW, columns=120)[-1] == (
        "dfbatch run 7f3a “topics”: done · 1,000/1,000 rows · 4 min · $0.41 as-if · SmolLM2, not Claude"
    )


def test_the_bar_itself_is_wiped_from_the_screen() -> None:
    assert not [line for line in _read(SHOW, columns=120, screen=True) if "|" in line]


def test_a_narrow_terminal_still_shows_whether_it_may_be_closed() -> None:
    drawn = _read(SHOW, columns=72)[-2]

    assert drawn.startswith("waiting for 1 batch, 4 min 10 s |")
    assert drawn.endswith("| 597/1000 rows, safe to close")
    assert len(drawn) <= 72


def test_no_rate_and_no_time_left_are_invented() -> None:
    written = "\n".join(_read(SHOW, columns=120))

    assert not re.search(r"it/s|row/s|s/row|<\d|\?", written)


def test_the_bar_stands_still_for_less_than_a_second_and_starts_no_thread() -> None:
    probe = (
        SHOW.replace("shown.show(half)", "")
        + """
import sys, threading
from dfbatch.progress.bar import Bar
from dfbatch.progress.pace import Pace
now, drawn = 0.0, []
paced = Bar(Pace(clock=lambda: now))
for step in range(50):
    now = step / 10
    paced.show(replace(half, elapsed=now))
    drawn.append(paced._bar.desc)
sys.stdout.write(f"{sorted(set(drawn), key=drawn.index)} {threading.active_count()}")
"""
    )
    printed = _read(probe, columns=120, stdout=True)

    assert printed == str([f"waiting for 1 batch, {second} s" for second in range(5)]) + " 1"


def test_tqdm_switched_off_in_the_environment_does_not_break_the_bar() -> None:
    assert "597/1000 rows" in _read(SHOW, columns=120, env={"TQDM_DISABLE": "1"})[-2]


def test_unsent_chunks_are_said_in_full_where_there_is_room(halfway: Snapshot) -> None:
    unsent = replace(halfway, batches=(*halfway.batches, BatchMark("4", "planned", 40)))

    assert bar.postfix(unsent, wide=True) == "do not close: 1 of 4 chunks not sent · $0.41 as-if"
    assert bar.postfix(unsent, wide=False) == "do not close"
    assert bar.postfix(replace(unsent, status="paused"), wide=False) == "paused"


def _read(
    code: str, *, columns: int, stdout: bool = False, screen: bool = False, env: dict[str, str] | None = None
) -> list[str] | str:
    """Run code with its stderr on a terminal; each redrawing of the bar is a line, or only what is left on the screen.

    Colours are taken away; with `stdout` what the code printed there.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    place = {**os.environ, "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **(env or {})}
    done = subprocess.Popen(
        [sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE, env=place, cwd=Path(__file__).parents[2]
    )
    os.close(theirs)
    written = b""
    while part := _part(ours):
        written += part
    os.close(ours)
    said, _ = done.communicate(timeout=60)
    assert done.returncode == 0, written.decode()
    bare = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", written.decode())
    lines = [_left(line) for line in bare.split("\n")] if screen else re.split(r"[\r\n]+", bare)
    return said.decode() if stdout else [line.rstrip() for line in lines if line.strip()]


def _left(line: str) -> str:
    """What a line shows after each carriage return wrote over its start."""
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    return shown


def _part(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux: the other side is closed
        return b""
