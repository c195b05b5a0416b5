"""How waiting looks. `Snapshot` is what there is to see, `Display` what shows it.

The panel is in `panel.py`, the terminal bar in `bar.py`, log lines in `log.py`; which one fits is said by `choose`.
What is true about a run is not decided here: `run.py` hands in snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class BatchMark:
    """One chunk as a person sees it; `age` in seconds since the server accepted it, None before."""

    label: str
    state: Literal["planned", "sending", "in doubt", "waiting", "canceling", "collecting", "done", "failed"]
    requests: int
    age: float | None = None
    batch_id: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All there is to see of a run at one moment. Counts are rows; `counts` by outcome plus `pending`, sum = `rows`."""

    run: str
    name: str
    status: str
    model: str
    answered_by: str  # "" for the real API, else e.g. "SmolLM2, not Claude"
    rows: int
    requests: int  # distinct requests of this run
    reused: int  # rows answered from the ledger
    counts: dict[str, int] = field(default_factory=dict)
    batches: tuple[BatchMark, ...] = ()
    elapsed: float = 0.0
    spent: str = ""  # what the answered part cost, in words ("$0.41", "$0.41 as-if", "unknown")
    message: str = ""  # one line that matters now: in doubt, paused, network down ...

    @property
    def unsent(self) -> int:
        """Chunks that have not been accepted by the server yet."""
        return sum(mark.state in ("planned", "sending", "in doubt") for mark in self.batches)

    @property
    def safety(self) -> str:
        """Whether the process may be left: the one line that always shows."""
        if not self.batches:
            return "nothing to send: safe to close"
        if self.unsent:
            return f"do not close: {self.unsent} of {len(self.batches)} chunks not sent"
        return "all sent: safe to close"


class Display(Protocol):
    """What shows snapshots to a person: `show` as often as once a second, `close` once, with the last one."""

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment."""

    def close(self, snapshot: Snapshot) -> None:
        """Leave what should stay when the waiting is over."""
