"""Where a backend asks and what it shows there: addresses checked, credentials hidden. What is asked is not here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from dfbatch.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

Auth = Literal["x-api-key", "bearer"]
API: Final = "https://api.anthropic.com"


class Secret:
    """Headers that nobody gets to see: not in a repr, not among the local variables of a traceback."""

    __slots__ = ("headers",)

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers

    def __repr__(self) -> str:
        return "<hidden>"

    @property
    def proves(self) -> bool:
        """Whether there is a credential among them."""
        return bool(self.headers.keys() & {"x-api-key", "authorization"})


def credential(key: str, token: str, auth: Auth) -> dict[str, str]:
    """The header for a key or a token; a value that no key has is refused, unseen."""
    name = "api_key" if key else "auth_token"
    value = (key or token).strip()  # pasted keys bring line ends along
    if not _plain(value) or " " in value:
        raise OptionError(
            f"{name} holds a character that no key has: a space, a line break or a typographic sign",
            "nothing was sent",
            hint=f"copy the key again, whole and alone (ANTHROPIC_{name.upper()})",
        )
    if value and key and auth == "x-api-key":
        return {"x-api-key": value}
    return {"authorization": f"Bearer {value}"} if value else {}


def sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """Names in small letters, so that each is sent once; a value that HTTP cannot carry is refused, unseen."""
    for name, value in headers.items():
        if not _plain(str(value)):
            raise OptionError(
                f"the value of the header {name!r} is no plain text in one line",
                "nothing was sent",
                hint="headers={name: value} takes ASCII texts",
            )
    return {name.lower(): str(value) for name, value in headers.items()}


def address(url: str) -> str:
    """The base URL without its last slash; one that cannot be asked, or that holds a password, is refused."""
    url = url.strip()
    if "@" in url:
        raise OptionError(
            "base_url holds a user name or a password",
            "addresses are kept in the ledger and shown in messages, secrets are not",
            hint='give them as headers={"authorization": …}',
        )
    if not _usable(url):
        raise OptionError(
            f"not a usable address: base_url={url!r}",
            "nothing was sent",
            hint=f"check ANTHROPIC_BASE_URL; an address looks like {API} or https://gateway.example/anthropic",
        )
    return url.rstrip("/")


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # brackets, a port that is no number
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not parts.query + parts.fragment


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
