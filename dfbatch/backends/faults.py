"""The border to httpx: its errors and the server's refusals become ours here, and nowhere else."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import httpx
import msgspec

from dfbatch.errors import (
    Ambiguous,
    ApiError,
    NotFound,
    NotTheApi,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# After these the server may have accepted what was sent all the same (a proxy's time-out, a conflict with our own
# first try); every other 4xx and every 3xx is certain: nothing was accepted.
AMBIGUOUS_STATUS = frozenset({408, 409, 499})
_SHOWN = 300  # characters of a server's text that a message repeats


@contextlib.contextmanager
def translated(url: str, *, all_sent: Callable[[], bool] | None = None) -> Iterator[None]:
    """Turn what httpx raises into ours; `all_sent` tells whether the last byte of a create was handed over.

    Bytes decide, not the class: a reset in mid-body and one after it are both a ReadError.
    """
    try:
        yield
    except httpx.HTTPError as error:
        what = f"{type(error).__name__} at {url}" + (f": {error}" if str(error) else "")
        if all_sent is not None and all_sent():
            raise Ambiguous(
                f"the request was sent, but no answer came: {what}",
                "the server may have accepted it",
                hint="it is not sent again by itself: that could be paid twice",
            ) from error
        raise Unreachable(
            f"cannot reach the API: {what}",
            "nothing was accepted",
            hint="check the network, ANTHROPIC_BASE_URL and proxy settings; run.resume() goes on",
        ) from error
    except httpx.InvalidURL as error:
        raise Unreachable(f"not a usable address: {url!r}: {error}", hint="check ANTHROPIC_BASE_URL") from error


def check(response: httpx.Response, *, creating: bool = False) -> None:
    """Raise for everything but a 2xx that looks like the API; the body must have been read."""
    if response.is_success:
        return
    status = response.status_code
    kind, message, code = _read(response)
    what = f"the API said {status}" + (f" {kind}" if kind else "") + f": {message}"
    about: dict[str, object] = {
        "status": status,
        "kind": kind,
        "request_id": response.headers.get("request-id"),
        "retry_after": _seconds(response.headers.get("retry-after")),
        "code": code,
    }
    if creating and (status in AMBIGUOUS_STATUS or status >= 500):
        raise Ambiguous(what, "the server may have accepted the batch all the same", **about)  # type: ignore[arg-type]
    if 300 <= status < 400:
        raise NotTheApi(
            f"{response.url} redirects to {response.headers.get('location', 'nowhere')}",
            "redirects are not followed: the key would go along",
            hint="set base_url to the final address",
            **about,  # type: ignore[arg-type]
        )
    cls, hint = _CLASSES.get(status, (ApiError, ""))
    if not kind and status == 404:
        cls, hint = NotTheApi, "is this the address of the Messages API? check ANTHROPIC_BASE_URL"
    raise cls(what, hint=hint, **about)  # type: ignore[arg-type]


_CLASSES: dict[int, tuple[type[ApiError], str]] = {
    401: (Unauthorized, "check ANTHROPIC_API_KEY: it is missing, mistyped or revoked"),
    403: (Unauthorized, "this key may not do that: check its workspace and permissions"),
    404: (NotFound, "another key's batch, or one that was deleted"),
    413: (TooLarge, "use a smaller chunk_size="),
    429: (RateLimited, "wait, then run.resume()"),
}


def not_the_api(response: httpx.Response) -> NotTheApi:
    """A 2xx that is not the Message Batches API."""
    kind = response.headers.get("content-type", "no content type")
    return NotTheApi(
        f"{response.url} answered {response.status_code} with {kind}, which is not the Message Batches API",
        f"it begins: {' '.join(response.text.split())[:80]!r}",
        hint="check ANTHROPIC_BASE_URL; some proxies lack the batch route",
    )


def _read(response: httpx.Response) -> tuple[str, str, str | None]:
    """Type, message and code of an error body; liberal: Cloudflare's has no outer type, a proxy's is HTML."""
    with contextlib.suppress(msgspec.MsgspecError, ValueError):
        body = msgspec.json.decode(response.content)
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            error = body["error"]
            details = error.get("details")
            code = details.get("error_code") if isinstance(details, dict) else None
            return str(error.get("type", "")), str(error.get("message", ""))[:_SHOWN], code
    return "", " ".join(response.text.split())[:_SHOWN] or response.reason_phrase, None


def _seconds(text: str | None) -> float | None:
    with contextlib.suppress(TypeError, ValueError):
        return float(text)  # type: ignore[arg-type]
    return None
