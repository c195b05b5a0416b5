"""The API's errors: one exception that knows its status, its type and its body.

Not here: which input deserves which error (rules.py, envelope.py, life.py), nor errors made on purpose (faults/).
"""

from __future__ import annotations

from typing import Any

# status -> error.type; any 4xx not listed is an invalid_request_error (reference §1.8)
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
STATUSES = {kind: status for status, kind in KINDS.items()}


class ApiError(Exception):
    """An answer of the API that is an error: an HTTP status for a call, an `errored` line for a batched request."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str | None = None,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind or KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
        self.details = details
        self.headers = headers or {}

    def body(self, request_id: str | None) -> dict[str, Any]:
        """The ErrorResponse: what travels as an HTTP body and, whole, inside an errored line."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"type": "error", "error": error, "request_id": request_id}


def invalid(message: str, *, details: dict[str, Any] | None = None) -> ApiError:
    """A 400."""
    return ApiError(message, details=details)


def not_found(message: str) -> ApiError:
    """A 404."""
    return ApiError(message, status=404)
