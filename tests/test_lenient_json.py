"""Damaged JSON: the same value where there is one, and objects found among whatever else is there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.lenient_json import mended, spans

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**19) + 1, 10**19 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
JUNK = st.text("{}[]<>!'\\,: \ufeff\0\r\n\u2028é", max_size=12)  # no quote, which could pair with one of an object's
OPENING = re.compile(rb'\{"n":')


@given(JSON)
def test_what_is_clean_keeps_its_value(value: Any) -> None:
    scrubbed = json.loads(json.dumps(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))

    assert json.loads(mended(json.dumps(scrubbed).encode())) == scrubbed


@pytest.mark.parametrize("text", [b"", b"{", b'{"a": ', b"\xef\xbb\xbf{}", b"[" * 100_000])
def test_what_is_no_json_even_so_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|BOM|nested"):
        mended(text)


@given(st.lists(st.tuples(JUNK, JSON), max_size=5), JUNK)
def test_every_object_is_found_among_whatever_else_is_there(pieces: list[tuple[str, Any]], last: str) -> None:
    objects = [{"n": value} for _, value in pieces]
    whole = [json.dumps(each, separators=(",", ":")) for each in objects]
    text = "".join(junk + each for (junk, _), each in zip(pieces, whole, strict=True)) + last

    assert [json.loads(text.encode()[a:b]) for a, b in spans(text.encode(), OPENING)] == objects


@given(st.binary(max_size=60))
def test_no_bytes_make_looking_fail(text: bytes) -> None:
    for start, end in spans(text, OPENING):
        assert 0 <= start < end <= len(text)
