"""Made-up values that fit a JSON schema: a schema is compiled once to a function from draws to values.

The subset that params/schemas.py lets through is covered, `pattern` too (patterns.py), and what else inputs of tools
often say; bounds are not kept, as models may not keep them either where no tool is strict.
Not here: text around the values (sample.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dfbatch.emulator.engines.patterns import maker_of_pattern
from dfbatch.emulator.params.schemas import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.emulator.engines.draws import Draw

    Maker = Callable[[Draw], Any]

WORDS = (
    *("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "juniper", "kernel"),
    *("lantern", "meadow", "north", "orchard", "pebble", "quartz", "river", "stone", "timber", "umber", "valley"),
    *("willow", "yonder", "zenith", "acorn", "birch", "coral", "dune", "elm", "fern", "glade", "heath", "ivy"),
)
_MOST_ITEMS = 3


def maker(schema: dict[str, Any]) -> Maker:
    """The function that makes values of this schema."""
    return _Compiler(schema).maker(schema)


class _Compiler:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def maker(self, schema: Any) -> Maker:
        if schema in (True, {}):  # anything goes, as the inputs of tools may say
            return _string({})
        if "$ref" in schema:
            return self.maker(resolve(schema, self._root) or {"type": "null"})
        if "allOf" in schema:
            return self.maker(_merged(schema))
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else list(schema["enum"])
            return lambda draw: draw.of(values)
        kinds = schema.get("type", "null")
        if "anyOf" in schema or "oneOf" in schema or isinstance(kinds, list):
            parts = schema.get("anyOf") or schema.get("oneOf") or [{**schema, "type": kind} for kind in kinds]
            makers = [self.maker(part) for part in parts]
            return lambda draw: draw.of(makers)(draw)
        return self._of_type(kinds, schema)

    def _of_type(self, kind: str, schema: dict[str, Any]) -> Maker:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema)
        if kind == "string":
            return _string(schema)
        return _SCALARS[kind]

    def _object(self, schema: dict[str, Any]) -> Maker:
        """Required properties first, in schema order, then the optional ones, each there half of the time."""
        properties = schema.get("properties") or {}
        required = set(schema.get("required") or [])
        needed = [(name, self.maker(part)) for name, part in properties.items() if name in required]
        free = [(name, self.maker(part)) for name, part in properties.items() if name not in required]

        def make(draw: Draw) -> dict[str, Any]:
            made = {name: make_one(draw) for name, make_one in needed}
            for name, make_one in free:
                if draw.below(2):
                    made[name] = make_one(draw)
            return made

        return make

    def _array(self, schema: dict[str, Any]) -> Maker:
        make_one = self.maker(schema.get("items") or {"type": "string"})
        least = schema.get("minItems", 0)
        return lambda draw: [make_one(draw) for _ in range(least + draw.below(_MOST_ITEMS))]


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """AllOf as one schema: later parts add properties and replace the rest."""
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", []), *part.get("required", [])]
        merged.update(part)
        if properties:
            merged.update(properties=properties, required=required)
    return merged


def words(draw: Draw, count: int) -> str:
    """So many words from the list."""
    return " ".join(draw.of(WORDS) for _ in range(count))


def _string(schema: dict[str, Any]) -> Maker:
    if "pattern" in schema:
        return maker_of_pattern(schema["pattern"])
    return _FORMATS.get(str(schema.get("format")), lambda draw: words(draw, 1 + draw.below(3)))


def _hex(draw: Draw, count: int) -> str:
    return f"{draw.below(1 << 4 * count):0{count}x}"


def _date(draw: Draw) -> str:
    return f"{2000 + draw.below(27)}-{1 + draw.below(12):02}-{1 + draw.below(28):02}"


def _time(draw: Draw) -> str:
    return f"{draw.below(24):02}:{draw.below(60):02}:{draw.below(60):02}Z"


_FORMATS: dict[str, Maker] = {
    "date": _date,
    "time": _time,
    "date-time": lambda draw: f"{_date(draw)}T{_time(draw)}",
    "duration": lambda draw: f"PT{1 + draw.below(59)}M",
    "email": lambda draw: f"{draw.of(WORDS)}.{draw.of(WORDS)}@example.com",
    "hostname": lambda draw: f"{draw.of(WORDS)}.example.com",
    "uri": lambda draw: f"https://example.com/{draw.of(WORDS)}/{draw.of(WORDS)}",
    "ipv4": lambda draw: f"192.0.2.{draw.below(256)}",
    "ipv6": lambda draw: f"2001:db8::{_hex(draw, 4).lstrip('0') or '0'}",
    "uuid": lambda draw: f"{_hex(draw, 8)}-{_hex(draw, 4)}-4{_hex(draw, 3)}-8{_hex(draw, 3)}-{_hex(draw, 12)}",
}
_SCALARS: dict[str, Maker] = {
    "integer": lambda draw: draw.below(100),
    "number": lambda draw: draw.below(1000) / 10,
    "boolean": lambda draw: bool(draw.below(2)),
    "null": lambda _draw: None,
}
