from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from dfbatch.progress.choose import Plainer, Silence, display, in_kernel
from dfbatch.progress.log import Log

if TYPE_CHECKING:
    from dfbatch.progress import Snapshot


class Broken:
    """A display whose front end is gone."""

    def __init__(self, shown: int = 0) -> None:
        self.shown = shown

    def show(self, snapshot: Snapshot) -> None:
        del snapshot
        self.shown -= 1
        if self.shown < 0:
            raise BrokenPipeError(32, "Broken pipe")

    def close(self, snapshot: Snapshot) -> None:
        del snapshot
        raise BrokenPipeError(32, "Broken pipe")


def test_false_is_silence(halfway: Snapshot, capsys: pytest.CaptureFixture[str]) -> None:
    shown = display(False)
    shown.show(halfway)
    shown.close(halfway)

    assert isinstance(shown, Silence)
    assert capsys.readouterr() == ("", "")


def test_a_test_run_is_no_kernel() -> None:
    assert not in_kernel()


def test_a_display_that_breaks_is_replaced_by_lines_and_says_so_once(
    halfway: Snapshot, ended: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Plainer(lambda: Broken(shown=1), Log)
    for snapshot in (halfway, halfway, halfway):
        shown.show(snapshot)
    shown.close(ended)
    lines = capsys.readouterr().err.splitlines()

    assert lines[0] == "dfbatch: a plainer display follows (BrokenPipeError: [Errno 32] Broken pipe)"
    assert ["waiting" in line for line in lines[1:]] == [True, False]


def test_when_every_display_is_broken_the_run_goes_on_in_silence(
    halfway: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = Plainer(Broken)
    shown.show(halfway)
    shown.show(halfway)
    shown.close(halfway)

    assert capsys.readouterr().err == "dfbatch: no progress is shown (BrokenPipeError: [Errno 32] Broken pipe)\n"


def test_a_closed_or_absent_stderr_never_stops_the_run(halfway: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        for kind in ("auto", "log", "bar", "panel"):
            shown = display(kind)
            shown.show(halfway)
            shown.close(halfway)


def test_the_stop_button_is_not_swallowed(halfway: Snapshot) -> None:
    class Stopped(Broken):
        def show(self, snapshot: Snapshot) -> None:
            del snapshot
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Plainer(Stopped, Log).show(halfway)


def test_a_panel_asked_for_without_a_notebook_becomes_lines(
    halfway: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    display("panel").show(halfway)
    lines = capsys.readouterr().err.splitlines()

    assert lines[0] == "dfbatch: a plainer display follows (RuntimeError: no notebook kernel runs this code)"
    assert lines[1].startswith("dfbatch run 7f3a “topics of 2026”: waiting for 2 batches")
