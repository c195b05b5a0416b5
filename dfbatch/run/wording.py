"""Errors that say the same of different values, as one: what varies from row to row is left out of the wording."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_VALUES: Final = re.compile(r"""(?<!\w)'[^']*'(?!\w)|"[^"]*"|\d+(?:[.,]\d+)*""")  # what is quoted, and numbers
VARIES: Final = "…"


def worded(errors: Iterable[str]) -> dict[str, str]:
    """Each error → how all that differ from it in values alone are worded.

    >>> same = worded(["expected 'a', got 'x'", "expected 'a', got 'yy'", "cut short: max_tokens"])
    >>> print(same["expected 'a', got 'x'"])
    expected 'a', got …
    >>> print(same["cut short: max_tokens"])
    cut short: max_tokens
    """
    alike: dict[tuple[str, ...], list[str]] = {}  # by what is around the values
    for error in dict.fromkeys(errors):
        alike.setdefault(tuple(_VALUES.split(error)), []).append(error)
    common = [(_common(group), group) for group in alike.values()]
    return {error: wording for wording, group in common for error in group}


def _common(group: list[str]) -> str:
    """The wording of errors that differ in values: those that are the same in all stay."""
    kept = _VALUES.findall(group[0])
    for error in group[1:]:
        kept = [value if value == other else VARIES for value, other in zip(kept, _VALUES.findall(error), strict=True)]
    values = iter(kept)
    return _VALUES.sub(lambda _: next(values), group[0])
