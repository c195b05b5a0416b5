"""`df.claude` and `series.claude`, and their typed twins: signatures and docstrings. What they do is in `run/`.

Nothing heavy is imported here: `import dfbatch` costs a pandas user at most 25 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from dfbatch.frames import hook

if TYPE_CHECKING:
    from types import ModuleType

    from dfbatch.run import Run

Frame = TypeVar("Frame")


def batch(df: Frame, prompt: Any, schema: Any = None, **options: Any) -> Frame:
    """Label every row of a frame with Claude, through the Message Batches API at half price; returns when all is there.

    The new frame has the same rows in the same order and the answer's columns last: one named `answer` (or `into=`)
    without a schema, one a field with one. Dtypes: text, `Int64`, `boolean`, `Float64`, categories for Literal and
    Enum, objects for lists and nested models in pandas; String, Int64, Boolean, Float64, Enum, List, Struct in polars.

    `prompt` is a template (`"Classify: {text}"`), a function of a row, or a list of message dicts. `schema` is a
    pydantic model, dataclass, TypedDict, `Literal[...]`, Enum, `list[...]`, a scalar type or a JSON schema.

    Options: `model`, `system`, `max_tokens` (1024), `examples`, `into`, `unpack`, `include`, `key`, `params`, `betas`,
    `chunk_size`, `dedupe`, `reuse`, `overwrite`, `on_null`, `on_error`, `same_for_all`, `backend`, `progress`,
    `name`, `dtype_backend`.

    Equal requests are paid once, here and in later runs; running the cell again after a crash picks up where it was.
    Raises InputError (a ValueError) before anything is sent, NoBackend without a key, RunPaused where the run cannot
    go on, Detached on the stop button; failed rows are missing and counted in one RowsFailedWarning.

    >>> import pandas as pd, dfbatch
    >>> from dfbatch.testing import answers
    >>> with answers(lambda params: "sport"):
    ...     dfbatch.batch(pd.DataFrame({"text": ["A goal!"]}), "Topic of: {text}", progress=False)
          text answer
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
    run ...: 1 rows, 1 requests to send · $... (forecast from bytes) · dfbatch.open('...').result()
    ['sport']
    """
    return _announced(_begin(df, prompt, schema, options))


def _announced(run: Run) -> Run:
    """One line when the first chunk is accepted: what was begun, how much of it, and what it may cost."""
    run.started()
    print(run.announcement)  # noqa: T201 - the user asked for a run and gets its name
    return run


def _begin(df: Any, prompt: Any, schema: Any, options: dict[str, Any], **about: Any) -> Run:
    from dfbatch import run
    from dfbatch.options import read

    return run.begin(df, prompt, schema, read(options), **about)


class FrameAccessor:
    """`df.claude` on pandas and polars frames."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def batch(self, prompt: Any, schema: Any = None, **options: Any) -> Any:
        """Label every row; a new frame, same rows, new columns last. See `dfbatch.batch`."""
        return batch(self._frame, prompt, schema, **options)

    def submit(self, prompt: Any, schema: Any = None, **options: Any) -> Run:
        """Label every row without waiting; a Run. See `dfbatch.submit`."""
        return submit(self._frame, prompt, schema, **options)


class SeriesAccessor:
    """`series.claude` on pandas and polars Series: `{}` in the template is the cell."""

    def __init__(self, series: Any) -> None:
        self._series = series

    def batch(self, prompt: Any, schema: Any = None, **options: Any) -> Any:
        """Label every cell; a Series with the same index, of structs where the schema has several fields."""
        return self._begin(prompt, schema, options).result()

    def submit(self, prompt: Any, schema: Any = None, **options: Any) -> Run:
        """Label every cell without waiting; a Run."""
        return _announced(self._begin(prompt, schema, options))

    def _begin(self, prompt: Any, schema: Any, options: dict[str, Any]) -> Run:
        from dfbatch.frames import adapter

        frame, column = adapter(self._series).from_series(self._series)
        return _begin(frame, prompt, schema, options, like=self._series, series=column)


def register() -> None:
    """Put `.claude` onto pandas and polars: at once on what is imported, on the other one when the user imports it."""
    hook.when_imported("pandas", _onto_pandas)
    hook.when_imported("polars", _onto_polars)


def _onto_pandas(pandas: ModuleType) -> None:
    pandas.api.extensions.register_dataframe_accessor("claude")(FrameAccessor)
    pandas.api.extensions.register_series_accessor("claude")(SeriesAccessor)


def _onto_polars(polars: ModuleType) -> None:
    polars.api.register_dataframe_namespace("claude")(FrameAccessor)
    polars.api.register_series_namespace("claude")(SeriesAccessor)
    polars.api.register_lazyframe_namespace("claude")(FrameAccessor)  # says how to collect
