"""What answers look like: any schema a user may write, as the API takes it, as the ledger keeps it, as columns.

Python's types are read in `declared.py`, JSON schema in `spelling.py`, what goes to the API is made in `wire.py`;
whether one answer fits is judged in `judges.py`; the dtypes columns become are in `frames/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic_core import SchemaValidator, core_schema

from dfbatch.kinds import TEXT, Kind
from dfbatch.schemas.declared import Declared, declared, labels
from dfbatch.schemas.judges import Invalid, Judge, judge, kind
from dfbatch.schemas.spelling import Node, spelled
from dfbatch.schemas.validators import is_closed
from dfbatch.schemas.wire import wire

__all__ = ["Invalid", "Schema", "from_ledger", "read", "wire"]

ANSWER = "answer"

Shape = Literal["text", "scalar", "object"]


@dataclass(frozen=True, slots=True)
class Schema:
    """One schema, read once: what goes over the wire, what the ledger keeps, which columns come of it.

    >>> read(Literal["sport", "tech"]).judge('{"answer": "Sport"}')
    ('sport',)
    """

    shape: Shape
    wire: Node | None
    full: Node | None
    fields: tuple[tuple[str, Kind], ...]
    _judge: Judge | None = field(default=None, repr=False, compare=False)

    @property
    def type_name(self) -> str:
        """A few words for messages.

        >>> read(list[str]).type_name
        'list[str]'
        """
        if self.shape == "object" and self.full and "title" in self.full:
            return str(self.full["title"])
        return (
            "text"
            if self.shape == "text"
            else repr(Kind("struct", fields=self.fields) if self.shape == "object" else self.fields[0][1])
        )

    @property
    def closed(self) -> frozenset[str]:
        """The fields that hold one of a few values, or lists and objects of such: Literal, Enum, bool.

        >>> read(Literal["sport", "tech"]).closed, read(int).closed
        (frozenset({'answer'}), frozenset())
        """
        return frozenset(name for name, node in (self.full or {}).get("properties", {}).items() if is_closed(node))

    @property
    def judging(self) -> Callable[[str], tuple[Any, ...]]:
        """What `judge` calls, for those who judge many."""
        return self._judge.quick() if self._judge else self.judge

    def judge(self, text: str | bytes) -> tuple[Any, ...]:
        """The values of one answer in the order of `fields`; raises Invalid.

        >>> read({"type": "integer", "maximum": 5}).judge('{"answer": 4}')
        (4,)
        """
        return self._judge.values(text) if self._judge else (_decoded(text),)

    def objects(self, text: str | bytes) -> Any:
        """The answer as the user's own class, as a dict where there is none, or the scalar itself.

        >>> read(list[int]).objects('{"answer": [1, 2]}')
        [1, 2]
        """
        if self._judge is None:
            return _decoded(text)
        found = self._judge.instance(text)
        return found[ANSWER] if self.shape == "scalar" else found


def read(schema: Any) -> Schema:
    """Read whatever a user hands in as `schema=`; None is plain text, a list of labels is one of them.

    >>> read({"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]}).fields
    (('score', float),)
    """
    if schema is None:
        return Schema("text", None, None, ((ANSWER, TEXT),))
    if isinstance(schema, Mapping):
        return _built(spelled(schema))
    if isinstance(schema, list | tuple):
        schema = labels(schema)
    found = declared(schema)
    return _built(spelled(found.node, python=True), found)


def from_ledger(full: Node | None, shape: str) -> Schema:
    """The schema as the ledger kept it: judges answers without the class it was read from.

    >>> kept = read(Literal["sport", "tech"])
    >>> from_ledger(kept.full, kept.shape) == kept
    True
    """
    if full is None:
        return read(None)
    return _schema("scalar" if shape == "scalar" else "object", full, judge(full))


def _built(node: Node, python: Declared | None = None) -> Schema:
    shape: Shape = "object" if node.get("type") == "object" else "scalar"
    full = node if shape == "object" else {"type": "object", "properties": {ANSWER: node}, "required": [ANSWER]}
    if python is None:
        return _schema(shape, full, judge(full))
    own = python.core
    if shape == "scalar":
        own = core_schema.typed_dict_schema({ANSWER: core_schema.typed_dict_field(own)})
    return _schema(shape, full, judge(full, SchemaValidator(own), asks_own=not python.said_in_full))


def _schema(shape: Shape, full: Node, found: Judge) -> Schema:
    fields = tuple((name, kind(node)) for name, node in full["properties"].items())
    return Schema(shape, wire(full), full, fields, found)


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
