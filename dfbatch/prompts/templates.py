"""A prompt text with `{fields}`, parsed once and rendered a block of rows at a time; what is wrong with it, pointed at.

What prompts can be besides one text (callables, message lists), nulls and few-shot examples are in `prompts.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.errors import PromptError, UnknownColumn
from dfbatch.prompts import opaque
from dfbatch.prompts.naming import FIELD, first, in_function, known, unknown_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dfbatch.prompts.naming import Names

    Block = Mapping[str, Sequence[Any]]

_BRACE = re.compile(r"[{}]")
_BRACED = re.compile(r"\{([^{}]*)\}|[{}]")
# {"a": 1}   { "a" ...   {<newline>   {score: 1}   {tags:[...]}
_LIKE_JSON = re.compile(r"""\s*["']|[ \t]*\r?\n|\s*[\w-]+\s*:(\s+\S|["'\[{])""")
_JINJA = re.compile(r"\{\{([^{}]*)\}\}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMAT_ERRORS = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, MemoryError)
_SHOWN = 80  # characters of a template or field in an error


@dataclass(frozen=True, slots=True)
class Places:
    """Where rendered values come from, in words: row 17 of the frame, or examples[2]."""

    numbers: Sequence[int]
    label: str = "row %d"

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: int) -> str:
        return self.label % self.numbers[at]


@dataclass(frozen=True, slots=True)
class Field:
    """`{column!conversion:spec}`: one cell as Python's `format` writes it; a null is empty."""

    column: str
    conversion: str = ""
    spec: str = ""

    def texts(self, block: Block, places: Places) -> Sequence[str]:
        """The texts of one column; str cells without conversion and spec are their own text."""
        cells = block[self.column]
        if not self.conversion and not self.spec and set(map(type, cells)) <= {str}:
            return cells
        if self.conversion not in _WRITTEN_OUT:
            refuse_opaque(cells, self.column, places)
        try:
            return [self.text(cell) for cell in cells]
        except _FORMAT_ERRORS:
            self._blame(cells, places)
            raise

    def text(self, cell: Any) -> str:
        """The text of one cell; a format like `{n:c}` can make a surrogate, which no request can carry."""
        if cell is None:
            return ""
        convert = _CONVERSIONS[self.conversion]
        return clean(format(cell if convert is None else convert(cell), self.spec))

    def _blame(self, cells: Sequence[Any], places: Places) -> None:
        for at, cell in enumerate(cells):
            try:
                self.text(cell)
            except _FORMAT_ERRORS as error:
                raise PromptError(
                    f"column {self.column!r} cannot be written as {{{self}}} ({places[at]}): {error}",
                    f"the value is {_short(repr(cell))}, a {type(cell).__name__}",
                    hint="change the format after ':', or double the braces if they are meant literally",
                ) from error

    def __str__(self) -> str:
        """The field as it stands between its braces."""
        conversion = f"!{self.conversion}" if self.conversion else ""
        return self.column + conversion + (f":{self.spec}" if self.spec else "")


_CONVERSIONS = {"": None, "s": str, "r": repr, "a": ascii}
_WRITTEN_OUT = ("r", "a")  # whoever asks for how Python writes a value gets that, of bytes too


def refuse_opaque(cells: Sequence[Any], column: str, places: Places, *, in_row: bool = False) -> None:
    """Raise where a cell has no text of its own."""
    there = opaque.found(cells)
    if there is not None:
        at, value = there
        raise opaque.refusal(value, column, places[at], nested=value is not cells[at], in_row=in_row)


@dataclass(frozen=True, slots=True)
class WholeRow:
    """`{row}`: all columns but those this call replaces, as one JSON object in frame order."""

    names: tuple[str, ...]

    def texts(self, block: Block, places: Places) -> list[str]:
        """One JSON object a row; nulls are `null`, dates are ISO 8601."""
        for name in self.names:
            refuse_opaque(block[name], name, places, in_row=True)
        rows = zip(*(block[name] for name in self.names), strict=True)
        return [self._text(cells, at, places) for at, cells in enumerate(rows)]

    def _text(self, cells: tuple[Any, ...], at: int, places: Places) -> str:
        row = dict(zip(self.names, cells, strict=True))
        try:
            return _JSON.encode(row).decode()
        except (OverflowError, UnicodeEncodeError):  # integers beyond 64 bits; a surrogate inside a nested cell
            return clean(json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str))
        except _FORMAT_ERRORS as error:
            raise PromptError(
                f"{{row}} cannot be written as JSON ({places[at]}): {error}", hint="name the columns: {a} {b}"
            ) from error


_JSON = msgspec.json.Encoder(enc_hook=str)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: what stands, and what is filled in; values are never parsed.

    >>> from dfbatch.prompts.naming import Names
    >>> template = parse("Classify: {text}", Names(("text",)))
    >>> template.render({"text": ["one", "{two}"]}, Places(range(2)))
    ['Classify: one', 'Classify: {two}']
    """

    source: str
    parts: tuple[str | Field | WholeRow, ...]
    fields: tuple[str, ...] = field(init=False)
    never_blank: bool = field(init=False)

    def __post_init__(self) -> None:
        named = dict.fromkeys(part.column for part in self.parts if isinstance(part, Field))
        object.__setattr__(self, "fields", tuple(named))
        solid = any(isinstance(part, WholeRow) or (isinstance(part, str) and bool(part.strip())) for part in self.parts)
        object.__setattr__(self, "never_blank", solid)

    @property
    def reads(self) -> frozenset[str]:
        """The columns whose cells are in the text."""
        rows = (name for part in self.parts if isinstance(part, WholeRow) for name in part.names)
        return frozenset((*self.fields, *rows))

    def render(self, block: Block, places: Places) -> list[str]:
        """One text a row, byte for byte what `str.format` gives."""
        if not self.parts:
            return [""] * len(places)
        columns = (
            repeat(part, len(places)) if isinstance(part, str) else part.texts(block, places) for part in self.parts
        )
        return list(map("".join, zip(*columns, strict=True)))


def parse(text: str, names: Names, where: str = "the prompt") -> Template:
    """The template in a text; an error points at the place."""
    text = clean(text)
    return Template(text, tuple(part for part in _Parser(text, names, where).parts() if part != ""))


def clean(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot carry, as U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def no_column(text: str, names: Names, where: str = "the prompt") -> PromptError:
    """The error for a prompt that is the same for every row."""
    hints = [f"{first(names)},"] if names.columns else []
    hints.append("or pass same_for_all=True if every row is to get the same prompt")
    for name in map(str.strip, _JINJA.findall(text)):
        if name in names.columns:
            hints = [f"{{{{{name}}}}} is an escape and means the text itself: write {{{name}}}"]
        elif f"{{{name}}}" in names.columns:
            hints = [f"{{{{{name}}}}} is an escape and means the text itself; {in_function(f'{{{name}}}')}"]
    return PromptError(f"{where} names no column: {_short(repr(text))}", known(names), hint=" ".join(hints))


@dataclass(frozen=True, slots=True)
class _Parser:
    text: str
    names: Names
    where: str

    def parts(self) -> Iterator[str | Field | WholeRow]:
        literal, at = "", 0
        while brace := _BRACE.search(self.text, at):
            here = brace.start()
            literal += self.text[at:here]
            if self.text.startswith(brace[0] * 2, here):
                literal, at = literal + brace[0], here + 2
                continue
            if brace[0] == "}":
                raise self._error("single '}'", here, hint="write '}}' for a literal brace")
            yield literal
            self._refuse_braces(here)
            inner = self._inner(here)
            yield self._field(inner, here)
            literal, at = "", here + len(inner) + 2
        yield literal + self.text[at:]

    def _refuse_braces(self, here: int) -> None:
        for name in self.names.columns:
            if set("{}") & set(name) and self.text.startswith(name, here + 1):
                raise self._error(f"the column {name!r} has braces in its name", here, hint=in_function(name))

    def _inner(self, here: int) -> str:
        close = _BRACE.search(self.text, here + 1)
        if close is not None and close[0] == "}":
            return self.text[here + 1 : close.start()]
        inner = self.text[here + 1 : close.start() if close else None]
        name = self._split(inner)[0]
        if close is not None and name in self.names.columns and inner[len(name) :].startswith(":"):
            raise self._error("a field inside a format", close.start(), hint="write the format out: {price:.2f}")
        if _LIKE_JSON.match(self.text, here + 1) and self._end(here):
            raise self._json(here, name)
        if close is not None:
            raise self._error("'{' inside a field", close.start(), hint="write '{{' for a literal brace")
        raise self._error("'{' is never closed", here, hint="write '{{' for a literal brace")

    def _field(self, inner: str, here: int) -> Field | WholeRow:
        name, rest = self._split(inner)
        if name == "row" and name not in self.names.whole:
            return self._row(rest, here)
        if name == "row":
            raise self._error(
                "{row} means all columns, and there is a column named 'row'",
                here,
                hint="rename that column, or use a callable: lambda row: row['row']",
            )
        if name == "":
            name = self._anonymous(here)
        elif name not in self.names.columns:
            raise self._unknown(name, here)
        conversion, spec = self._format(rest, here)
        return Field(name, conversion, spec)

    def _split(self, inner: str) -> tuple[str, str]:
        """The longest column name that the braces begin with, else all before the first '!' or ':'."""
        begun = (name for name in self.names.columns if name and inner.startswith(name))
        ended = [name for name in begun if inner[len(name) : len(name) + 1] in ("", "!", ":")]
        name = max(ended, key=len) if ended else re.split("[!:]", inner, maxsplit=1)[0]
        return name, inner[len(name) :]

    def _row(self, rest: str, here: int) -> WholeRow:
        if rest:
            raise self._error("{row} takes no format", here, hint="write {row}")
        if not self.names.whole:
            raise self._error("{row} is empty: this call replaces every column", here)
        return WholeRow(self.names.whole)

    def _anonymous(self, here: int) -> str:
        if self.names.series is not None:
            return self.names.series
        hint = f"{first(self.names)}; write '{{{{}}}}' for literal braces"
        raise self._error("{} without a column name (that is for Series)", here, hint=hint)

    def _format(self, rest: str, here: int) -> tuple[str, str]:
        conversion, colon, spec = rest.partition(":")
        if conversion in ("", "!s", "!r", "!a"):
            return conversion[1:], spec if colon else ""
        raise self._error(f"unknown conversion {conversion!r}", here, hint="!s, !r and !a are known")

    def _unknown(self, name: str, here: int) -> PromptError | UnknownColumn:
        if _LIKE_JSON.match(self.text, here + 1):
            return self._json(here, name)
        if name.strip().isdigit():
            return self._error("fields by position are refused", here, hint=first(self.names))
        if "." in name or "[" in name:
            head = re.split(r"[.\[]", name, maxsplit=1)[0]
            plain = head in self.names.columns and self.names.series is None
            column = f"name a column, such as {{{head}}}" if plain else first(self.names)
            hint = f"{column}; a callable can take values apart: lambda row: ..."
            return self._error("attribute or index access is refused", here, known(self.names), hint=hint)
        if self.names.series is not None:
            what = f"no column {_short(repr(name))} in the Series, named in {self.where}{self._at(here)}"
            return UnknownColumn(what, known(self.names), hint=first(self.names))
        return unknown_column(
            f"no column {_short(repr(name))} in the frame, named in {self.where}{self._at(here)}",
            name,
            self.names.columns,
            hint="name a column, or write '{{' and '}}' for literal braces",
            form=FIELD,
        )

    def _json(self, here: int, name: str) -> UnknownColumn:
        snippet = self.text[here : self._end(here) or len(self.text)]
        return UnknownColumn(
            f"no column {_short(repr(name.strip()))} in the frame, named in {self.where}{self._at(here)}",
            known(self.names),
            hint=f"this looks like JSON: double its braces: {_short(_BRACED.sub(self._doubled, snippet), 200)}",
        )

    def _doubled(self, found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0] * 2
        known = self._split(found[1])[0] in (*self.names.columns, "row")
        return found[0] if known else f"{{{found[0]}}}"

    def _end(self, here: int) -> int:
        """Just past the brace that closes the one here; 0 if none does."""
        depth = 0
        for brace in _BRACE.finditer(self.text, here):
            depth += 1 if brace[0] == "{" else -1
            if not depth:
                return brace.end()
        return 0

    def _error(self, what: str, here: int, *known: str, hint: str = "") -> PromptError:
        return PromptError(f"{what} in {self.where}{self._at(here)}", *known, hint=hint)

    def _at(self, here: int) -> str:
        """The line with a caret below the place; what cannot be seen is shown as a space."""
        first = self.text.rfind("\n", 0, here) + 1
        last = self.text.find("\n", here)
        line = self.text[first : len(self.text) if last < 0 else last]
        cut = max(0, here - first - _SHOWN // 2)
        shown = re.sub(r"\s", " ", line[cut : cut + _SHOWN])
        number = self.text.count("\n", 0, here) + 1
        return f" - at line {number}, character {here - first + 1}\n  {shown}\n  {' ' * (here - first - cut)}^"


def _short(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
