"""The only room that knows pandas and polars: `adapter` picks the module that speaks to a frame.

Both modules, `pandas.py` and `polars.py`, hold the same names, drawn in `Adapter`; plain cells are in `cells.py`.
When accessors are registered is in `hook.py`; neither library is imported here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dfbatch.errors import NotAFrame, PackageMissing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dfbatch.columns import Column
    from dfbatch.frames.cells import Table
    from dfbatch.kinds import Kind

Library = Literal["pandas", "polars"]
DtypeBackend = Literal["pyarrow"] | None

_LIBRARIES: tuple[Library, ...] = ("pandas", "polars")


class Adapter(Protocol):
    """What `frames/pandas.py` and `frames/polars.py` both are: one library's way to read and lay columns."""

    @property
    def kind(self) -> Library:
        """The library's name."""

    def check(self, frame: Any) -> None:
        """Raise NotAFrame for a shape of frame that is not supported."""

    def names(self, frame: Any) -> list[str]:
        """The column names, as text."""

    def height(self, frame: Any) -> int:
        """The number of rows."""

    def is_series(self, obj: Any) -> bool:
        """Whether this is a Series of the library."""

    def from_series(self, series: Any, default: str = "text") -> tuple[Any, str]:
        """A frame of this one column, and its name (`default` when it has none)."""

    def take(self, frame: Any, positions: Sequence[int]) -> Any:
        """The rows of a frame or Series at these positions, in this order, with their labels."""

    def snapshot(self, frame: Any, names: Sequence[str]) -> Table:
        """The cells of these columns as they are now: lists inside cells are shared, the columns are not."""

    def lay(
        self,
        frame: Any,
        columns: Sequence[Column],
        *,
        replace: Sequence[str] = (),
        attrs: Mapping[str, Any] | None = None,
        dtype_backend: DtypeBackend = None,
    ) -> Any:
        """A new frame with these columns: those in `replace` keep their place, the others come last."""

    def series(self, columns: Sequence[Column], like: Any, *, dtype_backend: DtypeBackend = None) -> Any:
        """One column as a Series with the index of `like`, named as the column; several as structs, named answer."""

    def new(self, columns: Sequence[Column], *, dtype_backend: DtypeBackend = None) -> Any:
        """A frame of nothing but these columns."""

    def read_back(self, frame: Any, name: str, kind: Kind) -> Column | None:
        """The column as this kind, for its fingerprints; None when it holds something else."""


def adapter(frame: Any) -> Adapter:
    """The module for this frame or Series, by what is loaded; raises NotAFrame for anything else.

    >>> import polars as pl
    >>> adapter(pl.DataFrame({"text": ["a"]})).kind
    'polars'
    """
    for library in _LIBRARIES:
        if _made_by(library, frame, "DataFrame", "Series"):
            found = by_name(library)
            found.check(frame)
            return found
    raise _not_a_frame(frame)


def by_name(library: Library) -> Adapter:
    """The module for a library that the user named; imports the library.

    >>> by_name("polars").kind
    'polars'
    """
    try:
        if library == "pandas":
            from dfbatch.frames import pandas

            return pandas
        from dfbatch.frames import polars
    except ImportError as error:
        raise PackageMissing(f"{library} is not installed", hint=f'pip install "dfbatch[{library}]"') from error
    return polars


def _made_by(library: str, obj: Any, *names: str) -> bool:
    module = sys.modules.get(library)
    classes = (getattr(module, name, None) for name in names)
    return isinstance(obj, tuple(found for found in classes if isinstance(found, type)))


def _not_a_frame(obj: Any) -> NotAFrame:
    name = f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
    what = f"expected a pandas or polars DataFrame, got {name}"
    if _made_by("polars", obj, "LazyFrame"):
        return NotAFrame(what, hint="call .collect() first: df.collect().claude.batch(...)")
    if isinstance(obj, list | dict):
        return NotAFrame(what, hint="make it a frame first: pd.DataFrame(...) or pl.DataFrame(...)")
    for method in ("to_pandas", "toPandas", "to_polars"):
        if callable(getattr(obj, method, None)):
            return NotAFrame(what, hint=f"turn it into one first: .{method}()")
    return NotAFrame(what, hint="pass a DataFrame, or a Series through series.claude")
