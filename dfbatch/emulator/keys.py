"""Whose call it is: keys belong to workspaces, and a workspace sees nothing of another's.

By default every key is let in and has a workspace of its own; with a table of keys only those are let in. Keys are
kept as digests only. `lenient` lets any anthropic-workspace-id pass, for test suites that send made-up ones.
Not here: what a workspace has used (billing.py).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from dfbatch.emulator import ids
from dfbatch.emulator.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import Headers


class Keys:
    """From the headers of a call to a workspace id."""

    def __init__(self, workspaces: Mapping[str, str] | None = None, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self._known = None if workspaces is None else {_digest(key): name for key, name in workspaces.items()}

    def workspace(self, headers: Headers) -> str:
        """The workspace of the key in x-api-key or Authorization: Bearer; no or an unknown key is a 401."""
        key = headers.get("x-api-key") or ""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not key and scheme.lower() == "bearer":
            key = token.strip()
        if not key:
            raise ApiError("x-api-key header is required", status=401)
        workspace = self._workspace(_digest(key), bearer="x-api-key" not in headers)
        asked = headers.get("anthropic-workspace-id")
        if asked and asked != workspace and not self._lenient:
            raise ApiError("anthropic-workspace-id does not match the workspace of the key", status=403)  # [?]
        return workspace

    def _workspace(self, digest: bytes, *, bearer: bool) -> str:
        if self._known is None:
            return ids.named("wrkspc", digest)
        name = self._known.get(digest)
        if name is None:
            raise ApiError("Invalid bearer token" if bearer else "invalid x-api-key", status=401)
        return name if name.startswith("wrkspc_") else ids.named("wrkspc", name.encode())


def _digest(key: str) -> bytes:
    return sha256(b"dfbatch emulator key " + key.encode("utf-8", "replace")).digest()
