"""Where runs are begun and found again: by id, by file, by frame, by batch. What a run does is in `handle.py`."""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dfbatch import schemas
from dfbatch.backends.choose import choose, revive
from dfbatch.errors import LedgerDamaged, NoSuchRun, OptionError
from dfbatch.forecasts import Forecast
from dfbatch.frames import adapter as adapter_of
from dfbatch.ledger import Ledger, home
from dfbatch.run.accounts import DAY, accounts
from dfbatch.run.adopt import Adoption, named
from dfbatch.run.claims import claim
from dfbatch.run.damage import DAMAGED
from dfbatch.run.driver import live
from dfbatch.run.handle import Run
from dfbatch.run.join import writer
from dfbatch.run.lending import lend
from dfbatch.run.listing import Listed, html, text
from dfbatch.run.planning import planned
from dfbatch.run.portable import unpacked
from dfbatch.run.prepare import prepare
from dfbatch.run.preview import announced, at_once, check, quiet, spread
from dfbatch.run.prices import known
from dfbatch.run.prune import Pruned, prune
from dfbatch.run.recovery import has_contents
from dfbatch.run.repairs import Mend, Repair, Repaired, bring_back, unknown_runs
from dfbatch.run.why import not_reused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dfbatch.backends import Backend
    from dfbatch.forecasts import Plan
    from dfbatch.ledger.records import RunRecord
    from dfbatch.models import Models
    from dfbatch.options import Options
    from dfbatch.run.accounts import Account
    from dfbatch.run.claims import Claiming

_ledgers: Final[dict[tuple[int, Path], Ledger]] = {}  # a forked child opens its own
_known: Final[weakref.WeakValueDictionary[tuple[Path, str], Run]] = weakref.WeakValueDictionary()
_latest: Final[list[Run]] = []  # the last one begun here keeps its frame
_guard: Final = threading.RLock()  # of these three: threads that come at once find the same
if hasattr(os, "register_at_fork"):  # a forked child has no thread that could let go of it
    os.register_at_fork(after_in_child=_guard._at_fork_reinit)  # type: ignore[attr-defined] # noqa: SLF001 - as logging does


class Runs(list[Run]):
    """Runs, newest first; renders as a table."""

    def __init__(self, runs: Iterable[Run], place: Ledger) -> None:
        super().__init__(runs)
        self._place = place

    def __repr__(self) -> str:
        """A line a run: rows answered of all, USD, room on the disk, who answered, what was asked; totals below."""
        return text(self._listed())

    def _repr_html_(self) -> str:
        return html(self._listed())

    def _listed(self) -> list[Listed]:
        ids = frozenset(record.id for record in self._place.runs())
        return [Listed.of(self._place, run.record, run.status, run.message, ids) for run in self if run.id in ids]


def ledger() -> Ledger:
    """The ledger of this process's `DFBATCH_HOME`."""
    place = os.getpid(), home()
    with _guard:
        if place in _ledgers and not place[1].is_dir():
            _ledgers.pop(place).close()  # deleted meanwhile: what comes is remembered in a new one
            _forget_all(place[1])
        if place not in _ledgers:
            _ledgers[place] = Ledger(place[1])
        return _ledgers[place]


def _forget_all(folder: Path) -> None:
    for key in [key for key in _known if key[0] == folder]:
        del _known[key]
    _latest[:] = [run for run in _latest if run._ledger.folder != folder]  # noqa: SLF001 - of this room


def close_ledgers() -> None:
    """Close every ledger this process opened; the next use opens it again. Runs under way are left as they stand."""
    opened_here = [*_ledgers.values()]
    for run in [*live.values()]:
        if run._ledger in opened_here:  # noqa: SLF001 - of this room
            run._driver.stop()  # noqa: SLF001 - unguarded: what ends there may look for its ledger
    with _guard:
        for opened in _ledgers.values():
            opened.close()
        _ledgers.clear()
        _known.clear()
        _latest.clear()


def begin(
    frame: Any, prompt: Any, schema: Any, options: Options, *, like: Any = None, series: str | None = None
) -> Run:
    """Check everything, claim, and start sending."""
    made = _Made(frame, options, choose(options.backend), like, series)
    return made.run(prompt, schema, claim, then=Run.resume)


def preview_rows(
    frame: Any,
    prompt: Any,
    schema: Any,
    options: Options,
    *,
    rows: int,
    say: Callable[[str], None],
    like: Any = None,
    series: str | None = None,
) -> Run:
    """Ask some rows at once, and wait for them; `say` is told what it may cost before anything is sent."""
    check(rows, options)
    options = quiet(options)
    adapter = adapter_of(frame)
    taken = spread(adapter, frame, prompt, options, rows=rows, series=series)
    few, alike = adapter.take(frame, taken), None if like is None else adapter.take(like, taken)

    def then(run: Run) -> Run:
        place = ledger()
        model = known(place.folder, options.prices).find(options.model)
        say(announced(place, run.record, run.forecast or Forecast(None, None), model))
        return run.resume()

    return _Made(few, options, choose(options.backend), alike, series).run(prompt, schema, at_once, then=then)


def plan_run(
    frame: Any,
    prompt: Any,
    schema: Any,
    options: Options,
    *,
    begun: Callable[[Run], Run],
    like: Any = None,
    series: str | None = None,
) -> Plan:
    """What a call would ask and cost; nothing is claimed. `begun` is handed the run that the plan begins."""
    made = _Made(frame, options, choose(options.backend), like, series)

    def begin(claiming: Claiming) -> Run:
        return begun(made.run(prompt, schema, claiming, then=Run.resume))

    place, backend = ledger(), made.backend
    return planned(frame, prompt, schema, options, series=series, ledger=place, backend=backend, begin=begin)


def adopt_batches(batch_ids: str | Sequence[str], frame: Any, prompt: Any, schema: Any, options: Options) -> Run:
    """Lay batches of a lost ledger back onto the rows they were asked for; nothing is sent."""
    made = _Made(frame, options, choose(options.backend))
    return made.run(prompt, schema, Adoption(made.backend, named(batch_ids)), then=lambda run: run).wait()


@dataclass(frozen=True, slots=True)
class _Made:
    """A call on its way to a run."""

    frame: Any
    options: Options
    backend: Backend
    like: Any = None
    series: str | None = None

    def run(self, prompt: Any, schema: Any, claiming: Claiming, *, then: Callable[[Run], Run]) -> Run:
        """The run on disk, its requests claimed, and what comes next with it."""
        place = ledger()
        ready = prepare(
            self.frame,
            prompt,
            schema,
            self.options,
            series=self.series,
            ledger=place,
            backend=self.backend,
            claiming=claiming,
        )
        try:
            run = Run(
                place,
                ready.record,
                self.backend,
                ready.schema,
                prepared=ready,
                frame=self.frame,
                like=self.like,
                progress=self.options.progress,
            )
            if self.options.notify is not None:
                run.notify(self.options.notify)
            run.why = not_reused(place, ready.record, ready.claimed.cover)
            lend(place, ready.record)
            then(run)
        except BaseException:
            ready.lock.release()
            raise
        with _guard:
            _known[place.folder, run.id] = run
            _latest[:] = [run]
        return run


def open_run(run_id: Any, schema: Any = None, backend: Any = None) -> Run:
    """A run by its id or name (or a file written by `export`), in any process; `schema` brings validators back."""
    if not isinstance(run_id, str | Path) or not str(run_id).strip():
        raise NoSuchRun(f"a run is named by a text, got {run_id!r}", hint="dfbatch.runs() lists them all")
    place = ledger()
    try:
        record = place.run(str(run_id))
    except NoSuchRun as error:
        place, run_id = unpacked(_exported(run_id, error))
        record = place.run(run_id)
    with _guard:
        known = _known.get((place.folder, record.id))
        if known is not None and known._work.damage is not None:  # noqa: SLF001 - of this room: it may be whole by now
            del _known[place.folder, record.id]
            known = None
        if known is not None and schema is None and backend is None:
            return known
        run = _opened(place, record, schema, backend)
        _known.setdefault((place.folder, record.id), run)
        return run


def _opened(place: Ledger, record: RunRecord, schema: Any, backend: Any) -> Run:
    spec = record.spec
    read = schemas.from_ledger(spec.full, spec.shape) if schema is None else schemas.read(schema)
    if schema is not None and read.full != spec.full:
        raise OptionError(f"this is not the schema of run {record.id}", hint=f"its columns are {spec.columns}")
    return Run(place, record, revive(spec.backend) if backend is None else choose(backend), read)


def _exported(name: str | Path, no_run: NoSuchRun) -> Path:
    """The file that is meant where no run is; the error says which of both it looks like."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if isinstance(name, str) and "/" not in name and os.sep not in name and path.suffix not in (".zip", ".dfbatch"):
        raise no_run
    what = f"{str(name)!r} is a folder" if path.is_dir() else f"there is no file {str(name)!r}"
    raise NoSuchRun(what, "nor a run of that name", hint="run.export(path) writes files; dfbatch.runs() lists runs")


def all_runs() -> Runs:
    """All runs of the ledger, newest first."""
    place = ledger()
    return Runs((open_run(record.id) for record in place.runs()), place)


def all_accounts(*, days: float, by: str) -> list[Account]:
    """What all runs cost in the last so many days."""
    return accounts(ledger(), since=time.time() - days * DAY, by=by)


def repair_runs(run_id: str | None) -> Repaired:
    """Mend what is damaged, of one run or of all; the ledger itself first."""
    mends: list[Mend] = []
    try:
        ledger().look_at_all()
    except LedgerDamaged:
        close_ledgers()
        mends = bring_back(home())
        mends += unknown_runs(ledger())
    place = ledger()
    for record in [place.run(run_id)] if run_id is not None else place.runs():
        run = open_run(record.id)
        mends += _repair(run).mends()
        if run.status == DAMAGED:
            _known.pop((place.folder, record.id), None)  # it is read anew
    return Repaired(tuple(mends))


def _repair(run: Run) -> Repair:
    """What mends the files of a run, by what is in memory too."""
    work, rows = run._work, run._answers.rows  # noqa: SLF001 - of this room
    whole = work.damage is None and has_contents(rows)
    held = {"rows.npy": rows, "requests.npy": work.sheet.requests} if whole else {}
    return Repair(work.ledger, run.record, work.sheet.schema, work.backend, held)


def models() -> Models:
    """The models with the prices that hold here."""
    return known(ledger().folder, {})


def prune_runs(older_than: float) -> Pruned:
    """Remove what is over and has not changed for so many days."""
    return prune(ledger(), older_than=older_than)


def newest() -> Run:
    """The last run begun in this process; where none was, the newest of all."""
    records = ledger().runs()
    begun = {run.id for run in _latest if run._ledger is ledger()}  # noqa: SLF001 - of this room
    for record in records:
        if record.id in begun:
            return open_run(record.id)
    if not records:
        raise NoSuchRun("no runs yet", hint="df.claude.batch(…) makes one")
    return open_run(records[0].id)


def run_of(df: Any) -> Run:
    """The newest run whose columns this frame holds."""
    return open_run(writer(ledger(), adapter_of(df), df).id)
