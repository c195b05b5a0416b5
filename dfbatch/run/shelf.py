"""Where runs are begun and found again: by id, by file, by frame. What a run does is in `handle.py`."""

from __future__ import annotations

import os
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dfbatch import schemas
from dfbatch.backends.choose import choose, revive
from dfbatch.errors import NoSuchRun, OptionError
from dfbatch.frames import adapter as adapter_of
from dfbatch.ledger import Ledger, home
from dfbatch.run.handle import Run
from dfbatch.run.join import writer
from dfbatch.run.portable import unpacked
from dfbatch.run.prepare import prepare
from dfbatch.run.report import runs_html

if TYPE_CHECKING:
    from dfbatch.options import Options

_ledgers: Final[dict[tuple[int, Path], Ledger]] = {}  # a forked child opens its own
_known: Final[weakref.WeakValueDictionary[tuple[Path, str], Run]] = weakref.WeakValueDictionary()
_latest: Final[list[Run]] = []  # the last one begun here keeps its frame


class Runs(list[Run]):
    """Runs, newest first; renders as a table."""

    def __repr__(self) -> str:
        """A line a run."""
        return "\n".join(map(_line, self)) or "no runs yet"

    def _repr_html_(self) -> str:
        return runs_html([run.record for run in self], [run.status for run in self])


def _line(run: Run) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.record.created))
    message = f"  ({run.message})" if run.message else ""
    name = f"  {run.name}" if run.name else ""
    return f"{run.id}  {made}  {run.status:<10} {run.record.rows:>9,} rows  {run.record.model}{name}{message}"


def ledger() -> Ledger:
    """The ledger of this process's `DFBATCH_HOME`."""
    place = os.getpid(), home()
    if place not in _ledgers:
        _ledgers[place] = Ledger(place[1])
    return _ledgers[place]


def close_ledgers() -> None:
    """Close every ledger this process opened; the next use opens it again."""
    for opened in _ledgers.values():
        opened.close()
    _ledgers.clear()
    _known.clear()
    _latest.clear()


def begin(
    frame: Any, prompt: Any, schema: Any, options: Options, *, like: Any = None, series: str | None = None
) -> Run:
    """Check everything, claim, and start sending."""
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
        run.resume()
    except BaseException:
        ready.lock.release()
        raise
    _known[place.folder, run.id] = run
    _latest[:] = [run]
    return run


def open_run(run_id: str | Path, schema: Any = None, backend: Any = None) -> Run:
    """A run by its id or name (or a file written by `export`), in any process; `schema` brings validators back."""
    if not isinstance(run_id, str | Path):
        raise NoSuchRun(f"a run is named by a text, got {run_id!r}", hint="dfbatch.runs() lists them all")
    place = ledger()
    try:
        record = place.run(str(run_id))
    except NoSuchRun:
        if not Path(run_id).is_file():
            raise
        place, run_id = unpacked(Path(run_id))
        record = place.run(run_id)
    if (known := _known.get((place.folder, record.id))) is not None and schema is None and backend is None:
        return known
    spec = record.spec
    read = schemas.from_ledger(spec.full, spec.shape) if schema is None else schemas.read(schema)
    if schema is not None and read.full != spec.full:
        raise OptionError(f"this is not the schema of run {record.id}", hint=f"its columns are {spec.columns}")
    run = Run(place, record, revive(spec.backend) if backend is None else choose(backend), read)
    _known.setdefault((place.folder, record.id), run)
    return run


def all_runs() -> Runs:
    """All runs of the ledger, newest first."""
    return Runs(open_run(record.id) for record in ledger().runs())


def newest() -> Run:
    """The newest run."""
    records = ledger().runs()
    if not records:
        raise NoSuchRun("no runs yet", hint="df.claude.batch(…) makes one")
    return open_run(records[0].id)


def run_of(df: Any) -> Run:
    """The newest run whose columns this frame holds."""
    return open_run(writer(ledger(), adapter_of(df), df).id)
