"""Plan: equal rows are one request, digests are found again, and a forecast says that it is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.distinct import distinct, locate, occurrences
from dfbatch.forecasts import Forecast, forecast
from dfbatch.models import Models
from dfbatch.pricing import Tokens, cost
from dfbatch.requests import DIGEST

if TYPE_CHECKING:
    from collections.abc import Sequence

HAIKU = Models().find("claude-haiku-4-5")
# few values, zero bytes at either end, and halves that are equal where digests differ
HALF = st.sampled_from([bytes(8), b"\x00" * 7 + b"\x01", b"\xff" * 8, b"abcdefgh"])
ONE = st.builds(lambda left, right: left + right, HALF, HALF)
ROWS = st.lists(st.tuples(ONE, st.booleans()), max_size=40)


def array(digests: Sequence[bytes]) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join(digests), DIGEST)


def columns(rows: list[tuple[bytes, bool]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    return array([digest for digest, _ in rows]), np.array([asks for _, asks in rows], np.bool_)


def raw(digests: np.ndarray[Any, Any]) -> list[bytes]:
    """All sixteen bytes of each: numpy drops zeros at the end."""
    whole = np.ascontiguousarray(digests).tobytes()
    return [whole[at : at + 16] for at in range(0, len(whole), 16)]


@given(ROWS)
def test_distinct_asks_each_digest_once_at_its_first_row(rows: list[tuple[bytes, bool]]) -> None:
    firsts: dict[bytes, int] = {}
    for at, (digest, asks) in enumerate(rows):
        if asks:
            firsts.setdefault(digest, at)
    order = {digest: number for number, digest in enumerate(firsts)}
    made = distinct(*columns(rows))

    assert raw(made.requests["digest"]) == list(firsts)
    assert made.requests["position"].tolist() == list(firsts.values())
    assert made.row_request.tolist() == [order[digest] if asks else -1 for digest, asks in rows]


@given(ROWS)
def test_occurrences_count_the_rows_before_that_ask_the_same(rows: list[tuple[bytes, bool]]) -> None:
    expected = [
        sum(before == digest and asked for before, asked in rows[:at]) if asks else 0
        for at, (digest, asks) in enumerate(rows)
    ]

    assert occurrences(*columns(rows)).tolist() == expected


@given(st.lists(ONE, max_size=30), st.lists(ONE, max_size=30))
def test_locate_finds_the_first_place_or_says_that_there_is_none(wanted: list[bytes], among: list[bytes]) -> None:
    expected = [among.index(one) if one in among else -1 for one in wanted]

    assert locate(array(wanted), array(among)).tolist() == expected


@given(st.lists(ONE, unique=True, max_size=16), st.lists(ONE, max_size=30))
def test_locate_and_distinct_agree(known: list[bytes], rows: list[bytes]) -> None:
    made = distinct(array(rows), np.ones(len(rows), np.bool_))

    assert locate(array(rows), made.requests["digest"]).tolist() == made.row_request.tolist()
    assert locate(array(known), array(known)).tolist() == list(range(len(known)))


@given(st.integers(100, 10**9), st.integers(1, 10**6), st.integers(1, 10**5))
def test_a_forecast_is_a_range_that_grows_with_what_is_sent(size: int, requests: int, max_tokens: int) -> None:
    small = forecast(HAIKU, size, requests, max_tokens)
    large = forecast(HAIKU, size + 1_000, requests + 1, max_tokens)

    assert small.low is not None
    assert small.high is not None
    assert large.low is not None
    assert 0 < small.low < small.high
    assert small.low < large.low


def test_the_most_that_a_forecast_names_is_every_answer_at_its_limit() -> None:
    made = forecast(HAIKU, 2_500_000, 1_000, 100)

    assert made.high == cost(HAIKU, Tokens(input=1_000_000, output=100_000))


def test_a_forecast_says_that_it_is_one() -> None:
    assert str(forecast(HAIKU, 2_500_000, 1_000, 100)) == "at most $0.75 (how long answers will be is not known yet)"
    told = Forecast(0.25, 0.75, as_if=True, how="by 40 earlier answers")
    assert str(told) == "$0.25 to $0.75 as-if (in nine of ten cases, by 40 earlier answers)"


def test_a_model_without_a_price_has_no_forecast_and_not_a_free_one() -> None:
    made = forecast(None, 2_500_000, 1_000, 100)

    assert (made.low, made.high) == (None, None)
    assert str(made) == "cost unknown: no price for this model"
