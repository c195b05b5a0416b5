"""Chunks: every request travels once, in order, within the limits."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.chunks import FIRST_CUT, MAX_BYTES, MAX_REQUESTS, cut

SIZES = st.lists(st.integers(1, 100), max_size=120)


@given(SIZES, st.one_of(st.just("auto"), st.integers(1, 50)), st.integers(1, 400), st.integers(1, 60))
def test_cuts_cover_every_request_once_in_order_and_within_the_limits(
    sizes: list[int], chunk_size: int | Literal["auto"], max_bytes: int, max_requests: int
) -> None:
    cuts = cut(np.array(sizes, np.int64), chunk_size=chunk_size, max_bytes=max_bytes, max_requests=max_requests)

    assert [at for one in cuts for at in range(one.start, one.stop)] == list(range(len(sizes)))
    assert [one.size for one in cuts] == [sum(sizes[one.start : one.stop]) for one in cuts]
    assert all(1 <= len(one) <= max_requests for one in cuts)
    assert all(one.size <= max_bytes or len(one) == 1 for one in cuts)
    assert chunk_size == "auto" or all(len(one) <= chunk_size for one in cuts)


@given(SIZES, st.integers(1, 400))
def test_bytes_alone_cut_as_late_as_they_can(sizes: list[int], max_bytes: int) -> None:
    cuts = cut(np.array(sizes, np.int64), max_bytes=max_bytes)

    assert all(one.size + sizes[one.stop] > max_bytes for one in cuts[:-1])


@given(st.integers(4, 60), st.integers(1, 500))
def test_neighbours_differ_in_number_so_that_a_lost_batch_can_be_told_apart(chunk_size: int, count: int) -> None:
    lengths = [len(one) for one in cut(np.ones(count, np.int64), chunk_size=chunk_size)][:-1]

    assert all(one != after for one, after in pairwise(lengths))
    assert all(chunk_size / 2 < length <= chunk_size for length in lengths)


def test_no_requests_make_no_chunk() -> None:
    assert cut(np.empty(0, np.int64)) == []


@pytest.mark.parametrize(("count", "chunks"), [(1, 1), (FIRST_CUT, 1), (2_225, 1), (100_000, 11), (1_000_000, 11)])
def test_a_small_run_is_one_chunk_and_a_large_one_about_ten(count: int, chunks: int) -> None:
    assert len(cut(np.full(count, 200))) == chunks


def test_the_limits_of_the_api_hold_for_ten_million_requests() -> None:
    cuts = cut(np.full(10_000_000, 2_600))

    assert max(len(one) for one in cuts) <= MAX_REQUESTS == 100_000
    assert max(one.size for one in cuts) <= MAX_BYTES < 256_000_000


def test_one_request_that_is_too_large_goes_alone() -> None:
    assert [(one.start, one.stop) for one in cut(np.array([1, MAX_BYTES + 1, 1]))] == [(0, 1), (1, 2), (2, 3)]


def test_sizes_of_small_integers_do_not_overflow() -> None:
    [only] = cut(np.full(1_000, 30_000, np.int16))

    assert only.size == 30_000_000
