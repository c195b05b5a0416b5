"""How often the prompt cache is hit is assumed until answers tell, and the range holds in nine of ten cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.caching import HITS
from dfbatch.hits import Hits
from dfbatch.models import Models
from dfbatch.results import FOUND

HAIKU: Any = Models().find("claude-haiku-4-5")


def test_where_nothing_is_known_the_range_is_that_of_the_documentation() -> None:
    share = Hits().share(1_000_000)

    assert share.likely == pytest.approx(HITS)
    assert 0.25 < share.low < 0.35
    assert share.high > 0.98
    assert share.how == "assumed"


@given(st.integers(1, 500), st.floats(0, 1), st.integers(1, 10_000))
def test_a_share_is_a_share(seen: int, part: float, count: int) -> None:
    share = Hits(seen, part * seen).share(count)

    assert 0 <= share.low <= share.likely <= share.high <= 1


def test_what_was_seen_counts_and_other_hours_are_not_alike() -> None:
    widths = [share.high - share.low for share in (Hits(seen, 0.9 * seen).share(10**6) for seen in (0, 5, 40))]

    assert widths == sorted(widths, reverse=True)
    assert Hits(40, 36.0).share(100).likely == pytest.approx(0.9, abs=0.01)
    assert Hits(40_000, 36_000.0).share(100).low == pytest.approx(Hits(40, 36.0).share(100).low)


@pytest.mark.parametrize("true", [0.3, 0.6, 0.9, 0.98])
def test_the_range_holds_what_comes_nine_times_of_ten(true: float) -> None:
    chance, held = np.random.default_rng(3), 0
    for _ in range(1_000):
        share = Hits(40, float(chance.binomial(40, true))).share(200)
        held += share.low <= chance.binomial(200, true) / 200 <= share.high

    assert held >= 870


def test_hits_are_counted_by_tokens_among_requests_that_had_a_prefix() -> None:
    found = np.zeros(5, FOUND)
    found["read"] = [5_000, 5_000, 0, 0, 5_000]
    found["written"] = [0, 0, 5_000, 0, 0]

    seen = Hits.among(found)

    assert (seen.seen, round(seen.read, 9), round(seen.prefix, 9)) == (4, 3, 5_000)
    assert Hits.among(found[3:4]) == Hits()


@pytest.mark.parametrize(("lifetime", "write"), [("5m", 1.25), ("1h", 2.0)])
def test_a_token_of_the_prefix_costs_between_reading_and_writing_it(lifetime: str, write: float) -> None:
    price = Hits().price(HAIKU, lifetime, 100)

    assert price.likely == pytest.approx(0.8 * 0.1 + 0.2 * write)
    assert 0.1 <= price.low < price.likely < price.high <= write
    assert price.how == "80% of requests read the cache: assumed"
