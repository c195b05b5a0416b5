"""The routes: which there are, by name, and which one a call meant.

batches   the six endpoints of Message Batches
messages  direct calls and token counting
catalogue the models
control   /_emulator/: health, usage, clock, faults, reset
seeded    the stateless stand-in behind `--seed-id`
"""

from __future__ import annotations

import re

# (name, method, template): the name is what faults are aimed at, "METHOD template" what calls are counted under
TABLE = (
    ("create", "POST", "/v1/messages/batches"),
    ("list", "GET", "/v1/messages/batches"),
    ("retrieve", "GET", "/v1/messages/batches/{id}"),
    ("delete", "DELETE", "/v1/messages/batches/{id}"),
    ("cancel", "POST", "/v1/messages/batches/{id}/cancel"),
    ("results", "GET", "/v1/messages/batches/{id}/results"),
    ("messages", "POST", "/v1/messages"),
    ("count_tokens", "POST", "/v1/messages/count_tokens"),
    ("models", "GET", "/v1/models"),
    ("model", "GET", "/v1/models/{id}"),
)
_PATTERNS = [
    (name, f"{method} {template}", method, re.compile(template.replace("{id}", "[^/]+")))
    for name, method, template in TABLE
]


def match(method: str, path: str) -> tuple[str, str]:
    """(name, "METHOD template") of the route a call goes to; `control` and `unknown` where it is none of the API's."""
    if path.startswith("/_emulator/"):
        return "control", ""
    for name, template, wanted, pattern in _PATTERNS:
        if method == wanted and pattern.fullmatch(path):
            return name, template
    return "unknown", "unknown"
