"""When a run is expected to end is told as a range, from batches that took longer than it has, or not at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from dfbatch.run import ends

if TYPE_CHECKING:
    import dfbatch

    from .plain_server import PlainServer

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers


def test_nothing_is_told_of_fewer_than_five() -> None:
    assert ends.expected([0.0], [60.0] * 4) is None
    assert ends.expected([], [60.0] * 40) is None


def test_those_that_were_over_sooner_do_not_count() -> None:
    took = [10.0] * 100 + [100.0] * 5

    assert ends.expected([50.0], took) == (50.0, 50.0)


def test_the_last_of_several_batches_counts() -> None:
    took = [float(second) for second in range(100, 200)]
    young, old = ends.expected([0.0], took), ends.expected([90.0], took)
    assert young
    assert old

    assert ends.expected([0.0, 90.0], took) == young
    assert young[0] - old[0] == pytest.approx(90.0)


def test_eight_of_ten_batches_end_within_the_range() -> None:
    chance = np.random.default_rng(0)
    within = 0
    for _ in range(200):
        took = chance.lognormal(6, 0.7, 60).tolist()
        low, high = ends.expected([0.0], took) or (0.0, 0.0)
        within += low <= float(chance.lognormal(6, 0.7)) <= high

    assert 140 <= within <= 180


def test_a_run_tells_it_from_earlier_runs_of_its_model_and_says_that_it_is_a_range(
    plain: PlainServer, claude: dfbatch.Anthropic
) -> None:
    for at in range(6):
        run = Polars({"text": [f"{at}"]}).claude.submit("{text}", backend=claude, progress=False).wait()
        with run._ledger.transaction():
            run._ledger._link.execute(
                "UPDATE batches SET created_at = '2026-11-22T10:00:00Z', ended_at = ? WHERE chunk LIKE ?",
                (f"2026-11-22T12:{at:02}:00Z", f"{run.id}%"),
            )
    plain.ending.clear()
    other = Polars({"text": ["x"]}).claude.submit(
        "{text}", backend=claude, progress=False, model="claude-opus-4-8", preflight=False
    )
    run = Polars({"text": ["x"]}).claude.submit("{text}", backend=claude, progress=False)
    told, untold = run.snapshot().ends, other.snapshot().ends
    plain.ending.set()
    run.wait()
    other.wait()

    assert re.fullmatch(r"expected to end in (1 h 59|2 h 0.) min to 2 h 0. min, as 8 of 10 of 6 batches did", told)
    assert untold == ""
    assert run.snapshot().ends == ""
