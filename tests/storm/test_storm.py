"""Schedules of faults, deaths and restarts, drawn by hypothesis; whatever is drawn, the laws of the design hold.

A failure prints the shortest schedule that shows it; the same `DFBATCH_SEED` draws the same ones again.
"""

from __future__ import annotations

import gc
import os
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from starlette.datastructures import Headers

import dfbatch
from dfbatch import run as run_layer
from dfbatch.emulator import Server
from dfbatch.errors import DfbatchError

from .mortal import Died, Mortal
from .weather import FAULTS, IN_DOUBT, SCHEDULES, SEED, TEXTS, answer_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STEPS = 8  # of a schedule
weathers = st.lists(st.one_of(st.sampled_from(IN_DOUBT), st.sampled_from(FAULTS)), max_size=3)
deaths = st.one_of(st.none(), st.integers(1, 120))
frames = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=10)


class World:
    """One emulator for all schedules, each with a key, a workspace and a ledger of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = self._started()
        self.schedules = 0

    def _started(self, port: int = 0) -> Server:
        made = Server(
            engine=lambda params: answer_to(str(params["messages"][-1]["content"])),
            engine_name="storm",
            data=self.folder / "emulator",
            law="fixed:20",
            port=port,
        )
        made.start()
        return made

    def restart(self) -> None:
        """The server ends and begins again; what it accepted is there, what was armed is not."""
        port = int(self.server.url.rpartition(":")[2])
        self.server.stop()
        self.server = self._started(port)

    def billed(self, workspace: str) -> dict[str, int]:
        """How often each request was billed in a workspace."""
        told = self.server.usage()["workspaces"].get(workspace, {})
        found: dict[str, int] = told.get("billed_by_digest", {})
        return found


class Storm(RuleBasedStateMachine):
    """A user who labels overlapping frames of eight texts, in processes that die, on a server that fails."""

    world: World
    mortal: Mortal

    @initialize(behind=st.sampled_from([0.0, 3600.0, -3600.0]))
    def begin(self, behind: float) -> None:
        self.world.schedules += 1
        self.key = f"key-{self.world.schedules}"
        self.home = tempfile.TemporaryDirectory(dir=self.world.folder)
        os.environ["DFBATCH_HOME"] = self.home.name
        os.environ["ANTHROPIC_API_KEY"] = self.key
        self.mortal.clock.behind = behind
        self.mortal.clock.server = self.world.server
        self.begun = 0

    @rule(faults=weathers, texts=frames, chunk_size=st.integers(1, 5), die_at=deaths)
    def run_a_cell(self, faults: list[str], texts: list[str], chunk_size: int, die_at: int | None) -> None:
        self.begun += 1
        self.world.server.house.faults.arm(faults, replace=True)
        self._live(die_at, lambda: self._cell(texts, chunk_size))

    @precondition(lambda self: self.begun)
    @rule(
        faults=weathers,
        which=st.integers(0, 5),
        die_at=deaths,
        verb=st.sampled_from(["wait", "resume", "cancel", "retry"]),
    )
    def come_back(self, faults: list[str], which: int, die_at: int | None, verb: str) -> None:
        self.world.server.house.faults.arm(faults, replace=True)

        def act() -> None:
            runs = dfbatch.runs()
            if runs:
                run = runs[which % len(runs)]
                getattr(run, verb)().wait()
                self._check(run.answers()["answer"], None)

        self._live(die_at, act)

    @rule(seconds=st.sampled_from([1, 30, 700, 40_000]))
    def time_passes(self, seconds: int) -> None:
        self.mortal.clock.move(seconds)

    @rule()
    def the_server_restarts(self) -> None:
        self.world.restart()
        self.mortal.clock.server = self.world.server

    def teardown(self) -> None:
        """The weather clears: everything is answered, on its own row, and was billed once."""
        if not hasattr(self, "home"):
            return
        try:
            self.world.server.house.faults.arm([], replace=True)
            self._live(None, lambda: self._cell(TEXTS, 3), calm=True)
            billed = self.world.billed(self._workspace())

            assert set(billed.values()) == {1}, billed
            assert len(billed) == len(TEXTS)
        finally:
            self.mortal.buried()
            self.home.cleanup()

    def _workspace(self) -> str:
        return self.world.server.house.keys.workspace(Headers({"x-api-key": self.key}))

    def _live(self, die_at: int | None, act: Callable[[], None], *, calm: bool = False) -> None:
        """One process, from its birth to its end or death."""
        self.mortal.born(die_at)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                act()
        except Died:
            assert die_at is not None
        except DfbatchError:
            if calm:
                raise
        finally:
            self.mortal.buried()

    def _cell(self, texts: list[str], chunk_size: int) -> None:
        backend = dfbatch.Anthropic(api_key=self.key, base_url=self.world.server.url)
        frame: Any = pd.DataFrame({"text": texts})
        out = frame.claude.batch("{text}", backend=backend, progress=False, chunk_size=chunk_size)
        self._check(out["answer"], texts)
        counts = dfbatch.last_run().counts
        assert sum(counts.values()) == len(texts), counts
        if not self.world.server.house.faults.told() and self.mortal.die_at is None:
            assert out["answer"].notna().all(), counts

    def _check(self, answers: Any, texts: list[str] | None) -> None:
        """No row ever has another row's answer."""
        for row, answer in enumerate(answers):
            allowed = [answer_to(texts[row])] if texts else [answer_to(text) for text in TEXTS]
            assert pd.isna(answer) or answer in allowed, (row, answer)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The emulator, and every step counted."""
    for name in ("DFBATCH_HOME", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "")
    made = World(tmp_path)
    with Mortal() as mortal:
        Storm.world, Storm.mortal = made, mortal
        yield made
    run_layer.close_ledgers()
    made.server.stop()


def weather(schedules: int) -> None:
    """So many schedules.

    What is garbage goes first: a finalizer that prints a traceback while hypothesis reads the source of this machine
    made CPython 3.11.7 fail within its own parser, once.
    """
    gc.collect()
    phases = [Phase.explicit, Phase.generate, Phase.shrink]
    drawn = settings(
        max_examples=schedules,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(seed(SEED)(Storm), settings=drawn)


def test_whatever_the_weather_every_answer_is_on_its_row_and_paid_once(world: World) -> None:
    weather(SCHEDULES)

    assert world.schedules >= SCHEDULES


@pytest.mark.full
def test_a_longer_storm(world: World) -> None:
    weather(max(SCHEDULES, 1_000))

    assert world.schedules >= 1_000
