r"""Label whole DataFrames with Claude through the Message Batches API.

    import pandas as pd, dfbatch

    out = df.claude.batch("Classify this review:\\n{text}", schema=Review)

The map: `df.claude` (accessor.py) checks options and prompt, makes requests of rows (values), claims those nobody has
paid for in the ledger, sends them through a backend, waits, and lays answers back onto the frame (run/).

    batch, submit            label a frame; the typed twins of df.claude
    runs, open, last_run, run_of   runs again, in any process
    Anthropic, Local         backends
    allow_nested_loops       nest_asyncio, for those who want it
    errors                   the family tree of what can be raised
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dfbatch.accessor import batch, register, submit
from dfbatch.version import __version__ as __version__

if TYPE_CHECKING:
    from dfbatch import errors, testing
    from dfbatch.backends.anthropic import Anthropic
    from dfbatch.backends.local import Local
    from dfbatch.errors import Detached, DfbatchError, RowsFailedWarning
    from dfbatch.run import Run, Runs

_LATER = {  # loaded when first used
    "Anthropic": "dfbatch.backends.anthropic",
    "Detached": "dfbatch.errors",
    "DfbatchError": "dfbatch.errors",
    "Local": "dfbatch.backends.local",
    "RowsFailedWarning": "dfbatch.errors",
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


def open(run_id: str, schema: Any = None, backend: Any = None) -> Run:  # noqa: A001 - reads as dfbatch.open(...)
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
    "RowsFailedWarning",
    "Run",
    "allow_nested_loops",
    "batch",
    "errors",
    "last_run",
    "open",
    "run_of",
    "runs",
    "submit",
    "testing",
]
