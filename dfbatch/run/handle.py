"""`Run`: a plan being carried out, as users hold it. The work is in `loop.py`, the waiting thread's in `driver.py`.

A run outlives kernel and machine: all that is here can be made again from the ledger, see `shelf.py`.
"""

from __future__ import annotations

import warnings
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dfbatch.errors import (
    DfbatchError,
    NoFrame,
    NoSuchRun,
    RowsFailed,
    RowsFailedWarning,
    RunPaused,
    explain,
    outside,
)
from dfbatch.frames import adapter as adapter_of
from dfbatch.frames import by_name
from dfbatch.run import acts, layout, written
from dfbatch.run.answers import Answers
from dfbatch.run.costs import cost
from dfbatch.run.damage import DAMAGED, short
from dfbatch.run.driver import Driver, live
from dfbatch.run.loop import Work
from dfbatch.run.portable import export
from dfbatch.run.recovery import as_read
from dfbatch.run.report import Row, announcement, tally
from dfbatch.run.shares import as_columns
from dfbatch.run.sheet import Sheet
from dfbatch.run.standing import standing
from dfbatch.run.views import View
from dfbatch.run.waiting import SHOWN, watch_start

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from dfbatch import pricing, schemas
    from dfbatch.backends import Backend
    from dfbatch.frames import Library
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.progress import Snapshot
    from dfbatch.run.notice import Notice
    from dfbatch.run.prepare import Prepared


class Run:
    """A run: submit → poll → collect, and its answers.

    Attributes are plain and ask nobody: `id`, `name`, `status`, `done`, `counts` (rows by outcome plus `pending`),
    `cost`, `as_of` (seconds since 1970).

    >>> import dfbatch, pandas as pd
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     df = dfbatch.batch(pd.DataFrame({"text": ["A goal!"]}), "Topic of: {text}", progress=False)
    ...     run = dfbatch.last_run()
    ...     run.status, run.counts
    ('done', {'succeeded': 1})
    """

    def __init__(
        self,
        ledger: Ledger,
        record: RunRecord,
        backend: Backend,
        schema: schemas.Schema,
        *,
        prepared: Prepared | None = None,
        frame: Any = None,
        like: Any = None,
        progress: Any = "auto",
    ) -> None:
        self.id = record.id
        self.name = record.name
        self.record = record
        self.replaced = prepared.replaced if prepared else ()
        self.forecast = prepared.forecast if prepared else None
        self.why = ""  # an earlier run on these rows is not reused, in one line
        self._asked = sum(chunk.requests for chunk in prepared.claimed.chunks) if prepared else 0
        self._ledger = ledger
        self._schema = schema
        self._frame = frame
        self._like = like  # the Series it was asked of
        self._progress = progress
        self._prompt = prepared.prompt if prepared else None
        requests, rows, damage = as_read(ledger, record)
        sheet = prepared.sheet if prepared else Sheet(requests, schema, tuple(record.spec.include), record.id)
        lock = prepared.lock if prepared else ledger.lock(record.id)
        self._work = Work(ledger, record, backend, sheet, lock, status=record.status, message=record.message)
        self._work.damage = damage
        self._driver = Driver(self._work, self)
        self._answers = Answers(ledger, record, sheet, rows, self._work.models)
        self._view = View(self, self._work, self._driver, self._answers)

    def __repr__(self) -> str:
        """Short, and asks nobody: `<Run 7f3a · 4 batches · 812/1000 rows · $0.41>`."""
        if self._work.damage is not None:
            return f"<Run {self.id} · {DAMAGED} · {short(self._work.damage)}>"
        try:
            counts = self.counts
        except DfbatchError as error:  # its ledger is closed, with the block of an emulator
            return f"<Run {self.id} · {str(error).splitlines()[0]}>"
        good = counts.get("succeeded", 0)
        return f"<Run {self.id} · {self.status} · {good:,}/{self.record.rows:,} rows answered · {self.cost}>"

    def _repr_html_(self) -> str:
        from dfbatch.progress.summary import html

        if self._work.damage is not None:
            return f"<pre>{escape(str(self._work.damage))}</pre>"
        return html(self.snapshot())

    def _ipython_display_(self) -> None:
        """In a notebook that somebody looks at, the live panel, whoever carries the run on; else as it prints."""
        if self._work.damage is not None or not self._view.displayed():
            raise NotImplementedError  # IPython shows it in another way then

    # ------------------------------------------------------------- attributes

    @property
    def status(self) -> str:
        """planned, sending, waiting, collecting, paused, canceling, canceled or done."""
        return self._standing()[0]

    @property
    def message(self) -> str:
        """The one line that matters now, where there is one."""
        return self._standing()[1]

    def _standing(self) -> tuple[str, str]:
        if self._work.damage is not None:
            return DAMAGED, short(self._work.damage)
        return self._driver.standing if self._driver.running else standing(self._ledger, self.record)

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.status in ("done", "canceled")

    @property
    def counts(self) -> dict[str, int]:
        """Rows by outcome, and `pending`; they sum to the frame's length."""
        self._load()
        return tally(self._answers.outcomes())

    @property
    def cost(self) -> pricing.Cost:
        """What this run cost so far (USD), every try counted; answers of earlier runs cost nothing again."""
        self._load()
        return cost(self._work, self._answers.take)

    @property
    def as_of(self) -> float:
        """When these attributes were true: now while it is under way here, else when the ledger last changed."""
        return self._work.clock.now() if self._driver.running else self._ledger.last_change(self.id)

    @property
    def announcement(self) -> str:
        """One line: its id, its rows, what is asked, the forecast, how to come back."""
        return announcement(self.record, self._asked, self.forecast, self.why)

    @property
    def columns(self) -> list[str]:
        """The names of the columns it makes."""
        spec = self.record.spec
        beside = layout.added(spec.samples, spec.include)
        return [*(name for name, _ in spec.columns), *(spec.prefix + item for item in beside)]

    def snapshot(self) -> Snapshot:
        """All there is to see at this moment."""
        return self._view.snapshot()

    # ---------------------------------------------------------------- waiting

    def wait(self, timeout: float | None = None, until: Literal["done", "sent"] = "done") -> Run:
        """Wait until all is answered, or with `until="sent"` until it is safe to close; returns the run.

        Raises StillRunning after `timeout` seconds, the reason where the run paused, and Detached on interrupt.
        """
        self.look_after()
        quiet = 0.0 if self.forecast else SHOWN  # reopened: what is there already is laid first
        self._view.wait(self._progress, timeout=timeout, until=until, quiet=quiet)
        self._driver.raise_if_paused(self)
        return self

    def notify(self, how: Notice) -> Run:
        """Have a function called with the run, or a shell command run, when it has ended here; returns the run.

        A command finds DFBATCH_RUN, DFBATCH_STATUS and DFBATCH_SUMMARY (one line) in its environment.
        """
        self._driver.notify(how, over=self.done)
        return self

    def started(self) -> Run:
        """Wait until the first chunk is accepted, or nothing is left to send; returns the run."""
        watch_start(self, self._driver)
        self._driver.raise_if_paused(self)
        return self

    def look_after(self) -> None:
        """See that it is carried on in this process, as far as that needs nothing sent; a run that is done is left."""
        if self.status == "forgotten":
            raise NoSuchRun(f"run {self.id} was forgotten", hint="dfbatch.runs() lists those that are there")
        if not self._driver.running and not (self.done and self._work.is_laid):
            self._driver.drive(sending=False)

    def __await__(self) -> Generator[Any, None, Run]:
        """`await run` in async code: like `wait()`, without a display."""
        return self._awaited().__await__()

    async def _awaited(self) -> Run:
        self.look_after()
        await self._driver.ended()
        self._driver.raise_if_paused(self)
        return self

    def _load(self) -> None:
        """Lay what is collected already, where nothing is under way that does it."""
        if not self._driver.running:
            self._work.load()

    # ---------------------------------------------------------------- answers

    def result(self, timeout: float | None = None) -> Any:
        """Wait, then the frame as submitted plus the columns (a Series where a Series asked).

        Raises NoFrame in another process: use `answers()` or `join(df)` there.
        """
        if self._frame is None:
            raise NoFrame(
                f"the frame of run {self.id} is not in this process",
                hint=f"dfbatch.open({self.id!r}).answers() needs no frame; .join(df) lays them onto one",
                run=self,
            )
        self.wait(timeout)
        laid = self._lay(telling=True)
        self._tell_failures()
        return laid

    def partial(self) -> Any:
        """The columns known so far, on the frame where it is at hand; asks nobody and never waits."""
        self._load()
        return self.answers(wait=False) if self._frame is None else self._lay()

    def _lay(self, *, telling: bool = False) -> Any:
        columns = self._answers.columns()
        backend = self._dtype_backend
        adapter = adapter_of(self._frame)
        if self._like is not None:
            return adapter.series(columns, self._like, dtype_backend=backend)
        attrs = dict.fromkeys(self.columns, self.id)
        if telling and self.replaced:
            answers = columns[: len(self.record.spec.columns)]
            if told := written.outdone(adapter, self._frame, answers, self.record, self._ledger):
                warnings.warn(told, RowsFailedWarning, stacklevel=outside())
        return adapter.lay(self._frame, columns, replace=self.replaced, attrs=attrs, dtype_backend=backend)

    @property
    def _dtype_backend(self) -> Literal["pyarrow"] | None:
        return "pyarrow" if self.record.spec.dtype_backend == "pyarrow" else None

    def answers(self, kind: Library | None = None, *, wait: bool = True) -> Any:
        """One line a row without any frame: row, key, the columns, status, error."""
        self._settle(wait=wait)
        return by_name(kind or self._library()).new(self._answers.by_row(), dtype_backend=self._dtype_backend)

    def samples(self, kind: Library | None = None, *, wait: bool = True) -> Any:
        """One line per row and sample, where `samples=` asked several: row, sample, key, the columns, status, error."""
        self._settle(wait=wait)
        return by_name(kind or self._library()).new(self._answers.by_sample(), dtype_backend=self._dtype_backend)

    def _library(self) -> Library:
        return "polars" if self.record.frame == "polars" else "pandas"

    def join(self, df: Any, *, overwrite: bool = False) -> Any:
        """Lay the answers onto any frame with the same rows: a subset, reordered, repeated, or read again from disk.

        Rows are known by their content (the cells that the prompt used), or by `key=` where the run had one. Rows that
        are new or were changed since stay missing, and a warning says how many.
        """
        self._settle(wait=True)
        adapter = adapter_of(df)
        columns, replaced = self._answers.joined(adapter, df, self.columns, overwrite=overwrite)
        attrs = dict.fromkeys(self.columns, self.id)
        return adapter.lay(df, columns, replace=replaced, attrs=attrs, dtype_backend=self._dtype_backend)

    def objects(self) -> list[Any]:
        """One instance of the schema a row (a model, a dataclass, a value), None where there is no answer."""
        self._settle(wait=True)
        return self._answers.objects(self._schema)

    def _settle(self, *, wait: bool) -> None:
        """Wait where that helps; a run that paused shows what it has, and says so."""
        if wait:
            try:
                self.wait()
            except DfbatchError as error:
                warnings.warn(error.in_full, RowsFailedWarning, stacklevel=outside())
        self._load()

    def _tell_failures(self) -> None:
        told, hint = self._answers.failure()
        if told and self.record.spec.on_error == "raise":
            raise RowsFailed(*told, hint=hint, run=self)
        if told:
            warnings.warn(explain(*told, hint=hint), RowsFailedWarning, stacklevel=outside())

    def failures(self) -> Any:
        """The rows without an answer, skipped ones too: row, status, error, answer, prompt; worst cause first."""
        self._load()
        return by_name(self._library()).new(self._answers.failed())

    def shares(self, column: str | None = None) -> Any:
        """How often each label was given: share of answered rows; chance alone, not how often the model errs.

        Columns: `column`, `label` (text), `rows` (integer), `share`, `low`, `high` (floats; the ends of the 95 %
        interval, missing where there is none), `about` (text: what the interval is about, or why there is none).
        Equal rows count once for chance; rows refused, cut or invalid may have any label, and both ends allow for it.
        """
        self._load()
        return by_name(self._library()).new(as_columns(self._answers.shares(), column))

    def show(self, row: int) -> Row:
        """One row in full: what was asked, what was answered, how it was judged.

        The ledger keeps the prompts of rows that did not succeed. Others are made again from the frame, where it is at
        hand: in the process that asked.
        """
        self._load()
        return self._answers.row(row, self._frame, self._prompt)

    # ----------------------------------------------------------------- acting

    def retry(
        self,
        which: str | Sequence[str] | None = None,
        via: Literal["batch", "now"] = "batch",
        *,
        max_tokens: int | None = None,
        model: str | None = None,
    ) -> Run:
        """Ask rows again, and pay for them again; returns the run, under way.

        `which` names outcomes; by default all that failed: errored, expired, canceled, missing, truncated, invalid.
        `via="now"` sends a few rows (200 at most) through `/v1/messages` at once, at the full price. `max_tokens` and
        `model` change what is asked for, for these rows alone.
        """
        self._view.wait(self._progress, timeout=None, until="done", quiet=SHOWN)
        self._load()
        if acts.ask_by_hand(self._work, which, via, max_tokens=max_tokens, model=model) or not self.done:
            self._driver.drive(sending=True)
        return self

    def resume(self, *, lost: Literal["missing"] | None = None, budget: float | None = None) -> Run:
        """Go on: send what is not sent, wait for the rest; returns the run, under way.

        `lost="missing"` lets go of batches that are gone at the server: their rows stay missing. `budget` is another
        limit for all that the run spends (USD). After a pilot that failed, the rest is sent all the same.
        """
        acts.before_resuming(self._work, lost, budget)
        if lost or self.status != "done":
            self._driver.drive(sending=True)
        return self

    def resolve(self, *, pay_twice: bool) -> Run:
        """Ask the requests of chunks in doubt again, though they may be billed already; returns the run, under way.

        Without it, waiting looks for them at the server and finds out within ten minutes, or when the batch that may be
        theirs has ended. Should the first batch turn up later, the second is canceled if it still runs.
        """
        acts.resolve(self._work, pay_twice=pay_twice)
        self._driver.drive(sending=True)
        return self

    def cancel(self) -> Run:
        """Ask the server to stop, and send nothing further; what is answered already is kept, and billed."""
        if not self.done:
            self._ledger.want_cancel(self.id, wanted=True)
            self._driver.drive(sending=False, canceling=True)
        return self

    def forget(self, *, at_server: bool = False) -> None:
        """Remove record, prompts and answers, but for what other runs draw on; `at_server=True`: ended batches too."""
        if self._driver.running:
            raise RunPaused(f"run {self.id} is under way", hint="cancel it or wait for it first", run=self)
        acts.forget(self._work, at_server=at_server)
        live.pop(self.id, None)

    def export(self, path: str | Path) -> Path:
        """Write answers, template, system prompt and prompts of failed rows to one file, for `dfbatch.open(path)`."""
        return export(self._ledger, self.record, Path(path))
