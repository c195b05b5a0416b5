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
    alike: dict[str, list[str]] = {}
    for error in dict.fromkeys(errors):
        alike.setdefault(_VALUES.sub(VARIES, error), []).append(error)
    return {error: _common(group) for group in alike.values() for error in group}


def _common(group: list[str]) -> str:
    """The wording of errors that differ in values: those that are the same in all stay."""
    values = list(zip(*map(_VALUES.findall, group), strict=True))
    kept = iter([of_all[0] if len(set(of_all)) == 1 else VARIES for of_all in values])
    return _VALUES.sub(lambda _: next(kept), group[0])
