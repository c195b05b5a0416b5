"""Whatever goes wrong with a display, the run goes on, the cell gets its frame, and the panel comes to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from dfbatch.errors import LedgerError
from dfbatch.run import thread
from dfbatch.run.views import View
from dfbatch.testing import answers

if TYPE_CHECKING:
    import pytest

    from dfbatch.progress import Snapshot

FRAME: Any = pd.DataFrame({"text": ["A goal!", "A chip"]})


class Shown:
    """A display that notes what it was asked to do."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def show(self, snapshot: Snapshot) -> None:
        """Note it."""
        self.seen.append(f"show {snapshot.status}")

    def close(self, snapshot: Snapshot) -> None:
        """Note it."""
        self.seen.append(f"close {snapshot.status}")


def test_a_look_that_fails_breaks_no_cell(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: View) -> Snapshot:
        raise LedgerError("the disk is away")

    monkeypatch.setattr(View, "snapshot", broken)
    with answers(lambda _: "sport"):
        out = FRAME.claude.batch("{text}", into="topic", progress="log")

    assert out["topic"].tolist() == ["sport", "sport"]
    assert "could not be looked at: LedgerError: the disk is away" in caplog.text


def test_a_panel_beside_a_cell_is_closed_with_what_was_seen_last(monkeypatch: pytest.MonkeyPatch) -> None:
    with answers(lambda _: "sport"):
        run = FRAME.claude.submit("{text}", progress=False).wait()
        view, shown = run._view, Shown()
        last = view.look()
        monkeypatch.setattr(View, "snapshot", lambda _: (_ for _ in ()).throw(LedgerError("away")))
        thread.start(view._follow(shown)).result()

    assert last is not None
    assert shown.seen == ["close done"]
