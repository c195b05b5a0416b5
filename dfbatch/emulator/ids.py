"""Ids that look like the API's: a prefix, `01`, and 22 letters and digits of base 58.

Not here: workspace ids (keys.py), which follow from the key.
"""

from __future__ import annotations

import secrets
from hashlib import sha256

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_LENGTH = 22


def batch_id() -> str:
    return f"msgbatch_01{_spell(secrets.randbits(192))}"


def request_id() -> str:
    return f"req_011{_spell(secrets.randbits(192))}"


def message_id(seed: bytes) -> str:
    """The same for the same seed, so that a batch answered again after a kill gives the same lines."""
    return f"msg_01{_spell(int.from_bytes(sha256(b'message' + seed).digest()[:24]))}"


def named(prefix: str, seed: bytes) -> str:
    """An id that follows from `seed`: `toolu_…`, `org…`."""
    return f"{prefix}_01{_spell(int.from_bytes(sha256(prefix.encode() + seed).digest()[:24]))}"


def _spell(number: int) -> str:
    letters = []
    for _ in range(_LENGTH // 2):
        number, pair = divmod(number, len(_PAIRS))
        letters.append(_PAIRS[pair])
    return "".join(letters)
