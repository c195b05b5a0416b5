"""What a column can hold: the small tree of types that schemas, columns, frames and the ledger agree on.

How a kind is read off a schema is in `schemas.py`; the dtype it becomes is in `frames/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Name = Literal["str", "int", "float", "bool", "category", "date", "datetime", "list", "struct", "json"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One column type; `list` has `inner`, `struct` has `fields`, `category` has `categories` in declared order.

    `datetime` is UTC in microseconds (a value without an offset is taken as UTC); `json` is any JSON value.

    >>> Kind("list", inner=Kind("str"))
    list[str]
    """

    name: Name
    categories: tuple[str, ...] = ()
    inner: Kind | None = None
    fields: tuple[tuple[str, Kind], ...] = ()

    def __repr__(self) -> str:
        """Write the kind as Python writes the type."""
        if self.name == "list":
            return f"list[{self.inner!r}]"
        if self.name == "struct":
            return "{" + ", ".join(f"{name}: {kind!r}" for name, kind in self.fields) + "}"
        if self.name == "category":
            return "Literal[" + ", ".join(map(repr, self.categories)) + "]"
        return self.name


TEXT = Kind("str")
