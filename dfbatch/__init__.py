r"""Label whole DataFrames with Claude through the Message Batches API.

    import pandas as pd, dfbatch

    out = df.claude.batch("Classify this review:\\n{text}", schema=Review)

The map: `df.claude` (accessor.py) checks options and prompt, makes requests of rows (values), claims those nobody has
paid for in the ledger, sends them through a backend, waits, and lays answers back onto the frame (run/).

    batch, submit            label a frame; the typed twins of df.claude
    preview, plan            label a few rows now, at the full price; what a job would cost
    runs, open, last_run, run_of   runs again, in any process
    adopt, prune             batches of a ledger that is lost; room on the disk
    repair                   damaged files of the ledger
    Anthropic, Local         backends
    allow_nested_loops       nest_asyncio, for those who want it
    errors                   the family tree of what can be raised
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfbatch.accessor import batch, plan, preview, register, submit
from dfbatch.version import __version__ as __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dfbatch import errors, testing
    from dfbatch.backends.anthropic import Anthropic
    from dfbatch.backends.local import Local
    from dfbatch.errors import Detached, DfbatchError, ModelChangedWarning, RetirementWarning, RowsFailedWarning
    from dfbatch.forecasts import Plan
    from dfbatch.run import Pruned, Repaired, Run, Runs

_LATER = {  # loaded when first used
    "Anthropic": "dfbatch.backends.anthropic",
    "Detached": "dfbatch.errors",
    "DfbatchError": "dfbatch.errors",
    "Local": "dfbatch.backends.local",
    "ModelChangedWarning": "dfbatch.errors",
    "RetirementWarning": "dfbatch.errors",
    "RowsFailedWarning": "dfbatch.errors",
    "Plan": "dfbatch.forecasts",
    "Run": "dfbatch.run",
}


def runs() -> Runs:
    """All runs of this machine's ledger, newest first; renders as a table.

    >>> import dfbatch
    >>> from dfbatch.testing import answers
    >>> with answers({}):
    ...     dfbatch.runs()
    no runs yet
    """
    from dfbatch.run import all_runs

    return all_runs()


def open(run_id: str | Path, schema: Any = None, backend: Any = None) -> Run:  # noqa: A001 - reads as dfbatch.open(...)
    """A run by its id, by the first four characters of it, or by its name; or a file that `run.export` wrote.

    Works in any process. The newest of several runs with one name is meant.

    >>> import dfbatch, pandas as pd
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     out = dfbatch.batch(pd.DataFrame({"text": ["A goal!"]}), "Topic of: {text}", name="topics", progress=False)
    ...     dfbatch.open("topics").answers()["answer"].tolist()
    ['sport']

    Raises NoSuchRun (a KeyError). `schema=` brings back Python-level validators and `run.objects()` as your own class;
    `backend=` is needed only where the key is not in the environment.
    """
    from dfbatch.run import open_run

    return open_run(run_id, schema, backend)


def last_run() -> Run:
    """The newest run.

    >>> import dfbatch, pandas as pd
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     out = dfbatch.batch(pd.DataFrame({"text": ["A goal!"]}), "Topic of: {text}", progress=False)
    ...     dfbatch.last_run().counts
    {'succeeded': 1}
    """
    from dfbatch.run import newest

    return newest()


def run_of(df: Any) -> Run:
    """The newest run whose columns this frame holds.

    >>> import dfbatch, pandas as pd
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     out = dfbatch.batch(pd.DataFrame({"text": ["A goal!"]}), "Topic of: {text}", progress=False)
    ...     dfbatch.run_of(out).id == dfbatch.last_run().id
    True
    """
    from dfbatch.run import run_of as of

    return of(df)


def adopt(batch_id: str | Sequence[str], df: Any, prompt: Any, schema: Any = None, **options: Any) -> Run:
    """Lay a batch back onto the rows it was asked for, when the ledger that knew it is gone; nothing is sent or billed.

    Frame, prompt, schema and options are given as they were then, with the ids of one batch or several (the console of
    the API lists them, for 29 days). Each result says by its id which row it is and what was asked: rows that ask
    something else now stay missing, and a warning says how many. What comes back is a run that is done.

    >>> import dfbatch, pandas as pd
    >>> from dfbatch.testing import answers
    >>> df = pd.DataFrame({"text": ["A goal!"]})
    >>> with answers(lambda params: "sport"):
    ...     run = dfbatch.submit(df, "Topic of: {text}", progress=False).wait()  # doctest: +ELLIPSIS
    ...     batch_id = run.snapshot().batches[0].batch_id
    ...     run.forget()
    ...     dfbatch.adopt(batch_id, df, "Topic of: {text}", progress=False).result()
    run ...
          text answer
    0  A goal!  sport

    Raises RunPaused where a batch has not ended yet, BatchLost where its results are gone, InputError (a ValueError)
    where it was not made by dfbatch or by another call.
    """
    from dfbatch.options import read
    from dfbatch.run import adopt_batches

    return adopt_batches(batch_id, df, prompt, schema, read(options))


def prune(*, older_than: float) -> Pruned:
    """Remove runs that are over and have not changed for so many days, with their prompts and answers.

    Runs with something not collected yet stay, and so do answers that other runs draw on. What is removed is not
    reused any more: the same cell asks it again, and pays.

    >>> import dfbatch, pandas as pd
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     out = dfbatch.batch(pd.DataFrame({"text": ["A goal!"]}), "Topic of: {text}", progress=False)
    ...     dfbatch.prune(older_than=30)
    ...     dfbatch.prune(older_than=0).runs
    0 runs removed, 0 B freed
    1
    """
    from dfbatch.run import prune_runs

    return prune_runs(older_than)


def repair(run: str | None = None) -> Repaired:
    """Mend files of the ledger that are damaged or gone, of one run (its id or name) or of all; nothing is paid for.

    What other files tell is made again, results are fetched again from the server while it keeps them (29 days), and a
    ledger that is no database any more is put aside and brought back from its backup. What comes back prints a line for
    each, and says what is lost (`.lost`). Most of it happens by itself as it is met; this looks at every file.

    >>> import dfbatch, pandas as pd
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     out = dfbatch.batch(pd.DataFrame({"text": ["A goal!"]}), "Topic of: {text}", progress=False)
    ...     dfbatch.repair()
    nothing is damaged
    """
    from dfbatch.run import repair_runs

    return repair_runs(run)


def allow_nested_loops() -> None:
    """Apply `nest_asyncio`, so that `asyncio.run(...)` and `loop.run_until_complete(run)` work inside a cell.

    It patches asyncio for the whole process and breaks uvloop, which is why dfbatch never does it by itself and never
    needs it: `batch` and `run.wait()` work in any cell without.
    """
    import nest_asyncio

    nest_asyncio.apply()


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name in ("errors", "testing"):
        return import_module(f"dfbatch.{name}")
    raise AttributeError(f"module 'dfbatch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


register()

__all__ = [
    "Anthropic",
    "Detached",
    "DfbatchError",
    "Local",
    "ModelChangedWarning",
    "Plan",
    "RetirementWarning",
    "RowsFailedWarning",
    "Run",
    "adopt",
    "allow_nested_loops",
    "batch",
    "errors",
    "last_run",
    "open",
    "plan",
    "preview",
    "prune",
    "repair",
    "run_of",
    "runs",
    "submit",
    "testing",
]
