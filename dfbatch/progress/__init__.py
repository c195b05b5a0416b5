"""How waiting looks. `Snapshot` is what there is to see, `Display` what shows it.

The panel is in `panel.py`, the terminal bar in `bar.py`, log lines in `log.py`; which one fits is said by `choose`.
What a person can do from it is `Controls`.
What is true about a run is not decided here: `run.py` hands in snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

SAFE: Final = "safe to close"
LATER: Final = "what fails is asked again when you come back"  # tries need a process
UNSENT: Final = ("planned", "sending")  # states of a chunk that has not left this machine …
UNKNOWN: Final = (*UNSENT, "in doubt")  # … or of which nobody knows whether it arrived


@dataclass(frozen=True, slots=True)
class BatchMark:
    """One chunk as a person sees it; `age` in seconds since the server accepted it, None before.

    `own`: it was asked by this run; others were asked by earlier runs, whose answers are waited for.
    """

    label: str
    state: Literal["planned", "sending", "in doubt", "waiting", "canceling", "collecting", "done", "failed"]
    requests: int
    age: float | None = None
    batch_id: str | None = None
    own: bool = True


@dataclass(frozen=True, slots=True)
class Peek:
    """The first answers as a small table of texts."""

    names: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """How often a label was given: in so many rows, that share of the answered ones, from `low` to `high` (or None)."""

    column: str
    label: str
    rows: int
    share: float
    low: float | None
    high: float | None
    about: str = ""  # what the interval is about, or why there is none


@dataclass(frozen=True, slots=True)
class Cause:
    """Why rows have no answer: their outcome, the error, how many, and the first of them."""

    outcome: str
    error: str
    count: int
    rows: tuple[int, ...]


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
    reserved: str = ""  # the most that what is under way may cost, in words
    forecast: str = ""  # the range in which the whole run will end
    foretold: str = ""  # at the end: the range that was expected before, and how far off it was
    saved: tuple[tuple[str, str], ...] = ()  # what was not paid: by what ("batches", "reuse"), and how much, in words
    why: str = ""  # one line, said first: why an earlier run on these rows is not reused
    way_on: str = ""  # where it paused: what to do, if not resume
    tries: bool = False  # whether what fails is asked again by itself, while a process has the run
    tied: bool = False  # what answers is on this machine and ends with this process
    retries: int = 0  # requests that are asked again, and not answered yet
    ends: str = ""  # when it is expected to end, and by what that is known; "" where nothing is known
    peek: Peek = field(default_factory=Peek)
    causes: tuple[Cause, ...] = ()  # at the end: why rows have no answer
    shares: tuple[Share, ...] = ()  # at the end: how often each label was given

    @property
    def unsent(self) -> int:
        """Chunks that have not left this machine, or are leaving it."""
        return sum(mark.state in UNSENT for mark in self.batches)

    @property
    def doubted(self) -> int:
        """Chunks that were sent, and nobody knows whether they were accepted."""
        return sum(mark.state == "in doubt" for mark in self.batches)

    @property
    def safety(self) -> str:
        """Whether the process may be left: the one line that always shows."""
        sort, why = self._leaving
        later = f"; {LATER}" if self.tries and self.batches else ""
        return f"{why}: {sort}{later}" if sort == SAFE else f"{sort}: {why}"

    @property
    def safe(self) -> bool:
        """Whether nothing is asked of the person: the process may be left, and all goes on."""
        return self.brief == SAFE

    @property
    def brief(self) -> str:
        """The safety line in two or three words."""
        return self._leaving[0]

    @property
    def _leaving(self) -> tuple[str, str]:
        """What to do about leaving, and why."""
        told = [mark for mark in self.batches if mark.own or mark.state in UNKNOWN]
        of_all = f"of {len(told)} chunks"
        unsent = f"{self.unsent} {of_all} not sent" if self.unsent else ""
        doubted = f"{self.doubted} {of_all} in doubt" if self.doubted else ""
        if self.status == "paused":
            way_on = self.way_on or f"dfbatch.open({self.run!r}).resume() goes on"
            return "paused", ", ".join(filter(None, [unsent, doubted, way_on]))
        if unsent:
            return "do not close", ", ".join(filter(None, [unsent, doubted]))
        if doubted:
            return "all sent", f"{doubted}, looked for while this process lives"
        if not self.batches:
            return SAFE, "nothing to send"
        return ("all sent", "goes on only while this process lives") if self.tied else (SAFE, "all sent")


class Display(Protocol):
    """What shows snapshots to a person: `show` as often as once a second, `close` once, with the last one."""

    def show(self, snapshot: Snapshot) -> None:
        """Show this moment."""

    def close(self, snapshot: Snapshot) -> None:
        """Leave what should stay when the waiting is over."""


class Controls(Protocol):
    """What a person can do to a run from its display; each may be called on any thread, more than once, too late."""

    @property
    def blocks(self) -> bool:
        """Whether a cell waits for the run, so that there is something to detach from."""

    @property
    def held(self) -> bool:
        """Whether nothing further is sent, by somebody's wish."""

    def cancel(self) -> None:
        """Ask the server to stop."""

    def detach(self) -> None:
        """Let the cell end; the run goes on, and goes on sending."""

    def hold(self) -> None:
        """Send no further chunk."""

    def send(self) -> None:
        """Send further chunks after all."""
