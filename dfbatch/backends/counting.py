"""What a server tells for nothing: how many tokens a request has, what a model can do. Which reply tells neither.

Only advice: a server that gives none is as good as any other. How it is asked is in `anthropic.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import quote

import msgspec

from dfbatch.backends.faults import said
from dfbatch.backends.reading import UNREADABLE

if TYPE_CHECKING:
    import httpx

# What a count takes of a Messages call (SDK 2.12, November 2026); the others are refused as "Extra inputs".
COUNTED: Final = frozenset(
    {
        *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "speed"),
        *("mcp_servers", "context_management", "compaction", "billing_policy"),  # with their betas
    }
)
_MODELS: Final = "/v1/models"
_NO_ROUTE: Final = frozenset({405, 501})  # whoever says it, and however
_UNHEARD: Final = frozenset({400, 404, 410, 422})  # where they come without the API's error object
_OF_A_MODEL: Final = re.compile(r"(?<![\w/-])model(?![\w/-])", re.IGNORECASE)


class _Asked(msgspec.Struct):
    model: str = ""


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _Info(msgspec.Struct):
    """As much of a ModelInfo as is relied on; the rest is kept as it came."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    type: Literal["model"]
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: dict[str, Any] | None = None


def counted(params: bytes) -> tuple[str, bytes]:
    """The model of a request, and the body of its count: what a count takes, each byte for byte.

    >>> counted(b'{"model": "m", "max_tokens": 9, "messages": []}')
    ('m', b'{"model":"m","messages":[]}')
    """
    fields = msgspec.json.decode(params, type=dict[str, msgspec.Raw])
    kept = {key: value for key, value in fields.items() if key in COUNTED}
    return msgspec.json.decode(params, type=_Asked).model, msgspec.json.encode(kept)


def count_in(response: httpx.Response) -> int | None:
    """The tokens of a prompt; None where the reply is no count."""
    try:
        return msgspec.json.decode(response.content, type=_Count).input_tokens
    except UNREADABLE:
        return None


def place_of(model: str) -> str | None:
    """Where a model is described; None for a name that cannot be part of a path, or would lead out of this one.

    Some proxies undo the quoting before they look where a path leads, so that `..` stays `..` however it is written.
    Such names do exist: servers of other models call theirs by the path of a file.

    >>> place_of("org/model"), place_of("../messages")
    ('/v1/models/org%2Fmodel', None)
    """
    parts = re.split(r"[/\\]", model)
    if not model or not model.isprintable() or {".", ".."}.intersection(parts):  # lone surrogates are not printable
        return None
    return f"{_MODELS}/{quote(model, safe='')}"


def info_in(response: httpx.Response) -> dict[str, Any] | None:
    """All that is told of a model; None where the reply is no ModelInfo."""
    try:
        told = msgspec.json.decode(response.content, type=dict[str, Any])
        msgspec.convert(told, _Info)
    except UNREADABLE:
        return None
    return told


def silent(response: httpx.Response, model: str) -> bool:
    """Whether a refusal means that this server does not tell such things at all.

    A missing route and a missing model are both 404 and, at the API, both `not_found_error`; only the message differs:
    "Not Found" for a route (seen in github.com/danielmiessler/Fabric/issues/1140, and what our emulator says) and
    "model: NAME" for a model; Ollama has "model 'NAME' not found". So a model is missing where the type is the API's,
    the message names it, and speaks of a model outside of any path ("no route /v1/models/NAME" is a route). In doubt
    the server is silent: to know nothing of a model stops nobody, to believe that it is missing stops a run.
    """
    status = response.status_code
    if response.is_success:
        return False
    kind, message, _ = said(response)
    if status == 404:
        return kind != "not_found_error" or not _names(message, model)
    return status in _NO_ROUTE or (status in _UNHEARD and not kind)


def _names(message: str, model: str) -> bool:
    before, name, after = message.rpartition(model) if model else ("", "", "")
    return bool(name) and _OF_A_MODEL.search(f"{before} {after}") is not None
