"""The border to httpx: its errors and the server's refusals become ours here, and nowhere else."""

from __future__ import annotations

import contextlib
import email.utils
import html
import math
import re
from typing import TYPE_CHECKING

import httpx
import msgspec

from dfbatch.errors import (
    Ambiguous,
    ApiError,
    NotFound,
    NotTheApi,
    Overloaded,
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
_READ = 20_000  # characters of a page that are searched for its title
_LONGEST = 86_400.0  # seconds that are waited because a server asks for it


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
            ) from None  # the text says all that httpx knows, in three lines instead of ninety
        if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
            raise ApiError(
                f"this request cannot be made: {what}",
                "nothing was accepted",
                hint="check base_url (it begins with https://) and betas",
            ) from None
        raise Unreachable(
            f"cannot reach the API: {what}",
            "nothing was accepted",
            hint="check the network, ANTHROPIC_BASE_URL and proxy settings, then go on",
        ) from None
    except httpx.InvalidURL as error:
        raise Unreachable(f"not a usable address: {url!r}: {error}", hint="check ANTHROPIC_BASE_URL") from error


def certain(status: int | None) -> bool:
    """Whether a reply with this status to a create says that nothing was accepted."""
    return status is not None and 300 <= status < 500 and status not in AMBIGUOUS_STATUS


def check(response: httpx.Response, *, creating: bool = False, asking: bool = False) -> None:
    """Raise for everything but a 2xx that looks like the API; the body must have been read.

    `creating` a batch, some statuses leave in doubt whether it was made. `asking` for a message, every status is an
    answer: there will be no other.
    """
    if response.is_success:
        return
    status = response.status_code
    kind, message, code = said(response)
    what = f"the API said {status}" + (f" {kind}" if kind else "") + f": {message}"
    about: dict[str, object] = {
        "status": status,
        "kind": kind,
        "request_id": response.headers.get("request-id"),
        "retry_after": _seconds(response.headers),
        "code": code,
    }
    if creating and not certain(status):
        raise (Overloaded if overloaded(response) else Ambiguous)(
            what,
            "the server may have accepted the batch all the same",
            hint="it is not sent again by itself: that could be paid twice",
            **about,  # type: ignore[arg-type]
        )
    if 300 <= status < 400:
        raise NotTheApi(
            f"{response.url} redirects to {response.headers.get('location', 'nowhere')[:_SHOWN]}",
            "redirects are not followed: the key would go along",
            hint="set base_url to the final address",
            **about,  # type: ignore[arg-type]
        )
    if not kind and status == 404:
        raise not_the_api(response, **about)
    cls, hint = _CLASSES.get(status, (ApiError, _PASSING if status >= 500 else _ASKED if asking else _REFUSED))
    if asking or (creating and status == 404):
        hint = _ASKING.get(status, hint)
    if code in SPEND_LIMITS:
        hint = "raise the spend limit in the Claude Console: waiting does not help before it is renewed"
    raise cls(what, hint=hint, **about)  # type: ignore[arg-type]


SPEND_LIMITS = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})  # 429s that do not pass
_PASSING = "this may pass: try again in a while"
_REFUSED = "the API refuses the batch as a whole: check params=, betas= and the address"
_CLASSES: dict[int, tuple[type[ApiError], str]] = {
    401: (Unauthorized, "check ANTHROPIC_API_KEY: it is missing, mistyped or revoked"),
    402: (ApiError, "check the credit balance in the Claude Console"),
    403: (Unauthorized, "this key may not do that: check its workspace and permissions"),
    404: (NotFound, "another key's batch, or one that was deleted"),
    413: (TooLarge, "use a smaller chunk_size="),
    429: (RateLimited, "too many calls or requests in the queue: wait, then go on"),
}
_ASKED = "the API refuses this request: check params=, betas= and the schema"
_ASKING = {
    404: "check model= and the address",
    413: "this request is too large to be asked at once: its prompt is longer than 32 MB",
    429: "too many calls or tokens a minute: wait, then go on",
}


def not_the_api(response: httpx.Response, **about: object) -> NotTheApi:
    """An answer that is not the Message Batches API's."""
    kind = response.headers.get("content-type", "no content type")[:80]
    about = {"status": response.status_code, "request_id": response.headers.get("request-id"), **about}
    return NotTheApi(
        f"{response.url} answered {response.status_code} with {kind}, which is not the Message Batches API",
        f"it says: {_text(response)[:80]!r}",
        hint="check ANTHROPIC_BASE_URL; some proxies lack the batch route",
        **about,  # type: ignore[arg-type]
    )


def said(response: httpx.Response) -> tuple[str, str, str | None]:
    """Type, message and code of an error body; liberal: Cloudflare's has no outer type, a proxy's is HTML."""
    with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
        body = msgspec.json.decode(response.content)
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            error = body["error"]
            details = error.get("details")
            code = str(details["error_code"]) if isinstance(details, dict) and details.get("error_code") else None
            return str(error.get("type", ""))[:_SHOWN], str(error.get("message", ""))[:_SHOWN], code
    return "", _text(response)[:_SHOWN] or response.reason_phrase, None


def overloaded(response: httpx.Response) -> bool:
    """Whether the API itself says that it is overloaded: its own body, and its id of the request.

    What a proxy or a load balancer makes up has one of them at most.
    """
    if response.status_code != 529 or not response.headers.get("request-id"):
        return False
    with contextlib.suppress(msgspec.MsgspecError, ValueError, RecursionError):
        body = msgspec.json.decode(response.content)
        typed = isinstance(body, dict) and body.get("type") == "error" and isinstance(body.get("error"), dict)
        return typed and body["error"].get("type") == "overloaded_error"
    return False


def _text(response: httpx.Response) -> str:
    """What a page says, in one line without its tags: its title, where it has one."""
    text = response.content[:_READ].decode(errors="replace")  # a named charset could be any codec of Python
    if "html" in response.headers.get("content-type", "") or text.lstrip()[:1] == "<":
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
        text = html.unescape(title[1] if title else re.sub(r"<[^>]*>", " ", text))
    return " ".join(text.split())


def _seconds(headers: httpx.Headers) -> float | None:
    """What `retry-after` asks for, as seconds or as a date by the server's own clock, within a day."""
    told = headers.get("retry-after", "")
    seconds = math.nan
    with contextlib.suppress(ValueError, TypeError):
        seconds = float(told)
    if math.isnan(seconds):
        with contextlib.suppress(ValueError, TypeError):
            until, now = (email.utils.parsedate_to_datetime(text) for text in (told, headers.get("date", "")))
            seconds = (until - now).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST)
