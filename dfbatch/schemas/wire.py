"""The schema on the wire: the API's subset; what it does not know is told to the model in words, and judged by us.

The one spelling that comes in is made in `spelling.py`; the judging is in `judges.py`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from dfbatch.errors import SchemaError
from dfbatch.schemas.spelling import LIMITS, MAX_NODES, NULL, Node

# limits per request, from our API facts sheet §4 (structured outputs), compiled 2026-11-22; not tried at the API
MAX_OPTIONAL = 24
MAX_UNIONS = 16
_ALL_LIMITS = tuple(dict.fromkeys(name for names in LIMITS.values() for name in names))
FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
# lookaround, back references, \b, named groups, flags, lazy or possessive repeats, {n,m} from 100
_HARD_PATTERN = re.compile(r"\\[^dDwWsSnrt\W_]|\(\?(?!:)|[*+?}][+?]|\{[\d,]*\d{3}")


def wire(full: Node) -> Node:
    """The schema as the API takes it.

    >>> wire({"type": "object", "properties": {"score": {"type": "integer", "maximum": 5}}, "required": ["score"]})[
    ...     "properties"
    ... ]
    {'score': {'type': 'integer', 'description': 'maximum: 5'}}
    """
    first = _Wire()
    found = first.node(full)
    if first.unions > MAX_UNIONS:
        first = _Wire(spare=max(0, first.nulls - (first.unions - MAX_UNIONS)))
        found = first.node(full)
    for count, limit, what in ((first.optional, MAX_OPTIONAL, "optional fields"), (first.unions, MAX_UNIONS, "unions")):
        if count > limit:
            raise SchemaError(
                f"{count} {what}, and the API takes {limit} a request - at $",
                hint='fewer optional fields, or a sentinel value such as "" or -1 instead of None',
            )
    return found


@dataclass(slots=True)
class _Wire:
    spare: int = MAX_NODES  # how many `X | None = None` may be asked for as unions
    nulls: int = 0
    optional: int = 0
    unions: int = 0

    def node(self, node: Node) -> Node:
        notes = {name: node[name] for name in _ALL_LIMITS if name in node and not _api_takes(name, node[name])}
        told = ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in notes.items())
        text = node.get("description", "")
        found = {name: node[name] for name in ("title", "type", "enum", "default") if node.get(name) is not None}
        found |= {name: node[name] for name in _ALL_LIMITS if name in node and name not in notes}
        if text or told:
            found["description"] = f"{text} ({told})" if text and told else text or told
        if "anyOf" in node:
            self.unions += 1
            found["anyOf"] = [self.node(branch) for branch in node["anyOf"]]
        if "items" in node:
            found["items"] = self.node(node["items"])
        return found | self.members(node) if "properties" in node else found

    def members(self, node: Node) -> Node:
        parts, required = {}, []
        for name, part in node["properties"].items():
            solid, must = self.settled(part, must=name in node["required"])
            parts[name] = self.node(solid)
            self.optional += not must
            required += [name] if must else []
        return {"properties": parts, "required": required, "additionalProperties": False}

    def settled(self, part: Node, *, must: bool) -> tuple[Node, bool]:
        """`X | None = None` as required but nullable, or as optional but not nullable: absent and null mean the same.

        The plain translation, optional and nullable, costs one of each budget.
        """
        if must or part.get("default") is not None or NULL not in part.get("anyOf", ()):
            return part, must
        if self.nulls < self.spare:
            self.nulls += 1
            return part, True
        solid = [branch for branch in part["anyOf"] if branch != NULL]
        rest = {name: value for name, value in part.items() if name != "anyOf"}
        return {**solid[0], **rest} if len(solid) == 1 else {**rest, "anyOf": solid}, False


def _api_takes(name: str, value: Any) -> bool:
    if name == "pattern":
        return not _HARD_PATTERN.search(value)
    return (name == "format" and value in FORMATS) or (name == "minItems" and value in (0, 1))
