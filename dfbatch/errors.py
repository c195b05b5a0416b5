"""The family of errors. What is raised when is said by each class; how a text is built by `explain`.

DfbatchError
├── InputError(ValueError)          something in the call is wrong; nothing was sent
│   ├── UnknownColumn(KeyError)     the prompt, `key` or `into` names a column the frame does not have
│   ├── PromptError                 the template or callable cannot be used
│   ├── SchemaError                 the schema cannot be expressed
│   ├── OptionError(TypeError)      an option is unknown or has a value it cannot take
│   ├── ColumnClash                 columns in the way that are not ours
│   ├── NullCell                    a null in a used column, with on_null="raise"
│   ├── BudgetNeeded                the forecast is above $20, and no budget was named
│   ├── PlanChanged                 what plan.submit() would send is not what was planned
│   └── NotAFrame(TypeError)        neither pandas nor polars, or a shape of frame that is not supported
├── NoBackend(LookupError)          no key, and no backend was named
├── ModelMissing(LookupError)       the local engine's weights are not there
├── PackageMissing(ImportError)     an extra of dfbatch is not installed
├── ApiError                        the server said no, or something that is not the API answered
│   ├── Unauthorized(PermissionError)
│   ├── TooLarge(ValueError)        413
│   ├── NotFound(LookupError)       404
│   ├── RateLimited                 429
│   ├── NotTheApi                   a proxy, a login page, another service
│   └── Unreachable(ConnectionError)   nothing was accepted: no connection, no name, no TLS
│       └── Ambiguous               the request left, and no answer tells whether it was accepted
│           └── Overloaded          the API itself said 529: it was hardly accepted, and that is checked
├── LedgerError(OSError)            the ledger folder cannot be used
│   ├── DiskFull
│   └── LedgerDamaged               a file of it is not what was written; carries `.path`, `.run_id`
├── RunError                        a run cannot go on by itself; carries `.run`
│   ├── RunPaused                   what is known, and how to resume
│   │   ├── InDoubt                 a chunk may or may not have been accepted
│   │   ├── BatchLost(LookupError)  deleted or archived at the server
│   │   ├── BudgetReached           what is not sent could cost more than what is left
│   │   ├── PilotFailed             too many of the first answers cannot be used
│   │   └── WrongWorkspace(PermissionError)
│   ├── RowsFailed                  on_error="raise"
│   ├── StillRunning(TimeoutError)
│   └── NoFrame(LookupError)        the frame is not in this process: use answers() or join(df)
└── NoSuchRun(KeyError)

Detached(KeyboardInterrupt) stands outside, so that `except Exception` does not swallow the stop button.

Warnings, each a UserWarning:
RowsFailedWarning      counts rows that have no answer
ModelChangedWarning    one name of a model was answered by several models
RetirementWarning      the model answers no more within 60 days
"""

from __future__ import annotations

import inspect
from pathlib import PurePath
from traceback import StackSummary, TracebackException
from typing import TYPE_CHECKING

from dfbatch.visible import visible

_HERE = __file__.removesuffix("errors.py")  # the package's folder
_NOT_THE_USERS = (_HERE, inspect.__file__.removesuffix("inspect.py"))  # here, Python itself, and …
_PACKAGES = "-packages"  # … site-packages and dist-packages

if TYPE_CHECKING:
    from dfbatch.run import Run


def explain(what: str, *known: str, hint: str = "") -> str:
    """The three parts of a message: what happened with its place, what is known, and `Hint:` what to do.

    >>> print(explain("no column 'txt' in the frame", "columns: text", hint="did you mean {text}?"))
    no column 'txt' in the frame
    columns: text
    Hint: did you mean {text}?
    """
    return visible("\n".join([what, *known, *([f"Hint: {hint}"] if hint else [])]))


def outside() -> int:
    """The stack level of the first caller outside of dfbatch, so that a warning points at the user's own line."""
    level, frame = 0, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        level, frame = level + 1, frame.f_back
    return level


def _shorten(told: TracebackException) -> None:
    """Leave the user's own lines of what is told, and of its causes those that have any."""
    own = [line for line in told.stack if not (line.filename.startswith(_NOT_THE_USERS) or _PACKAGES in line.filename)]
    told.stack = StackSummary.from_list(own)
    cause = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
    if cause is not None:
        _shorten(cause)
        if not cause.stack:
            told.__cause__ = told.__context__ = None


class DfbatchError(Exception):
    """Everything that dfbatch raises, but for `Detached`."""

    def __init__(self, what: str, *known: str, hint: str = "") -> None:
        super().__init__(explain(what, *known, hint=hint))

    @property
    def in_full(self) -> str:
        """The text with its notes, which say of a run what is kept and how it goes on: tracebacks show both."""
        return "\n".join([str(self), *getattr(self, "__notes__", ())])

    def __str__(self) -> str:
        """The text itself: KeyError would show its repr, line breaks escaped."""
        return str(self.args[0]) if self.args else ""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: the user's own lines, and the text; dfbatch's lines say nothing to users.

        `traceback.print_exception(error)` has all of them, and so has whoever catches it.
        """
        told = TracebackException.from_exception(self)
        _shorten(told)
        whole = "".join(part.removeprefix("dfbatch.errors.") for part in told.format())
        return visible(whole).removesuffix("\n").split("\n")


class InputError(DfbatchError, ValueError):
    """Something in the call is wrong; nothing was sent."""


class UnknownColumn(InputError, KeyError):
    """A column that the frame does not have."""


class PromptError(InputError):
    """A template or callable that cannot be used."""


class SchemaError(InputError):
    """A schema that cannot be expressed for the API or as columns."""


class OptionError(InputError, TypeError):
    """An unknown option, or a value that an option cannot take."""


class ColumnClash(InputError):
    """Columns in the way that dfbatch did not write."""


class NullCell(InputError):
    """A null in a used column while `on_null="raise"`; carries `.row` and `.column`."""

    def __init__(self, what: str, *known: str, hint: str = "", row: int = -1, column: str = "") -> None:
        super().__init__(what, *known, hint=hint)
        self.row = row
        self.column = column


class BudgetNeeded(InputError):
    """The forecast is above the brake, and no budget was named; `.high` is its high end, in USD."""

    def __init__(self, what: str, *known: str, hint: str = "", high: float = 0.0) -> None:
        super().__init__(what, *known, hint=hint)
        self.high = high


class PlanChanged(InputError):
    """The requests are not those of the plan any more: the frame or the prompt function has changed."""


class NotAFrame(InputError, TypeError):
    """Neither a pandas nor a polars frame or series, or a shape that is not supported."""


class NoBackend(DfbatchError, LookupError):
    """No key in the environment and no backend named."""


class ModelMissing(DfbatchError, LookupError):
    """The local engine's weights or packages are not installed."""


class PackageMissing(DfbatchError, ImportError):
    """An optional package is not installed."""


class ApiError(DfbatchError):
    """The server refused: `.status`, `.type`, `.request_id`, `.retry_after` (seconds)."""

    def __init__(
        self,
        what: str,
        *known: str,
        hint: str = "",
        status: int | None = None,
        kind: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
        code: str | None = None,
    ) -> None:
        if request_id:
            known = (*known, f"request-id: {request_id}")
        super().__init__(what, *known, hint=hint)
        self.status = status
        self.type = kind
        self.request_id = request_id
        self.retry_after = retry_after
        self.code = code


class Unauthorized(ApiError, PermissionError):
    """401 or 403: the key is missing, wrong, revoked or not allowed."""


class TooLarge(ApiError, ValueError):
    """413: the body is larger than the route takes."""


class NotFound(ApiError, LookupError):
    """404: no such batch for this key (or not yet: reads may lag behind writes)."""


class RateLimited(ApiError):
    """429: nothing was accepted; `.retry_after` says when to come back, if the server told."""


class NotTheApi(ApiError):
    """What answered is not the Message Batches API: a proxy, a login page, another service."""


class Unreachable(ApiError, ConnectionError):
    """No connection: nothing was accepted."""


class Ambiguous(Unreachable):
    """The request left and the answer is missing: the server may have accepted it."""


class Overloaded(Ambiguous):
    """529 in the API's own words: it hardly accepted that, and a minute of listings without it is proof."""


class LedgerError(DfbatchError, OSError):
    """The ledger folder cannot be used."""


class DiskFull(LedgerError):
    """No space left for what must be on disk first."""


class LedgerDamaged(LedgerError):
    """A file of the ledger is gone, or is not what was written: `.path`.

    It is of the run `.run_id` and concerns that run alone; where `.run_id` is empty, the whole ledger.
    """

    def __init__(
        self, what: str, *known: str, hint: str = "", path: PurePath | None = None, run_id: str = "", wrong: str = ""
    ) -> None:
        super().__init__(what, *known, hint=hint)
        self.path, self.run_id, self.wrong = path or PurePath(), run_id, wrong


class RunError(DfbatchError):
    """A run cannot go on by itself; `.run` is the run."""

    def __init__(self, what: str, *known: str, hint: str = "", run: Run | None = None) -> None:
        super().__init__(what, *known, hint=hint)
        self.run = run


class RunPaused(RunError):
    """The run stopped where it could not go on; what it has is kept, and `run.resume()` goes on."""


class InDoubt(RunPaused):
    """A chunk left this machine and no answer tells whether it was accepted."""


class BatchLost(RunPaused, LookupError):
    """A batch was deleted or archived at the server before its results were collected."""


class BudgetReached(RunPaused):
    """What is not sent could cost more than what is left; `.spent` and `.left` are USD."""

    def __init__(
        self, what: str, *known: str, hint: str = "", run: Run | None = None, spent: float = 0.0, left: float = 0.0
    ) -> None:
        super().__init__(what, *known, hint=hint, run=run)
        self.spent, self.left = spent, left


class PilotFailed(RunPaused):
    """Too many of the first answers cannot be used, or the rest would cost more than the budget."""


class WrongWorkspace(RunPaused, PermissionError):
    """The key at hand is of another organization or workspace than the batch."""


class RowsFailed(RunError):
    """Some rows have no answer, and `on_error="raise"`."""


class StillRunning(RunError, TimeoutError):
    """The time given to `wait` or `result` is over; the run goes on."""


class NoFrame(RunError, LookupError):
    """The frame is not in this process."""


class NoSuchRun(DfbatchError, KeyError):
    """The ledger knows no such run."""


class Detached(KeyboardInterrupt):
    """The stop button was pressed: the batches go on at the server, nothing further is sent; `.run` comes back."""

    def __init__(self, text: str, run: Run | None = None) -> None:
        super().__init__(text)
        self.run = run

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: somebody pressed a button, there is nothing to trace back."""
        return [f"{type(self).__name__}: {self}"]


class RowsFailedWarning(UserWarning):
    """How many rows have no answer, why, and how to see and retry them."""


class ModelChangedWarning(UserWarning):
    """Reused answers and new ones come from different models that go by one name."""


class RetirementWarning(UserWarning):
    """The model of a call retires within 60 days; which one follows it is in the hint."""
