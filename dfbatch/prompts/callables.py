"""Prompt functions: the row they see, and what they read of it.

What they may return is checked in `contents.py`; templates are in `templates.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dfbatch.errors import PromptError, UnknownColumn
from dfbatch.prompts import opaque
from dfbatch.prompts.contents import checked, texts_of
from dfbatch.prompts.naming import listed, unknown_column

if TYPE_CHECKING:
    from dfbatch.prompts.naming import Names
    from dfbatch.prompts.templates import Block, Places


class Row(Mapping[str, Any]):
    """What a prompt function gets: one row, read-only, which notes the columns that are read."""

    __slots__ = ("_at", "_block", "_function", "_places")

    def __init__(self, function: Function, block: Block, places: Places, at: int) -> None:
        self._function, self._block, self._places, self._at = function, block, places, at

    def __getitem__(self, name: str) -> Any:
        if name not in self._block:
            raise self._function.unknown(name, self._places[self._at])
        self._function.reads.add(name)
        cell = self._block[name][self._at]
        return deepcopy(cell) if isinstance(cell, (list, dict)) else cell

    def __iter__(self) -> Iterator[str]:
        self._function.reads.update(self._block)
        return iter(self._block)

    def __len__(self) -> int:
        return len(self._block)

    def __contains__(self, name: object) -> bool:
        return name in self._block

    def get(self, name: str, default: Any = None) -> Any:
        """The cell, or the default where the frame has no such column."""
        return self[name] if name in self._block else default

    def __repr__(self) -> str:
        return f"Row({dict(self)!r})"


def _refuse_written(contents: list[Any], cells: Sequence[Any], column: str, places: Places) -> None:
    """Raise where a function has put a cell that is no text into its text all the same: f"{row['scan']}"."""
    for at, (content, cell) in enumerate(zip(contents, cells, strict=True)):
        value = opaque.inside(cell)
        if value is not None and any(opaque.written_in(text, value) for text in texts_of(content)):
            raise opaque.refusal(value, column, places[at], nested=value is not cell, in_row=False)


@dataclass(slots=True)
class Function:
    """The user's function; `reads` grows with the rows, `called` says whether it has seen any."""

    call: Callable[[Mapping[str, Any]], Any]
    names: Names
    reads: set[str] = field(default_factory=set)
    called: bool = False

    @property
    def source(self) -> str:
        """Where the function is written: never its code, never a folder."""
        target = getattr(self.call, "func", self.call)  # functools.partial
        name = f"{getattr(target, '__module__', '?')}.{getattr(target, '__qualname__', type(target).__qualname__)}"
        code = getattr(target, "__code__", None)
        return f"{name} ({PurePath(code.co_filename).name}:{code.co_firstlineno})" if code else name

    @property
    def fields(self) -> tuple[str, ...]:
        """None: a function decides about nulls by itself."""
        return ()

    @property
    def never_blank(self) -> bool:
        """False: a function may return anything."""
        return False

    def render(self, block: Block, places: Places) -> list[Any]:
        """What the function returns for each row, checked; None where it returned None."""
        seen = {name: block[name] for name in self.names.whole if name in block}
        self.called = self.called or len(places) > 0
        contents = [self._content(Row(self, seen, places, at), places[at]) for at in range(len(places))]
        for name, cells in seen.items():
            if name in self.reads and opaque.found(cells):
                _refuse_written(contents, cells, name, places)
        return contents

    def unseen(self) -> Function:
        """The same function with notes of its own: what it reads of an example is not what it reads of the frame."""
        return Function(self.call, self.names)

    def unknown(self, name: Any, place: str) -> UnknownColumn:
        """The error for a name that the row does not have."""
        what = f"no column {name!r} in the row ({place})"
        if name in self.names.whole:
            return UnknownColumn(f"no value for column {name!r} ({place})", hint="the prompt function reads it")
        if name in self.names.replaced:
            hint = "this call replaces that column, so its prompts do not see it"
            return UnknownColumn(what, listed(self.names.whole), hint=hint)
        return unknown_column(what, str(name), self.names.whole, form="row['%s']")

    def _access(self, error: Exception) -> str:
        """How a cell is read, shown on the column that was meant."""
        meant = str(getattr(error, "name", None))
        columns = self.names.whole
        return f"row[{meant if meant in columns else next(iter(columns), 'text')!r}]"

    def _content(self, row: Row, place: str) -> Any:
        try:
            content = self.call(row)
        except UnknownColumn:
            raise
        except Exception as error:
            raise PromptError(
                f"the prompt function raised {type(error).__name__}: {error} ({place})",
                f"prompt: {self.source}",
                hint=f"the function gets a row: {self._access(error)}; return None to leave a row out",
            ) from error
        return None if content is None else checked(content, f" ({place})")
