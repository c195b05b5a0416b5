"""The language of shapes.py, compiled to checks: a check takes a value and its place, and returns an error text or "".

    string · integer · integer>=1 · number · boolean · object · any · 'literal'
    [form] a list · {name} a shape · <name> one of several shapes told apart by "type" · form | form · form? (or null)

Error texts are the API's, as users have seen them. Not here: the shapes themselves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[Any, str], str]

EXTRA = "Extra inputs are not permitted"
REQUIRED = "Field required"
OBJECT = "Input should be an object"

_PLAIN: dict[str, tuple[type | tuple[type, ...], str]] = {
    "string": (str, "Input should be a valid string"),
    "integer": (int, "Input should be a valid integer"),
    "number": ((int, float), "Input should be a valid number"),
    "boolean": (bool, "Input should be a valid boolean"),
    "object": (dict, OBJECT),
}


class Forms:
    """Compiles forms against named shapes and unions; each name once."""

    def __init__(self, shapes: Mapping[str, Mapping[str, str]], unions: Mapping[str, Mapping[str, str]]) -> None:
        self._shapes = shapes
        self._unions = unions
        self._compiled: dict[str, Check] = {}

    def check(self, form: str) -> Check:
        """The check of a form; names resolve late, so shapes may hold one another."""
        if form not in self._compiled:
            self._compiled[form] = self._compile(form)
        return self._compiled[form]

    def _compile(self, form: str) -> Check:
        if form.endswith("?"):
            inner = self.check(form[:-1])
            return lambda value, place: "" if value is None else inner(value, place)
        alternatives = form.split(" | ")
        if all(alternative.startswith("'") for alternative in alternatives):
            return _literals([alternative.strip("'") for alternative in alternatives])
        if len(alternatives) > 1:
            return self._either(alternatives)
        make = {"[": self._list, "{": self._shape, "<": self._tagged}.get(form[0])
        return make(form[1:-1]) if make else _plain(form)

    def _either(self, alternatives: list[str]) -> Check:
        def check(value: Any, place: str) -> str:
            fitting = next((form for form in alternatives if _fits(form, value)), alternatives[-1])
            return self.check(fitting)(value, place)

        return check

    def _list(self, form: str) -> Check:
        def check(value: Any, place: str) -> str:
            if not isinstance(value, list):
                return f"{place}: Input should be a valid array"
            inner = self.check(form)
            return next((text for row, item in enumerate(value) if (text := inner(item, f"{place}.{row}"))), "")

        return check

    def _shape(self, name: str) -> Check:
        keys = {key.rstrip("!"): form for key, form in self._shapes[name].items()}
        needed = [key[:-1] for key in self._shapes[name] if key.endswith("!")]
        rest = keys.pop("*", None)

        def check(value: Any, place: str) -> str:
            if not isinstance(value, dict):
                return f"{place}: {OBJECT}"
            before = f"{place}." if place else ""
            for key in needed:
                if key not in value:
                    return f"{before}{key}: {REQUIRED}"
            for key, item in value.items():
                form = keys.get(key, rest)
                if form is None:
                    return f"{before}{key}: {EXTRA}"
                text = self.check(form)(item, f"{before}{key}")
                if text:
                    return text
            return ""

        return check

    def _tagged(self, name: str) -> Check:
        tags = self._unions[name]

        def check(value: Any, place: str) -> str:
            if not isinstance(value, dict):
                return f"{place}: {OBJECT}"
            tag = tags.get("") if value.get("type") is None else value["type"]
            if tag is None:
                return f"{place}.type: {REQUIRED}"
            if not isinstance(tag, str) or not tag:
                return f"{place}.type: {_PLAIN['string'][1]}"
            if tag not in tags:
                expected = ", ".join(f"'{known}'" for known in tags if known)
                return (
                    f"{place}: Input tag '{tag}' found using 'type' does not match any of the expected tags: {expected}"
                )
            return self.check(tags[tag])(value, f"{place}.{tag}")

        return check


def _plain(form: str) -> Check:
    name, _, least = form.partition(">=")
    if name == "any":
        return lambda _value, _place: ""
    kind, text = _PLAIN[name]

    def check(value: Any, place: str) -> str:
        if not isinstance(value, kind) or (isinstance(value, bool) and name != "boolean"):
            return f"{place}: {text}"
        if least and isinstance(value, int | float) and value < float(least):
            return f"{place}: Input should be greater than or equal to {least}"
        return ""

    return check


def _literals(allowed: list[str]) -> Check:
    quoted = [f"'{word}'" for word in allowed]
    words = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"

    def check(value: Any, place: str) -> str:
        return "" if isinstance(value, str) and value in allowed else f"{place}: Input should be {words}"

    return check


def _fits(form: str, value: Any) -> bool:
    """Whether the alternative is the one for this kind of JSON value."""
    if form.startswith("["):
        return isinstance(value, list)
    if form.startswith(("{", "<")):
        return isinstance(value, dict)
    name = re.split("[>']", form)[0] or "string"
    return name == "any" or isinstance(value, _PLAIN[name][0])
