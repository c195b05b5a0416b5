"""`Run`: a plan being carried out, as users hold it; and where runs are found again. The work is in `loop.py`.

A run outlives kernel and machine: all that is here can be made again from the ledger by `open_run(id)`.
"""

from __future__ import annotations

import concurrent.futures
import shutil
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dfbatch import pricing, schemas
from dfbatch.columns import Column
from dfbatch.errors import (
    Detached,
    DfbatchError,
    NoFrame,
    OptionError,
    RowsFailed,
    RowsFailedWarning,
    RunError,
    RunPaused,
    StillRunning,
)
from dfbatch.frames import adapter as adapter_of
from dfbatch.frames import by_name
from dfbatch.kinds import Kind
from dfbatch.ledger import Ledger, home
from dfbatch.ledger.files import read_array
from dfbatch.ledger.records import ENDED, PLANNED, RELEASED, SUBMITTED, SUBMITTING
from dfbatch.progress.choose import display as display_for
from dfbatch.run import layout, thread
from dfbatch.run.again import ask_failed
from dfbatch.run.loop import Work
from dfbatch.run.report import Row, failed_columns, snapshot, tally
from dfbatch.run.sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from dfbatch.backends import Backend
    from dfbatch.frames import Library
    from dfbatch.ledger.records import RunRecord
    from dfbatch.options import Options
    from dfbatch.progress import Snapshot
    from dfbatch.run.prepare import Prepared

SHOWN = 1.0  # seconds between moments that are shown
STEP = 0.2  # seconds between looks of the waiting thread: interrupts and displays are served this often

_ledgers: dict[Path, Ledger] = {}
_live: dict[str, Run] = {}  # runs under way in this process, and the last one


class Run:
    """A run: submit → poll → collect, and its answers.

    Attributes are plain and ask nobody: `id`, `name`, `status`, `done`, `counts` (rows by outcome plus `pending`),
    `cost`, `as_of` (seconds since 1970).

    >>> run = df.claude.submit("Topic of: {text}")  # doctest: +SKIP
    >>> run.result()  # doctest: +SKIP
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
        self._future: concurrent.futures.Future[None] | None = None
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
        if self._driving:
            return self._work.status
        return self._ledger.run(self.id).status

    @property
    def message(self) -> str:
        """The one line that matters now, where there is one."""
        return self._work.message if self._driving else self._ledger.run(self.id).message

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
        return pricing.Cost(pricing.cost(self.record.model, tokens), tokens, as_if=not self._work.backend.spends)

    @property
    def as_of(self) -> float:
        """When these attributes were true: now while it is under way here, else when the ledger last changed."""
        return self._work.clock.now() if self._driving else self._ledger.last_change(self.id)

    @property
    def columns(self) -> list[str]:
        """The names of the columns it makes."""
        spec = self.record.spec
        return [*(name for name, _ in spec.columns), *(spec.prefix + item for item in spec.include)]

    @property
    def _driving(self) -> bool:
        return self._future is not None and not self._future.done()

    def snapshot(self) -> Snapshot:
        """All there is to see at this moment."""
        return snapshot(self, self._work, self._ledger, self._take, since=self._began)

    # ---------------------------------------------------------------- driving

    def _drive(self, *, sending: bool, canceling: bool = False) -> None:
        """See that the run is carried out in this process; what it may do can only grow."""
        work = self._work
        if self._driving:
            work.canceling |= canceling
            if sending and not work.sending:
                work.sending = work.restart = True
            thread.call(work.wake)
            return
        work.sending, work.canceling = sending, canceling
        if self._needs_network():
            work.backend.ready(self._ledger.folder)
        _live[self.id] = self
        leaving = thread.on_leaving(self._leave)
        self._future = thread.start(work.drive())
        self._future.add_done_callback(lambda _: leaving())

    def _needs_network(self) -> bool:
        return any(chunk.state in (PLANNED, SUBMITTING, SUBMITTED, ENDED) for chunk in self._ledger.chunks(self.id))

    def _leave(self) -> None:
        """The process ends: the POST under way is finished, nothing further is sent, and what is unsent is said."""
        import sys

        self._work.sending = False
        deadline = time.monotonic() + 600
        while self._work.posting and self._driving and time.monotonic() < deadline:
            concurrent.futures.wait([self._future] if self._future else [], timeout=STEP)
        unsent = self._unsent()
        if unsent:
            sys.stderr.write(
                f"dfbatch: run {self.id}: {unsent} chunks not sent. dfbatch.open({self.id!r}).resume() sends them.\n"
            )

    def _unsent(self) -> int:
        return sum(chunk.state == PLANNED and chunk.run == self.id for chunk in self._ledger.chunks(self.id))

    def _load(self) -> None:
        """Lay what is collected already, where nothing is under way that does it."""
        if not self._driving:
            self._work.load()

    def wait(self, timeout: float | None = None, until: Literal["done", "sent"] = "done") -> Run:
        """Wait until all is answered, or with `until="sent"` until it is safe to close; returns the run.

        Raises StillRunning after `timeout` seconds, the reason where the run paused, and Detached on interrupt.
        """
        if not self._driving and not (self.done and self._complete()):
            self._drive(sending=False)
        shown = display_for(self._progress)
        deadline = None if timeout is None else time.monotonic() + timeout
        due = time.monotonic()
        try:
            while self._driving and not (until == "sent" and self._all_sent()):
                if deadline is not None and time.monotonic() >= deadline:
                    raise StillRunning(
                        f"run {self.id} is still {self.status} after {timeout:g} s",
                        "it goes on",
                        hint=f"wait again, or come back with dfbatch.open({self.id!r})",
                        run=self,
                    )
                if time.monotonic() >= due:
                    due = time.monotonic() + SHOWN
                    shown.show(self.snapshot())
                self._pause(STEP if deadline is None else min(STEP, max(0.0, deadline - time.monotonic())))
        except KeyboardInterrupt:
            raise self._detached() from None
        finally:
            shown.close(self.snapshot())
        if self._future is not None and self._future.done():
            self._future.result()
            self._raise_if_paused()
        return self

    def _pause(self, seconds: float) -> None:
        assert self._future is not None
        concurrent.futures.wait([self._future], timeout=seconds)

    def _complete(self) -> bool:
        return self._work.sheet.chunks != [] or not self.record.requests

    def _all_sent(self) -> bool:
        return not self._unsent() and not self._work.posting

    def _raise_if_paused(self) -> None:
        error = self._work.error
        if error is not None:
            if isinstance(error, RunError):
                error.run = self
            error.add_note(f"run {self.id}: what is answered is kept; dfbatch.open({self.id!r}).resume() goes on")
            raise error
        if unsent := (0 if self._work.canceling else self._unsent()):
            total = len([chunk for chunk in self._ledger.chunks(self.id) if chunk.run == self.id])
            raise RunPaused(
                f"run {self.id} paused: {unsent} of {total} chunks not sent",
                "what was sent is collected: run.partial()",
                hint=f"dfbatch.open({self.id!r}).resume() sends the rest",
                run=self,
            )

    def _detached(self) -> Detached:
        self._work.sending = False
        thread.call(self._work.wake)
        own = [chunk for chunk in self._ledger.chunks(self.id) if chunk.run == self.id and chunk.state != RELEASED]
        sent = sum(chunk.state != PLANNED for chunk in own)
        asked = sum(chunk.requests for chunk in own if chunk.state not in (PLANNED, "collected"))
        lines = [
            f"detached from run {self.id}: {sent} of {len(own)} chunks sent, nothing further is sent",
            f"{asked:,} requests are under way and will be billed; collecting goes on while this process lives",
            f"Hint: come back with dfbatch.open({self.id!r}).wait(); cancel with .cancel()",
        ]
        if sent < len(own):
            lines[-1] += "; send the rest with .resume()"
        return Detached("\n".join(lines), run=self)

    def __await__(self) -> Generator[Any, None, Run]:
        """`await run` in async code: like `wait()`, without a display."""
        return self._awaited().__await__()

    async def _awaited(self) -> Run:
        import asyncio

        if not self._driving and not (self.done and self._complete()):
            self._drive(sending=False)
        if self._future is not None:
            await asyncio.shield(asyncio.wrap_future(self._future))
            self._raise_if_paused()
        return self

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
        columns += self._key_column()
        columns += layout.laid_out(self._work.sheet, self.record.spec, self._take, extras=False)
        columns += [self._status(), self._errors()]
        return by_name(kind or self._library()).new(columns, dtype_backend=self._dtype_backend)

    def _library(self) -> Library:
        return "polars" if self.record.frame == "polars" else "pandas"

    def _key_column(self) -> list[Column]:
        from dfbatch.run.report import keys

        return keys(self._ledger, self.record)

    def _status(self) -> Column:
        column = self._work.sheet.added("status", self._take)
        return Column("status", column.kind, column.values, column.valid)

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
        from dfbatch.run.join import matched

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
        from dfbatch.run.report import answer_text

        if request < 0 or self._work.sheet.found[request]["outcome"] != 1:
            return None
        return self._schema.objects(answer_text(self._ledger, self._work.sheet, request))

    def _settle(self, *, wait: bool) -> None:
        """Wait where that helps; a run that paused shows what it has, and says so."""
        if wait:
            try:
                self.wait()
            except DfbatchError as error:
                warnings.warn(str(error).partition("\n")[0], RowsFailedWarning, stacklevel=4)
        self._load()

    def _tell_failures(self) -> None:
        counts = self.counts
        failed = {name: count for name, count in counts.items() if name not in ("succeeded", "skipped")}
        if not failed:
            return
        total = sum(failed.values())
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(failed.items(), key=lambda item: -item[1]))
        what = f"{total:,} of {self.record.rows:,} rows of run {self.id} have no answer: {parts}"
        hint = "run.failures() shows why; run.retry() asks them again (run = dfbatch.last_run())"
        if self.record.spec.on_error == "raise":
            raise RowsFailed(what, hint=hint, run=self)
        warnings.warn(f"{what}. {hint}", RowsFailedWarning, stacklevel=_outside())

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
        self.wait_quietly()
        ask_failed(self._ledger, self.record, self._work.sheet, which)
        self._drive(sending=True)
        return self

    def wait_quietly(self) -> None:
        """Let what is under way here come to its end."""
        if self._future is not None:
            concurrent.futures.wait([self._future])
        self._load()

    def resume(self, **changes: Any) -> Run:
        """Go on: send what is not sent, wait for the rest; returns the run, under way."""
        if changes:
            raise OptionError(f"resume({', '.join(changes)}) is not built yet", hint="run.resume()")
        self._drive(sending=True)
        return self

    def cancel(self) -> Run:
        """Ask the server to stop and send nothing further; what is answered already is kept, and billed."""
        if not self.done:
            self._drive(sending=False, canceling=True)
        return self

    def forget(self) -> None:
        """Remove the run from this machine: prompts, answers and its place in the ledger. Batches are not canceled."""
        if self._driving:
            raise RunPaused(f"run {self.id} is under way", hint="cancel it or wait for it first", run=self)
        from dfbatch.run.spools import remove

        remove(self._ledger, self._ledger.forget(self.id))
        shutil.rmtree(self._ledger.run_file(self.id, "rows.npy").parent, ignore_errors=True)
        _live.pop(self.id, None)

    def export(self, path: str | Path) -> Path:
        """Write the run with prompts and answers to one file; `dfbatch.open(path)` reads it on any machine."""
        from dfbatch.run.portable import export

        return export(self._ledger, self.record, Path(path))


class Runs(list[Run]):
    """Runs, newest first; renders as a table."""

    def __repr__(self) -> str:
        """A line a run."""
        return "\n".join(map(_line, self)) or "no runs yet"

    def _repr_html_(self) -> str:
        from dfbatch.run.report import runs_html

        return runs_html([run.record for run in self], [run.status for run in self])


def _line(run: Run) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.record.created))
    message = f"  ({run.message})" if run.message else ""
    name = f"  {run.name}" if run.name else ""
    return f"{run.id}  {made}  {run.status:<10} {run.record.rows:>9,} rows  {run.record.model}{name}{message}"


def ledger() -> Ledger:
    """The ledger of this process's `DFBATCH_HOME`."""
    folder = home()
    if folder not in _ledgers:
        _ledgers[folder] = Ledger(folder)
    return _ledgers[folder]


def close_ledgers() -> None:
    """Close every ledger this process opened; the next use opens it again."""
    for opened in _ledgers.values():
        opened.close()
    _ledgers.clear()
    _live.clear()


def begin(
    frame: Any, prompt: Any, schema: Any, options: Options, *, like: Any = None, series: str | None = None
) -> Run:
    """Check everything, claim, and start sending."""
    from dfbatch.backends.choose import choose
    from dfbatch.run.prepare import prepare

    place = ledger()
    backend = choose(options.backend)
    ready = prepare(frame, prompt, schema, options, series=series, ledger=place, backend=backend)
    try:
        run = Run(
            place,
            ready.record,
            backend,
            ready.schema,
            prepared=ready,
            frame=frame,
            like=like,
            progress=options.progress,
        )
        run._drive(sending=True)  # noqa: SLF001 - the same noun
    except BaseException:
        ready.lock.release()
        raise
    return run


def open_run(run_id: str, schema: Any = None) -> Run:
    """A run by its id (or a file written by `export`), in any process; `schema` brings Python-level validators back."""
    from dfbatch.backends.choose import revive
    from dfbatch.run.portable import unpacked

    place = ledger()
    if Path(run_id).suffix and Path(run_id).is_file():
        place, run_id = unpacked(Path(run_id))
    record = place.run(run_id)
    if record.id in _live and schema is None:
        return _live[record.id]
    spec = record.spec
    read = schemas.from_ledger(spec.full, spec.shape) if schema is None else schemas.read(schema)
    if schema is not None and read.full != spec.full:
        raise OptionError(f"this is not the schema of run {record.id}", hint=f"its columns are {spec.columns}")
    return Run(place, record, revive(spec.backend), read)


def all_runs() -> Runs:
    """All runs of the ledger, newest first."""
    return Runs(open_run(record.id) for record in ledger().runs())


def newest() -> Run:
    """The newest run."""
    records = ledger().runs()
    if not records:
        from dfbatch.errors import NoSuchRun

        raise NoSuchRun("no runs yet", hint="df.claude.batch(…) makes one")
    return open_run(records[0].id)


def run_of(df: Any) -> Run:
    """The newest run whose columns this frame holds."""
    from dfbatch.run.join import writer

    return open_run(writer(ledger(), adapter_of(df), df).id)


def _outside() -> int:
    """The stack level of the first caller outside of dfbatch, for warnings."""
    import sys

    here, level = str(Path(__file__).parent.parent), 1
    frame: Any = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_code.co_filename.startswith(here):
        frame, level = frame.f_back, level + 1
    return level
