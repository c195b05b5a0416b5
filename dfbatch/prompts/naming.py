"""What a prompt can name, and how a column is named: in templates, in functions, in the errors about both.

How a text with `{fields}` is parsed is in `templates.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dfbatch.errors import UnknownColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FIELD: Final = "{%s}"
CELL: Final = "{}"  # of a Series
_ALONE = re.compile(r"(?<!\{)\{([^{}]*)\}(?!\})")
_LISTED = 20  # columns named in an error


@dataclass(frozen=True, slots=True)
class Names:
    """What a prompt can name: the frame's columns, the Series' own name, and the columns this call would replace."""

    columns: tuple[str, ...]
    series: str | None = None
    replaced: frozenset[str] = frozenset()

    @property
    def whole(self) -> tuple[str, ...]:
        """The columns that `{row}` and callables see."""
        return tuple(name for name in self.columns if name not in self.replaced)

    def ordered(self, some: Iterable[str]) -> tuple[str, ...]:
        """These columns, each once, in frame order."""
        chosen = frozenset(some)
        return tuple(name for name in self.columns if name in chosen)


def first(names: Names) -> str:
    """How to name a column, in words: the first that a template can name."""
    if names.series is not None:
        return f"write {CELL} where the cell of the Series goes"
    named = next(filter(None, map(written, names.columns)), None)
    if names.columns and named is None:
        return in_function(names.columns[0])
    return f"name a column, such as {named or '{text}'}"


def known(names: Names) -> str:
    """What there is to name, in one line."""
    return f"a Series: its cell is {CELL}" if names.series is not None else listed(names.columns)


def written(column: str) -> str | None:
    """The column as a template names it; None where none can."""
    return None if column in ("", "row") or set("{}") & set(column) else f"{{{column}}}"


def in_function(column: str) -> str:
    """What to do about a column that no template can name."""
    return f"no template can name the column {column!r}: rename it, or use a function: lambda row: row[{column!r}]"


def fillable(text: object, names: Names) -> list[str]:
    """The fields of columns in a text that is sent as it is (or in text blocks): a template was meant, perhaps."""
    if not isinstance(text, str):
        blocks = text if isinstance(text, list | tuple) else []
        return [name for block in blocks for name in fillable(block.get("text", ""), names)]
    found = dict.fromkeys(match[0] for match in _ALONE.finditer(text) if _names(match[1], names))
    return list(found)


def _names(inner: str, names: Names) -> bool:
    name = re.split("[!:]", inner, maxsplit=1)[0]
    return inner in names.columns or name in names.columns or inner == "row" or (not inner and names.series is not None)


def unknown_column(what: str, name: str, columns: Sequence[str], *, hint: str = "", form: str = "%s") -> UnknownColumn:
    """The error for a name the frame does not have, with the nearest one it has; `form` is how it would be written."""
    near = near_miss(name, columns)
    if near is not None:
        hint = f"did you mean {form % near}?" if form != FIELD or written(near) else in_function(near)
    return UnknownColumn(what, listed(columns), hint=hint)


def near_miss(name: str, columns: Sequence[str]) -> str | None:
    """The column that was probably meant."""
    from difflib import get_close_matches

    folded = {column.strip().casefold(): column for column in columns}
    near = folded.get(name.strip().casefold())
    return near if near is not None else next(iter(get_close_matches(name, columns, n=1)), None)


def listed(columns: Sequence[str]) -> str:
    """The columns in one line, at most twenty of them."""
    more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
    return f"columns: {', '.join(columns[:_LISTED])}{more}" if columns else "the frame has no columns"
