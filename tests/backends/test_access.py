"""Where a backend asks and what it shows there: credentials are told apart, and not shown."""

from __future__ import annotations

import hashlib

from dfbatch.backends.anthropic import Anthropic


def test_the_mark_tells_keys_apart_and_not_how_they_are_sent() -> None:
    key, other = Anthropic(api_key="sk-1"), Anthropic(api_key="sk-2")
    same = [
        Anthropic(api_key="sk-1", auth="bearer", base_url="http://127.0.0.1:1"),
        Anthropic(auth_token="sk-1"),
        Anthropic(headers={"X-Api-Key": "sk-1"}),
    ]

    assert key.mark == hashlib.blake2b(b"sk-1", digest_size=2).hexdigest()
    assert len(key.mark) == 4
    assert {backend.mark for backend in same} == {key.mark}
    assert other.mark != key.mark
    assert Anthropic().mark == ""


def test_the_mark_is_in_no_repr_and_no_recipe() -> None:
    backend = Anthropic(api_key="sk-1")

    assert backend.mark not in f"{backend!r} {backend.recipe} {backend._secret!r} {backend.who}"
