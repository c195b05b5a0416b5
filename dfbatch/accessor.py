"""`df.claude` and `series.claude`, and their typed twins: signatures and docstrings. What they do is in `run/`.

Nothing heavy is imported here: `import dfbatch` costs a pandas user at most 25 ms.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import fields
from functools import cache
from inspect import Parameter, cleandoc, signature
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dfbatch.frames import hook
from dfbatch.visible import visible

if TYPE_CHECKING:
    from types import ModuleType

    from dfbatch.forecasts import Plan
    from dfbatch.run import Run

Frame = TypeVar("Frame")
_TABLE: Final = "Everything else is said by name:"
_signing: Final = threading.Lock()


def batch(df: Frame, prompt: Any, schema: Any = None, **options: Any) -> Frame:
    """Label every row of a frame with Claude, through the Message Batches API at half price; returns when all is there.

    The new frame has the same rows in the same order and the answer's columns last: one named `answer` (or `into=`)
    without a schema, one a field with one. Dtypes: text, `Int64`, `boolean`, `Float64`, categories for Literal and
    Enum of texts, objects for lists and nested models in pandas; String, Int64, Boolean, Float64, Enum, List, Struct in
    polars.

    `prompt` is a template (`"Classify: {text}"`), a function of a row, or a list of message dicts. `schema` is a
    pydantic model, dataclass, TypedDict, `Literal[...]`, a list of labels, Enum, `list[...]`, a scalar type or a JSON
    schema.

    Everything else is said by name:

    option         default             what it says
    -------------  ------------------  -------------------------------------------------------------------------------
    model          'claude-haiku-5-5'  the model that is asked
    system         None                a text, or text blocks, for every row; sent as it is: never a template
    max_tokens     1024                the longest answer, in tokens; a larger one asks again only rows that were cut
    examples       ()                  pairs of input and answer, shown before each row: [("whisk", "kitchen")]
    into           None                name of the answer's column (None: answer); of several columns, their prefix
    unpack         True                a column for each field of an object schema; False: one column of structs
    include        ()                  columns beside the answer, a list of any of 'status', 'error', 'stop_reason',
                                       'input_tokens', 'output_tokens', 'cost' (USD that the row cost this run; of
                                       equal rows the first bears it), 'custom_id', 'message'
    key            None                column that tells rows apart, for run.answers() and run.join(df)
    params         {}                  any other parameter of the Messages API, as it is: {"temperature": 0}
    betas          ()                  betas that the batch asks for: ["output-300k-2026-03-24"]
    chunk_size     'auto'              requests a batch; 'auto': as many as the API takes
    retries        2                   automatic tries after one that may pass, or was cut; 0: none of any kind
    correct        True                an answer that does not fit the schema is asked for once more, and paid for
    samples        1                   answers a row, each paid for; each column has the value that most of them gave
    dedupe         True                equal rows are one request; False: each row asks for itself
    reuse          True                what was paid for already is not asked again; False: it is, and paid for again
    overwrite      False               True: replaces columns of these names that dfbatch did not write
    on_null        'skip'              a null in a {field}: 'skip' leaves its row out, 'send' sends the field empty,
                                       'raise' raises NullCell
    on_error       'null'              rows without an answer: 'null' leaves them missing, and warns; 'raise' raises
                                       RowsFailed
    same_for_all   False               True: a prompt that names no column is meant
    backend        None                who answers: 'anthropic', 'local', dfbatch.Anthropic(…), dfbatch.Local(…); None:
                                       DFBATCH_BACKEND, else Claude, by the key in the environment
    progress       'auto'              how waiting looks: 'panel', 'bar', 'log', False; 'auto': as it fits the place
    name           None                name of the run, for dfbatch.open(name)
    notify         None                called with the run when it has ended, or a shell command that is run then (with
                                       DFBATCH_RUN, DFBATCH_STATUS and DFBATCH_SUMMARY in its environment)
    dtype_backend  None                'pyarrow': pandas columns of Arrow dtypes
    preflight      True                the first of more than 20 requests goes ahead alone, at the full price: a slip in
                                       the call is told in seconds
    pilot          'auto'              40 requests go ahead and are judged, at once and at the full price: True, False,
                                       'auto' (from 1,000 requests on, where nothing is known of the answers), 'batch'
                                       (at half the price; the rest may wait for an hour), or how many, as pilot=100
    max_failed     0.2                 share of first answers that cannot be used, above which a run with a pilot stops
    budget         None                USD that the run does not spend more than; None: DFBATCH_BUDGET, and a forecast
                                       above $20 raises BudgetNeeded. Near what the run costs it takes up to 6 batches
                                       one after the other, and may pause with BudgetReached
    budget_mode    'measured'          'measured': answers to come count as a bound from those so far says, which holds
                                       whatever their lengths, but in one run of a million; 'strict': each counts as
                                       long as max_tokens until it is there, without exception
    cache          'auto'              the prompt cache for what requests share (system, tools, examples, and a document
                                       of many rows in a block of its own): 'auto' where it pays, '5m', '1h', None: not
    prices         {}                  prices of your own, by model, USD per million tokens through /v1/messages:
                                       {"my-model": {"input": 1.0, "output": 5.0}}; also in prices.toml in DFBATCH_HOME

    `samples=3` asks every row three times and pays for each, and votes column by column: each has the value that most
    samples gave, with ties the value of the sample that agrees best with the others, else of the earliest; a nested
    field votes as a whole. `claude_agreement` (or `{into}_agreement`) is the share of the three that agree on the row's
    labels: that of the least sure column of Literal, Enum or bool (or lists and objects of such), and of all columns
    where there is none. `run.samples()` has them all. At temperature 0 samples agree trivially, which says nothing
    about how sure they are.

    Equal requests are paid once, here and in later runs; running the cell again after a crash picks up where it was.
    Raises InputError (a ValueError) before anything is sent, also where what the server tells of the model (its
    `/v1/models`, asked once a day) is against max_tokens, schema or thinking; NoBackend without a key, RunPaused where
    the run cannot go on, Detached on the stop button; failed rows are missing and counted in one RowsFailedWarning.

    >>> import pandas as pd, dfbatch
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     df = pd.DataFrame({"text": ["A goal!"]})
    ...     df.claude.batch("Topic of: {text}", into="topic", system="One word.", max_tokens=5, progress=False)
          text  topic
    0  A goal!  sport
    """
    result: Frame = _begin(df, prompt, schema, options).result()
    return result


def submit(df: Any, prompt: Any, schema: Any = None, **options: Any) -> Run:
    """As `batch`, but returns a Run as soon as the first chunk is accepted; it goes on by itself.

    >>> import pandas as pd, dfbatch
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     run = dfbatch.submit(pd.DataFrame({"text": ["A goal!"]}), "Topic of: {text}", progress=False)
    ...     run.result()["answer"].tolist()  # doctest: +ELLIPSIS
    run ...: 1 row, 1 request to send · at most $... (how long answers will be is not known yet) · dfbatch.open(...)
    ['sport']
    """
    return _announced(_begin(df, prompt, schema, options))


def preview(df: Frame, prompt: Any, schema: Any = None, *, rows: int = 20, **options: Any) -> Frame:
    """Label a few rows at once, through `/v1/messages` at the full price; the run over the whole frame reuses them.

    The rows are spread evenly over the frame, in order; of rows that ask the same, one is taken where there are others.
    How many requests are sent, and what they may cost, is printed before anything is sent. Nothing is asked twice
    here (`retries` is for runs): a row without an answer is missing, and `dfbatch.last_run()` says why.

    >>> import pandas as pd, dfbatch
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     df = pd.DataFrame({"text": ["A goal!", "A goal!", "A match", "A goal!"]})
    ...     dfbatch.preview(df, "Topic of: {text}", rows=2, max_tokens=5, progress=False)
    preview: 2 requests through /v1/messages, at the full price: up to about $0.000020 as-if
          text answer
    1  A goal!  sport
    2  A match  sport

    Raises OptionError where `rows` is not 1 to 200, and whatever `batch` raises.
    """
    result: Frame = _preview(df, prompt, schema, rows, options).result()
    return result


def _preview(df: Any, prompt: Any, schema: Any, rows: int, options: dict[str, Any], **about: Any) -> Run:
    from dfbatch import run
    from dfbatch.options import read

    return run.preview_rows(df, prompt, schema, read(options), rows=rows, say=_say, **about)


def plan(df: Any, prompt: Any, schema: Any = None, **options: Any) -> Plan:
    """What `batch` would ask and what that may cost, before anything is sent; `plan.submit()` carries out exactly this.

    It prints as a table: rows, distinct requests, those that are paid for already, tokens, dollars with the range that
    holds in nine of ten cases, and the first requests as they will be sent. The API counts the tokens of a few requests
    (for nothing); without key or network they are guessed from characters, and the plan says so. How long answers will
    be is known from earlier answers to the same prompt: a preview narrows the plan. So is how often the prompt cache is
    hit; before a batch was answered it is assumed, which a note says, and `without_caching` is the price without it.

    >>> import pandas as pd, dfbatch
    >>> from dfbatch.testing import answers
    >>> df = pd.DataFrame({"text": ["A goal!", "A match", "A goal!"]})
    >>> with answers(lambda params: "sport"):
    ...     plan = dfbatch.plan(df, "Topic of: {text}", max_tokens=5, progress=False)
    ...     plan.to_send, plan.reused, plan.tokens_in.how, plan.submit().wait().counts  # doctest: +ELLIPSIS
    run ...: 3 rows, 2 requests to send · ...
    (2, 0, 'count_tokens of 2 requests', {'succeeded': 3})

    Raises InputError (a ValueError) as `batch` does, NotFound where the API knows no such model; `plan.submit()` raises
    PlanChanged (an InputError) where the requests are not those of the plan any more.
    """
    return _plan(df, prompt, schema, options)


def _plan(df: Any, prompt: Any, schema: Any, options: dict[str, Any], **about: Any) -> Plan:
    from dfbatch import run
    from dfbatch.options import read

    return run.plan_run(df, prompt, schema, read(options), begun=_announced, **about)


def _say(text: str) -> None:
    """One line for whoever asked for a run."""
    print(visible(text))  # noqa: T201 - in a cell it stands below the code


def _announced(run: Run) -> Run:
    """One line when the first chunk is accepted: what was begun, how much of it, and what it may cost."""
    run.started()
    _say(run.announcement)
    return run


def _begin(df: Any, prompt: Any, schema: Any, options: dict[str, Any], **about: Any) -> Run:
    from dfbatch import run
    from dfbatch.options import read

    return run.begin(df, prompt, schema, read(options), **about)


class FrameAccessor:
    """`df.claude` on pandas and polars frames."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        _sign()

    def batch(self, prompt: Any, schema: Any = None, **options: Any) -> Any:
        """Label every row; a new frame, same rows, new columns last."""
        return batch(self._frame, prompt, schema, **options)

    def submit(self, prompt: Any, schema: Any = None, **options: Any) -> Run:
        """Label every row without waiting; a Run."""
        return submit(self._frame, prompt, schema, **options)

    def preview(self, prompt: Any, schema: Any = None, *, rows: int = 20, **options: Any) -> Any:
        """Label a few rows at once, at the full price, said before; a frame of those rows."""
        return preview(self._frame, prompt, schema, rows=rows, **options)

    def plan(self, prompt: Any, schema: Any = None, **options: Any) -> Plan:
        """What `batch` would ask and cost; nothing is sent that costs, and `plan.submit()` carries it out."""
        return plan(self._frame, prompt, schema, **options)


class SeriesAccessor:
    """`series.claude` on pandas and polars Series: `{}` in the template is the cell."""

    def __init__(self, series: Any) -> None:
        self._series = series
        _sign()

    def batch(self, prompt: Any, schema: Any = None, **options: Any) -> Any:
        """Label every cell; a Series with the same index, of structs where the schema has several fields.

        >>> import pandas as pd, dfbatch
        >>> from dfbatch.testing import answers
        >>> with answers(lambda params: "sport"):
        ...     pd.Series(["A goal!"]).claude.batch("Topic of: {}", progress=False).tolist()
        ['sport']
        """
        return self._begin(prompt, schema, options).result()

    def submit(self, prompt: Any, schema: Any = None, **options: Any) -> Run:
        """Label every cell without waiting; a Run."""
        return _announced(self._begin(prompt, schema, options))

    def preview(self, prompt: Any, schema: Any = None, *, rows: int = 20, **options: Any) -> Any:
        """Label a few cells at once, at the full price, said before; a Series of those cells."""
        frame, column = self._as_frame()
        return _preview(frame, prompt, schema, rows, options, like=self._series, series=column).result()

    def plan(self, prompt: Any, schema: Any = None, **options: Any) -> Plan:
        """What `batch` would ask and cost; nothing is sent that costs, and `plan.submit()` carries it out."""
        frame, column = self._as_frame()
        return _plan(frame, prompt, schema, options, like=self._series, series=column)

    def _as_frame(self) -> tuple[Any, str]:
        from dfbatch.frames import adapter

        return adapter(self._series).from_series(self._series)

    def _begin(self, prompt: Any, schema: Any, options: dict[str, Any]) -> Run:
        frame, column = self._as_frame()
        return _begin(frame, prompt, schema, options, like=self._series, series=column)


_VERBS = (
    *(batch, submit, preview, plan),
    *(FrameAccessor.batch, FrameAccessor.submit, FrameAccessor.preview, FrameAccessor.plan),
    *(SeriesAccessor.batch, SeriesAccessor.submit, SeriesAccessor.preview, SeriesAccessor.plan),
)


def _describe() -> None:
    """The table of options in every verb's docstring; on frames, all that `batch` says."""
    whole = cleandoc(batch.__doc__ or "").partition("\n\n")[2]
    table = whole[whole.find(_TABLE) :].partition("\n\nEqual requests")[0]
    for verb in _VERBS[1:]:
        verb.__doc__ = f"{cleandoc(verb.__doc__ or '')}\n\n{whole if verb is FrameAccessor.batch else table}\n"


def _sign() -> None:
    """Let signatures name every option with its default, once under any number of threads."""
    with _signing:
        _signed()


@cache
def _signed() -> None:
    """For help() and for the Tab key, which ask at run time."""
    from dfbatch.options import Options

    usual = Options()
    options = [
        Parameter(each.name, Parameter.KEYWORD_ONLY, default=getattr(usual, each.name)) for each in fields(Options)
    ]
    for verb in _VERBS:
        said = signature(verb)
        known = {each.name for each in options}  # there already where an interrupt left this half done
        kept = [each for each in said.parameters.values() if each.name not in known]
        given = [each for each in kept if each.kind is not Parameter.VAR_KEYWORD]
        verb.__dict__["__signature__"] = said.replace(parameters=[*given, *options])


def register() -> None:
    """Put `.claude` onto pandas and polars: at once on what is imported, on the other one when the user imports it."""
    _describe()
    if "IPython" in sys.modules:  # somebody may press Tab
        _sign()
    hook.when_imported("pandas", _onto_pandas)
    hook.when_imported("polars", _onto_polars)


def _onto_pandas(pandas: ModuleType) -> None:
    pandas.api.extensions.register_dataframe_accessor("claude")(FrameAccessor)
    pandas.api.extensions.register_series_accessor("claude")(SeriesAccessor)


def _onto_polars(polars: ModuleType) -> None:
    polars.api.register_dataframe_namespace("claude")(FrameAccessor)
    polars.api.register_series_namespace("claude")(SeriesAccessor)
    polars.api.register_lazyframe_namespace("claude")(FrameAccessor)  # says how to collect
