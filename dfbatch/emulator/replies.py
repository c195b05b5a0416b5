"""Replies as the API writes them: compact JSON, errors in their one shape.

Not here: batches (shapes.py), result lines (lines.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

if TYPE_CHECKING:
    from dfbatch.emulator.errors import ApiError


class Json(Response):
    """A JSON body."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """To compact UTF-8."""
        return msgspec.json.encode(content)


def failure(error: ApiError, request_id: str) -> Json:
    """The reply that an ApiError is."""
    return Json(error.body(request_id), status_code=error.status, headers=error.headers)
