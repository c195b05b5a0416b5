from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from dfbatch.progress.pace import Pace

STEPS = st.lists(st.integers(min_value=0, max_value=5000), max_size=200)


@given(steps=STEPS)
def test_a_gate_opens_at_most_once_a_second_and_never_stays_shut_longer(steps: list[int]) -> None:
    times = list(accumulate(steps))
    ticks = iter(times)
    pace = Pace(every=1000, clock=lambda: next(ticks))
    opened = [now for now in times if pace.ready()]
    due: list[int] = []
    for now in times:
        if not due or now - due[-1] >= 1000:
            due.append(now)

    assert opened == due


def test_restarting_shuts_the_gate_for_a_whole_interval() -> None:
    now = 0.0
    pace = Pace(every=30, clock=lambda: now)
    pace.restart()
    now = 29.9
    early = pace.ready()
    now = 30.0

    assert (early, pace.ready()) == (False, True)
