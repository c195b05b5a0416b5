"""Ids that look like the API's: a prefix, `01`, and 22 letters and digits.

Not here: workspace ids (keys.py), which follow from the key.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from hashlib import sha256

_LENGTH = 22
# base 64 with its four unwelcome letters and two signs written as others: fast, and it looks the same
_LOOK = bytes.maketrans(b"+/0OIl", b"123456")


def batch_id() -> str:
    """A new `msgbatch_01…`."""
    return f"msgbatch_01{_spell(secrets.token_bytes(18))}"


def request_id() -> str:
    """A new `req_011…`."""
    return f"req_011{_spell(secrets.token_bytes(18))}"


def message_id(seed: bytes) -> str:
    """The same for the same seed, so that a batch answered again after a kill gives the same lines."""
    return f"msg_01{_spell(sha256(b'message' + seed).digest())}"


def named(prefix: str, seed: bytes) -> str:
    """An id that follows from `seed`: `toolu_…`, `org…`."""
    return f"{prefix}_01{_spell(sha256(prefix.encode() + seed).digest())}"


def _spell(seed: bytes) -> str:
    return b64encode(seed).translate(_LOOK)[:_LENGTH].decode()
