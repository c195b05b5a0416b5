"""Schedules of faults and deaths with real processes and real SIGKILL: every answer on its row, and billed once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from dfbatch.emulator import Server
from tests.run.cells import Cells

from .weather import FAULTS, PROCESSES, SEED, TEXTS, answer_to

if TYPE_CHECKING:
    from pathlib import Path

LIVES = 3  # processes of a schedule that may die, at most
LAST_STEP = 150


@pytest.mark.parametrize("schedules", [PROCESSES, pytest.param(60, marks=pytest.mark.full)])
def test_processes_that_die_in_a_storm_leave_nothing_unanswered_and_nothing_paid_twice(
    tmp_path: Path, schedules: int
) -> None:
    draw = random.Random(SEED)
    deaths = 0
    with Server(engine=lambda params: answer_to(str(params["messages"][-1]["content"])), law="fixed:20") as server:
        control = f"{server.url}/_emulator/clock"
        with Cells() as cells:
            for number in range(schedules):
                texts = [f"{number}-{text}" for text in TEXTS]
                cell: dict[str, Any] = {"home": str(tmp_path / str(number)), "url": server.url, "clock": control}
                for _ in range(draw.randint(1, LIVES)):
                    server.house.faults.arm(draw.sample(FAULTS, draw.randint(0, 2)), replace=True)
                    some = draw.choices(texts, k=draw.randint(1, len(texts)))
                    mortal = {"texts": some, "chunk_size": draw.randint(1, 4), "die_at": draw.randint(1, LAST_STEP)}
                    (ended,) = cells.run(cell | mortal)
                    deaths += ended["status"] != 0
                server.house.faults.arm([], replace=True)
                (last,) = cells.run(cell | {"texts": texts, "chunk_size": 3})

                assert last.get("answers", last) == [answer_to(text) for text in texts], (SEED, number)
        server.wait_idle()
        billed = server.usage()["billed_by_digest"]

    assert set(billed.values()) == {1}
    assert len(billed) == schedules * len(TEXTS)
    assert deaths >= schedules / 2
