"""`Run`: a plan being carried out, as users hold it. The work is in `loop.py`, the waiting thread's in `driver.py`.

A run outlives kernel and machine: all that is here can be made again from the ledger, see `shelf.py`.
"""

from __future__ import annotations

import shutil
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dfbatch import pricing
from dfbatch.columns import Column
from dfbatch.errors import (
    Detached,
    DfbatchError,
    NoFrame,
    OptionError,
    RowsFailed,
    RowsFailedWarning,
    RunPaused,
    StillRunning,
    explain,
    outside,
)
from dfbatch.frames import adapter as adapter_of
from dfbatch.frames import by_name
from dfbatch.kinds import Kind
from dfbatch.ledger.files import read_array
from dfbatch.progress.choose import display as display_for
from dfbatch.run import layout
from dfbatch.run.again import ask_failed
from dfbatch.run.driver import STEP, Driver, live
from dfbatch.run.join import matched
from dfbatch.run.loop import Work
from dfbatch.run.portable import export
from dfbatch.run.report import (
    SEE_FAILURES,
    Row,
    announcement,
    answer_text,
    failed_columns,
    failed_rows,
    keys,
    snapshot,
    tally,
)
from dfbatch.run.sheet import Sheet
from dfbatch.run.spools import remove

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from dfbatch import schemas
    from dfbatch.backends import Backend
    from dfbatch.frames import Library
    from dfbatch.ledger import Ledger
    from dfbatch.ledger.records import RunRecord
    from dfbatch.progress import Snapshot
    from dfbatch.run.prepare import Prepared

SHOWN = 1.0  # seconds between moments that are shown


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
        self._asked = sum(chunk.requests for chunk in prepared.claimed.chunks) if prepared else 0
        self._ledger = ledger
        self._schema = schema
        self._frame = frame
        self._like = like  # the Series it was asked of
        self._progress = progress
        rows = read_array(ledger.run_file(record.id, "rows.npy"))
        self._rows = rows
        self._take = rows["request"].astype(np.int64)
        sheet = prepared.sheet if prepared else self._empty_sheet()
        lock = prepared.lock if prepared else ledger.lock(record.id)
        self._work = Work(ledger, record, backend, sheet, lock, status=record.status, message=record.message)
        self._driver = Driver(self._work, self)
        self._began = time.time()

    def _empty_sheet(self) -> Sheet:
        requests = read_array(self._ledger.run_file(self.id, "requests.npy"))
        return Sheet(requests, self._schema, tuple(self.record.spec.include))

    def __repr__(self) -> str:
        """Short, and asks nobody: `<Run 7f3a · 4 batches · 812/1000 rows · $0.41>`."""
        counts = self.counts
        done = self.record.rows - counts.get("pending", 0)
        return f"<Run {self.id} · {self.status} · {done}/{self.record.rows} rows · {self.cost}>"

    def _repr_html_(self) -> str:
        from dfbatch.progress.summary import html

        return html(self.snapshot())

    # ------------------------------------------------------------- attributes

    @property
    def status(self) -> str:
        """planned, sending, waiting, collecting, paused, canceling, canceled or done."""
        return self._work.status if self._driver.running else self._ledger.standing(self.id)[0]

    @property
    def message(self) -> str:
        """The one line that matters now, where there is one."""
        return self._work.message if self._driver.running else self._ledger.standing(self.id)[1]

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.status in ("done", "canceled")

    @property
    def counts(self) -> dict[str, int]:
        """Rows by outcome, and `pending`; they sum to the frame's length."""
        self._load()
        return tally(self._work.sheet.outcomes(self._take))

    @property
    def cost(self) -> pricing.Cost:
        """What this run's own batches cost so far (USD); answers taken from earlier runs cost nothing again."""
        self._load()
        tokens = self._work.sheet.tokens(self.id)
        return pricing.Cost(
            pricing.cost(self.record.model, tokens),
            tokens,
            as_if=not (self.record.spends and self._work.backend.spends),
        )

    @property
    def as_of(self) -> float:
        """When these attributes were true: now while it is under way here, else when the ledger last changed."""
        return self._work.clock.now() if self._driver.running else self._ledger.last_change(self.id)

    @property
    def announcement(self) -> str:
        """One line: its id, its rows, what is asked, the forecast, how to come back."""
        return announcement(self.record, self._asked, self.forecast)

    @property
    def columns(self) -> list[str]:
        """The names of the columns it makes."""
        spec = self.record.spec
        return [*(name for name, _ in spec.columns), *(spec.prefix + item for item in spec.include)]

    def snapshot(self) -> Snapshot:
        """All there is to see at this moment."""
        return snapshot(self, self._work, self._ledger, self._take, since=self._began)

    # ---------------------------------------------------------------- waiting

    def wait(self, timeout: float | None = None, until: Literal["done", "sent"] = "done") -> Run:
        """Wait until all is answered, or with `until="sent"` until it is safe to close; returns the run.

        Raises StillRunning after `timeout` seconds, the reason where the run paused, and Detached on interrupt.
        """
        driver = self._driver
        self._drive_unless_done()
        shown = display_for(self._progress) if driver.running and self._progress is not False else None
        deadline = None if timeout is None else time.monotonic() + timeout
        due = time.monotonic()
        try:
            while driver.running and not (until == "sent" and driver.all_sent):
                if deadline is not None and time.monotonic() >= deadline:
                    raise StillRunning(
                        f"run {self.id} is still {self.status} after {timeout:g} s",
                        "it goes on",
                        hint=f"wait again, or come back with dfbatch.open({self.id!r})",
                        run=self,
                    )
                if shown and time.monotonic() >= due:
                    due = time.monotonic() + SHOWN
                    shown.show(self.snapshot())
                driver.pause(STEP if deadline is None else min(STEP, max(0.0, deadline - time.monotonic())))
        except KeyboardInterrupt:
            raise Detached(driver.detach(), run=self) from None
        finally:
            if shown:
                shown.close(self.snapshot())
        driver.raise_if_paused(self)
        return self

    def started(self) -> Run:
        """Wait until the first chunk is accepted, or nothing is left to send; returns the run."""
        try:
            while self._driver.running and not self._driver.any_sent:
                self._driver.pause(STEP)
        except KeyboardInterrupt:
            raise Detached(self._driver.detach(), run=self) from None
        self._driver.raise_if_paused(self)
        return self

    def _drive_unless_done(self) -> None:
        laid = self._work.sheet.chunks != [] or not self.record.requests
        if not self._driver.running and not (self.done and laid):
            self._driver.drive(sending=False)

    def __await__(self) -> Generator[Any, None, Run]:
        """`await run` in async code: like `wait()`, without a display."""
        return self._awaited().__await__()

    async def _awaited(self) -> Run:
        self._drive_unless_done()
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
        laid = self._lay()
        self._tell_failures()
        return laid

    def partial(self) -> Any:
        """The columns known so far, on the frame where it is at hand; asks nobody and never waits."""
        self._load()
        return self.answers(wait=False) if self._frame is None else self._lay()

    def _lay(self) -> Any:
        columns = layout.laid_out(self._work.sheet, self.record.spec, self._take)
        layout.note_written(self._ledger, self.record, columns)
        backend = self._dtype_backend
        adapter = adapter_of(self._frame)
        if self._like is not None:
            return adapter.series(columns, self._like, dtype_backend=backend)
        attrs = dict.fromkeys(self.columns, self.id)
        return adapter.lay(self._frame, columns, replace=self.replaced, attrs=attrs, dtype_backend=backend)

    @property
    def _dtype_backend(self) -> Literal["pyarrow"] | None:
        return "pyarrow" if self.record.spec.dtype_backend == "pyarrow" else None

    def answers(self, kind: Library | None = None, *, wait: bool = True) -> Any:
        """One line a row without any frame: row, key, the columns, status, error."""
        self._settle(wait=wait)
        columns = [Column("row", Kind("int"), np.arange(self.record.rows), np.ones(self.record.rows, bool))]
        columns += keys(self._ledger, self.record)
        columns += layout.laid_out(self._work.sheet, self.record.spec, self._take, extras=False)
        columns += [self._work.sheet.added("status", self._take), self._errors()]
        return by_name(kind or self._library()).new(columns, dtype_backend=self._dtype_backend)

    def _library(self) -> Library:
        return "polars" if self.record.frame == "polars" else "pandas"

    def _errors(self) -> Column:
        column = self._work.sheet.added("error", self._take)
        reasons = self.record.spec.reasons
        for row in np.flatnonzero(self._rows["why"]).tolist():
            column.values[row], column.valid[row] = reasons[self._rows["why"][row]], True
        return Column("error", column.kind, column.values, column.valid)

    def join(self, df: Any, *, overwrite: bool = False) -> Any:
        """Lay the answers onto any frame with the same rows: a subset, reordered, repeated, or read again from disk.

        Rows are known by their content (the cells that the prompt used), or by `key=` where the run had one. Rows that
        are new or were changed since stay missing, and a warning says how many.
        """
        self._settle(wait=True)
        adapter = adapter_of(df)
        replaced = layout.replaced(adapter, df, self.columns, self._ledger, overwrite=overwrite)
        take = matched(self._ledger, self.record, self._rows, adapter, df)
        columns = layout.laid_out(self._work.sheet, self.record.spec, take)
        attrs = dict.fromkeys(self.columns, self.id)
        return adapter.lay(df, columns, replace=replaced, attrs=attrs, dtype_backend=self._dtype_backend)

    def objects(self) -> list[Any]:
        """One instance of the schema a row (a model, a dataclass, a value), None where there is no answer."""
        self._settle(wait=True)
        return [self._object(request) for request in self._take.tolist()]

    def _object(self, request: int) -> Any:
        if request < 0 or self._work.sheet.found[request]["outcome"] != 1:
            return None
        return self._schema.objects(answer_text(self._ledger, self._work.sheet, request))

    def _settle(self, *, wait: bool) -> None:
        """Wait where that helps; a run that paused shows what it has, and says so."""
        if wait:
            try:
                self.wait()
            except DfbatchError as error:
                warnings.warn(str(error).partition("\n")[0], RowsFailedWarning, stacklevel=outside())
        self._load()

    def _tell_failures(self) -> None:
        counts = self.counts
        if not counts.keys() - {"succeeded", "skipped"}:
            return
        told = failed_rows(self.record, counts, self._errors())
        if self.record.spec.on_error == "raise":
            raise RowsFailed(*told, hint=SEE_FAILURES, run=self)
        warnings.warn(explain(*told, hint=SEE_FAILURES), RowsFailedWarning, stacklevel=outside())

    def failures(self) -> Any:
        """The rows without an answer: row, status, error, what was answered, what was asked; worst cause first."""
        self._load()
        columns = failed_columns(self._ledger, self.record, self._work.sheet, self._take, self._errors())
        return by_name(self._library()).new(columns)

    def show(self, row: int) -> Row:
        """One row in full: what was asked, what was answered, how it was judged."""
        if not 0 <= row < self.record.rows:
            raise IndexError(f"row {row}: run {self.id} has rows 0 to {self.record.rows - 1}")
        self._load()
        return Row.of(self._ledger, self.record, self._work.sheet, self._take, self._errors(), row)

    # ----------------------------------------------------------------- acting

    def retry(self, which: str | Sequence[str] | None = None, via: str = "batch", **changes: Any) -> Run:
        """Ask rows again, in a new batch, and pay for them again; returns the run, under way.

        `which` names outcomes; by default all that failed: errored, expired, canceled, missing, truncated, invalid.
        """
        if via != "batch" or changes:
            what = f"via={via!r}" if via != "batch" else ", ".join(f"{name}=" for name in changes)
            raise OptionError(f"retry({what}) is not built yet", hint="run.retry(which=…) asks again as it was asked")
        self._driver.wait_quietly()
        self._load()
        ask_failed(self._ledger, self.record, self._work.sheet, which)
        self._driver.drive(sending=True)
        return self

    def resume(self, **changes: Any) -> Run:
        """Go on: send what is not sent, wait for the rest; returns the run, under way."""
        if changes:
            raise OptionError(f"resume({', '.join(changes)}) is not built yet", hint="run.resume()")
        self._driver.drive(sending=True)
        return self

    def cancel(self) -> Run:
        """Ask the server to stop and send nothing further; what is answered already is kept, and billed."""
        if not self.done:
            self._driver.drive(sending=False, canceling=True)
        return self

    def forget(self) -> None:
        """Remove the run from this machine: prompts, answers and its place in the ledger. Batches are not canceled."""
        if self._driver.running:
            raise RunPaused(f"run {self.id} is under way", hint="cancel it or wait for it first", run=self)
        remove(self._ledger, self._ledger.forget(self.id))
        shutil.rmtree(self._ledger.run_file(self.id, "rows.npy").parent, ignore_errors=True)
        live.pop(self.id, None)

    def export(self, path: str | Path) -> Path:
        """Write the run with prompts and answers to one file; `dfbatch.open(path)` reads it on any machine."""
        return export(self._ledger, self.record, Path(path))
