"""Strings that match a simple regular expression, for schemas with `pattern`.

Covers what the API's subset has: literals, classes, groups, alternatives, repeats, anchors, dots. What it cannot make a
match for it admits as an invalid request. Not here: every other kind of value (values.py).
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any

from dfbatch.emulator.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dfbatch.emulator.engines.draws import Draw

_MORE = 3  # how many repeats beyond the least an open repeat gets
_LETTERS = string.ascii_letters + string.digits + "_ -.:/"
_CLASSES = {
    "category_digit": string.digits,
    "category_space": " ",
    "category_word": string.ascii_letters + string.digits + "_",
    "category_not_digit": string.ascii_letters,
    "category_not_space": string.ascii_letters + string.digits,
    "category_not_word": " -",
}


def maker_of_pattern(pattern: str) -> Callable[[Draw], str]:
    """A function that makes matching strings, each proved by the regular expression itself."""
    test = re.compile(pattern)
    parsed = list(_parse(pattern))

    def make(draw: Draw) -> str:
        for _ in range(8):
            text = "".join(_made(parsed, draw))
            if test.search(text):
                return text
        raise invalid(f"the sample engine found no string for the pattern {pattern!r}")

    return make


def _parse(pattern: str) -> Iterable[Any]:
    """The standard library's own reading of the pattern: (operation, argument) pairs."""
    parser: Any = getattr(re, "_parser")  # noqa: B009 - there is no public name for it
    return parser.parse(pattern)  # type: ignore[no-any-return]


def _made(parsed: Iterable[Any], draw: Draw) -> Iterable[str]:
    for operation, argument in parsed:
        yield _piece(str(operation).lower(), argument, draw)


def _piece(operation: str, argument: Any, draw: Draw) -> str:
    """The text for one operation; anchors take no room."""
    make = _PIECES.get(operation)
    return make(argument, draw) if make else ""


def _repeat(argument: Any, draw: Draw) -> str:
    least, most, inner = argument
    count = least + draw.below(min(int(most) - least, _MORE) + 1)
    return "".join("".join(_made(inner, draw)) for _ in range(count))


_PIECES: dict[str, Callable[[Any, Draw], str]] = {
    "literal": lambda code, _draw: chr(code),
    "not_literal": lambda code, draw: draw.of([letter for letter in _LETTERS if letter != chr(code)]),
    "in": lambda items, draw: draw.of(sorted(_members(items)) or ["?"]),
    "any": lambda _none, draw: draw.of(string.ascii_lowercase),
    "branch": lambda argument, draw: "".join(_made(draw.of(argument[1]), draw)),
    "subpattern": lambda argument, draw: "".join(_made(argument[-1], draw)),
    **dict.fromkeys(("max_repeat", "min_repeat", "possessive_repeat"), _repeat),
}


def _members(items: Iterable[Any]) -> set[str]:
    members: set[str] = set()
    negated = False
    for operation, argument in items:
        name = str(operation).lower()
        if name == "negate":
            negated = True
        elif name == "literal":
            members.add(chr(argument))
        elif name == "range":
            low, high = argument
            members.update(chr(code) for code in range(low, min(high, low + 200) + 1))
        elif name == "category":
            members.update(_CLASSES.get(str(argument).lower(), ""))
    return set(_LETTERS) - members if negated else members
