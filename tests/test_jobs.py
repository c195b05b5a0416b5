"""A job costs what the price list says of its requests; what the prompt cache makes of it is told with its doubt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfbatch.forecasts import Range
from dfbatch.hits import Hits
from dfbatch.jobs import Job, Prefix
from dfbatch.models import Models
from dfbatch.pricing import Tokens, cost

HAIKU: Any = Models().find("claude-haiku-4-5")
LONG: Any = Models().find("claude-haiku-5-5")
SURE = Range(1, 1, 1)


def job(count: int = 10, tokens: float = 6_000, model: Any = HAIKU, **changes: Any) -> Job:
    none = np.zeros(count, bool)
    return replace(Job(model, np.full(count, tokens), 50.0, none, none), **changes)


def cached(share: float, tokens: float = 5_000, lifetime: str = "1h", **changes: Any) -> Prefix:
    price = (share * 0.1 + (1 - share) * (2.0 if lifetime == "1h" else 1.25)) * HAIKU.price.input
    return Prefix(np.array([tokens]), lifetime, Range(price, price, price), **changes)


@pytest.mark.parametrize("model", [HAIKU, LONG], ids=["haiku 4.5", "haiku 5.5"])
@pytest.mark.parametrize("tokens", [10, 100_000, 100_001])
def test_dollars_of_a_request_are_those_of_the_price_list(model: Any, tokens: int) -> None:
    made = job(2, tokens, model)
    here, abroad = (replace(made, us=us).likely(np.array([1.0, 3.0])) for us in (False, True))

    assert here == pytest.approx(4 * (cost(model, Tokens(tokens, 50), batch=False) or 0))
    assert abroad == pytest.approx(model.geo * here)
    assert made.dollars(SURE, SURE).likely == pytest.approx(2 * (cost(model, Tokens(tokens, 50)) or 0))


@pytest.mark.parametrize("lifetime", ["5m", "1h"])
def test_a_prefix_costs_what_reading_and_writing_it_costs(lifetime: str) -> None:
    """Of ten requests one goes ahead and writes, one is direct and not marked, six read, two write again."""
    first, second = np.arange(10) == 0, np.arange(10) == 1
    found = job(warm=first, direct=second, prefix=cached(0.75, lifetime=lifetime)).dollars(SURE, SURE)
    write = {f"cache_write_{lifetime}": 3 * 5_000}
    paid = cost(HAIKU, Tokens(9 * 1_000, 9 * 50, cache_read=6 * 5_000, **write))
    plain = cost(HAIKU, Tokens(6_000, 50), batch=False)

    assert found.likely == pytest.approx((paid or 0) + (plain or 0))


def test_without_the_cache_every_token_is_plain_input() -> None:
    made = job(prefix=cached(0.9))

    assert made.likely(made.shares, cached=False) == pytest.approx(job().dollars(SURE, SURE).likely)
    assert made.dollars(SURE, SURE).likely < 0.5 * job().dollars(SURE, SURE).likely


def test_a_prefix_is_never_more_than_the_prompt() -> None:
    assert job(prefix=cached(1.0, tokens=9_000)).dollars(SURE, SURE).likely == pytest.approx(
        cost(HAIKU, Tokens(0, 500, cache_read=60_000))
    )


def test_doubt_about_hits_and_about_the_length_of_the_prefix_is_in_the_range() -> None:
    unknown = Prefix(np.array([5_000.0]), "1h", Hits().price(HAIKU, "1h", 10))
    known = Prefix(np.array([5_000.0]), "1h", Hits(40, 36.0).price(HAIKU, "1h", 10))
    vague = cached(0.9, doubt=0.2)
    widths = []
    for prefix in (cached(0.9), vague, known, unknown):
        found = job(prefix=prefix).dollars(SURE, SURE)
        widths.append(found.high - found.low)

    assert widths[0] == pytest.approx(0)
    assert widths == sorted(widths)
