from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfbatch.emulator.clock import DAY
from dfbatch.emulator.schedule import Law, answering_order, timetable

if TYPE_CHECKING:
    from collections.abc import Callable

    from .api import Api


@pytest.mark.parametrize(
    "text", ["", "sometimes", "fixed", "fixed:a", "uniform:1", "lognormal:1:2:3", "fixed:-1", "fixed:nan", "1e99"]
)
def test_what_is_no_law_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a law: .* Hint: 0, fixed:30, uniform:10:60 or lognormal:120:0.6"):
        Law.parse(text)


def test_a_number_is_a_fixed_law_and_zero_is_instant() -> None:
    assert Law.parse(5).at(0.3) == 5
    assert Law.parse("0").instant
    assert not Law.parse("fixed:1").instant


@pytest.mark.parametrize("text", ["fixed:30", "uniform:10:60", "lognormal:120:0.6"])
def test_draws_and_shares_tell_of_the_same_law(text: str) -> None:
    law = Law.parse(text)
    drawn = np.sort(law.draw(np.random.default_rng(1), 20_000))

    for share in (0.1, 0.5, 0.9):
        assert law.at(share) == pytest.approx(drawn[int(share * len(drawn))], rel=0.05)


@settings(max_examples=50, deadline=None)
@given(total=st.integers(1, 300), lanes=st.integers(1, 40), seed=st.integers(0, 99))
def test_never_do_more_requests_run_than_there_are_lanes(total: int, lanes: int, seed: int) -> None:
    table = timetable(Law.parse("uniform:1:9"), total, lanes=lanes, speed=1, seed=(seed,))
    running = [int(((table.starts <= moment) & (table.finishes > moment)).sum()) for moment in table.starts.tolist()]

    assert max(running) <= lanes
    assert (np.diff(table.starts) >= 0).all()
    assert running[-1] == min(lanes, total) or total > lanes or running[-1] <= lanes


def test_speed_divides_durations() -> None:
    slow, fast = (timetable(Law.parse("fixed:10"), 30, lanes=3, speed=speed, seed=(1,)) for speed in (1, 1000))

    assert slow.last == 100_000_000
    assert fast.last == 100_000


@pytest.mark.parametrize("options", [{"speed": math.nan}, {"speed": math.inf}, {"lanes": 0}, {"cache_hit": 1.5}])
def test_figures_that_make_no_sense_are_refused(serve: Callable[..., Api], options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="speed must be a number above 0, lanes at least 1, cache_hit between 0 and 1"):
        serve(**options)


@pytest.mark.parametrize("text", ["fixed:1e11", "lognormal:1e11:9", "uniform:1:1e11"])
def test_the_longest_durations_do_not_turn_into_short_ones(text: str) -> None:
    table = timetable(Law.parse(text), 3_000, lanes=2, speed=0.001, seed=(1,))

    assert table.finishes[0] > DAY
    assert (table.finishes >= table.starts).all()
    assert (np.diff(table.starts) >= 0).all()


@settings(max_examples=50, deadline=None)
@given(total=st.integers(1, 300), seed=st.integers(0, 10**9))
def test_the_answering_order_is_a_permutation_and_never_the_bodys(total: int, seed: int) -> None:
    order = answering_order(total, seed=(seed, 1)).tolist()

    assert sorted(order) == list(range(total))
    assert total == 1 or order != list(range(total))
