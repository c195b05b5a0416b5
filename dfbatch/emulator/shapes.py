"""Batches, pages and models as JSON, every field present.

Not here: result lines (lines.py), messages (answers.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dfbatch.emulator.clock import rfc3339

if TYPE_CHECKING:
    from dfbatch.emulator.models import Model, Retired
    from dfbatch.emulator.store import Batch

_UNKNOWN_DATE = "1970-01-01T00:00:00Z"


def batch(it: Batch, *, archived_at: int | None, origin: str) -> dict[str, Any]:
    """A MessageBatch. Counts stay in `processing` until it has ended; the results are on our own host."""
    ended = it.ended_at is not None
    status = "ended" if ended else "canceling" if it.cancel_at is not None else "in_progress"
    available = ended and archived_at is None
    return {
        "id": it.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0 if ended else it.total,
            "succeeded": it.succeeded,
            "errored": it.errored,
            "canceled": it.canceled,
            "expired": it.expired,
        },
        "created_at": rfc3339(it.created_at),
        "expires_at": rfc3339(it.expires_at),
        "ended_at": rfc3339(it.ended_at),
        "archived_at": rfc3339(archived_at),
        "cancel_initiated_at": rfc3339(it.cancel_at),
        "results_url": f"{origin}/v1/messages/batches/{it.id}/results" if available else None,
    }


def page(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A list page."""
    return {
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def model(it: Model, today: str) -> dict[str, Any]:
    """A ModelInfo."""
    return {
        "type": "model",
        "id": it.id,
        "display_name": it.name,
        "created_at": f"{it.created}T00:00:00Z" if it.created else _UNKNOWN_DATE,
        "lifecycle": "retired" if it.is_retired(today) else "deprecated" if it.retires else "active",
        "deprecated_at": _UNKNOWN_DATE if it.retires else None,
        "retires_at": f"{it.retires}T00:00:00Z" if it.retires else None,
        "line": it.line,
        "max_input_tokens": it.context,
        "max_tokens": it.output,
        "capabilities": _capabilities(it),
    }


def retired(it: Retired) -> dict[str, Any]:
    """A ModelInfo of a model that answers no more."""
    return {
        "type": "model",
        "id": it.id,
        "display_name": it.name,
        "created_at": _UNKNOWN_DATE,
        "lifecycle": "retired",
        "deprecated_at": _UNKNOWN_DATE,
        "retires_at": _UNKNOWN_DATE,
        "line": it.line,
        "max_input_tokens": None,
        "max_tokens": None,
        "capabilities": None,
    }


def _capabilities(it: Model) -> dict[str, Any]:
    yes = {"supported": True}
    efforts = {level: {"supported": level in it.efforts} for level in ("low", "medium", "high", "xhigh", "max")}
    kinds = ("adaptive", "enabled", "disabled", "between_tools")
    return {
        **dict.fromkeys(
            ("batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs"), yes
        ),
        "effort": {"supported": bool(it.efforts), **efforts},
        "thinking": {"supported": True, "types": {kind: {"supported": kind in it.thinking} for kind in kinds}},
        "context_management": {
            "supported": True,
            "clear_tool_uses_20250919": yes,
            "clear_thinking_20251015": yes,
            "compact_20260112": yes,
        },
        "server_tools": {"supported": True, "web_search": yes, "code_execution": yes},
    }
