"""A process killed by SIGKILL at any step, and another that goes on: the same columns, and every request billed once.

Each case has a server of its own, in turn the emulator and the independent one: two that share no line of code tell
what was billed. Clocks move as far as pauses were meant to take, so that ten minutes of the server's time pass.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from dfbatch.emulator import Server
from tests.run.cells import AT_ONCE, Cells
from tests.run.plain_server import PlainServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS: Final = ["a", "b", "a", "c", "d", "e"]
DISTINCT: Final = len({*TEXTS})
PAID_ONCE: Final = [*[1] * DISTINCT, DISTINCT]
SIZE: Final = 2  # requests a chunk …
CHUNKS: Final = 3  # … of which the last has one
UNEVEN: Final = 3  # requests a chunk, so that no two have as many: each lost batch fits one chunk alone
BRIEF: Final = 1.0  # seconds of the server's time that a batch is under way: not long, or …
TAKES: Final = 20.0  # … so long that the next process finds it unfinished and unproved
PROOF: Final = 590.0  # seconds that going on takes, nearly, where nothing was accepted: absence has to be proved

STEPS: Final = {  # the name of a step, and how it is known to `tests/run/deaths.py`
    "before the probe's reply": "before reply to probe",
    "before intent": "before submitting",
    "as the intent is committed": "before commit of submitting",
    "after intent": "after submitting",
    "mid-POST": "mid-POST",
    "after the last byte": "before waiting for the reply",
    "after accept, before the reply": "before reply to create",
    "after the reply, before the commit": "before submitted",
    "as the reply is committed": "before commit of submitted",
    "while polling": "before reply to poll",
    "before the end is noted": "before ended",
    "mid-download": "before the rest of results",
    "before rename": "before os.rename of results",
    "after rename": "after os.rename of results",
    "mid-judge": "before judging",
    "judged, not kept": "before os.rename of found",
    "kept, not noted": "before collected",
    "before the spool goes": "before os.remove of spool",
    "before the run is done": "before done",
    "before join": "before join",
}
ONCE: Final = ("before the probe's reply", "while polling", "before the run is done", "before join")  # in a run
NOT_ACCEPTED: Final = ("after intent", "mid-POST")  # intended, and no batch was made
PERHAPS: Final = "after the last byte"  # the server may notice that nobody waits

CHAINS: Final = {  # several kills in a row, each of the process that goes on where the last one died
    "twice before anything is accepted": ["after intent", "after intent"],
    "twice within a POST": ["mid-POST", "mid-POST"],
    "twice in doubt": ["after accept, before the reply", "before orphaned", "after orphaned"],
    "within the search": ["after accept, before the reply", "before reply to search", "before reply to search"],
    "around a candidate": ["after accept, before the reply", "before provisional", "after provisional"],
    "around the proof": ["as the reply is committed", "after provisional", "before submitted", "after submitted"],
    "between abandoning and asking again": ["mid-POST", "before abandoned", "after abandoned", "before intent"],
    "in the POST of what was abandoned": ["mid-POST", "after abandoned", "after accept, before the reply"],
    "all the way": [
        "before the probe's reply",
        "before intent",
        "after accept, before the reply",
        "after provisional",
        "as the reply is committed",
        "while polling",
        "mid-download",
        "before rename",
        "mid-judge",
        "kept, not noted",
        "before join",
    ],
}
FOLLOWING: Final = (
    "before orphaned",
    "before reply to search",
    "before submitted",
    "mid-download",
    "kept, not noted",
    "before join",
)
WHOLE: Final = pytest.mark.parametrize(
    "kinds", [("plain", "emulator"), pytest.param(("emulator", "plain"), marks=pytest.mark.full)], ids="-".join
)
DEATHS: Final = pytest.mark.parametrize("deaths", [1, pytest.param(2, marks=pytest.mark.full)])
MOST_STEPS: Final = 150  # that one process of a race takes, about
AGAIN: Final[dict[str, Any]] = {}  # ways to go on: the same cell in a new kernel, or the run itself
RESUMED: Final = {"open": "last", "resume": True}


@pytest.fixture(scope="module")
def cells() -> Iterator[Cells]:
    with Cells() as started:
        yield started


@dataclass
class Case:
    """One frame that is labelled in one ledger by one server, by as many processes as it takes."""

    server: Server | PlainServer
    home: Path
    size: int | None

    def cell(self, **more: Any) -> dict[str, Any]:
        plain = isinstance(self.server, PlainServer)
        control = f"{self.server.url}/{'clock' if plain else '_emulator/clock'}"
        home = str(self.home)
        return {"home": home, "url": self.server.url, "clock": control, "texts": TEXTS, "chunk_size": self.size} | more

    def dying(self, step: str, **more: Any) -> dict[str, Any]:
        return self.cell(die=STEPS.get(step, step), **more)

    def graves(self, deaths: int) -> list[str]:
        """What lets only so many of its processes die."""
        return [f"{self.home}.grave{number}" for number in range(deaths)]

    def bill(self) -> list[int]:
        """How often each request was billed, and how many were accepted."""
        if isinstance(self.server, PlainServer):
            return [*self.server.billed.values(), self.server.asked.total()]
        assert self.server.wait_idle()
        return [*self.server.usage()["billed_by_digest"].values(), len(self.server.requests)]


@dataclass
class Cases:
    """Makes cases, each with a server and a ledger of its own."""

    folder: Path
    stack: ExitStack
    made: int = 0

    def new(self, kind: str, size: int | None = None, takes: float = TAKES) -> Case:
        self.made += 1
        server: Server | PlainServer
        if kind == "plain":
            server = self.stack.enter_context(PlainServer())
            server.takes = timedelta(seconds=takes)
        else:
            server = self.stack.enter_context(Server(answer, law=f"fixed:{takes}"))
        return Case(server, self.folder / f"home{self.made}", size)


def answer(params: dict[str, Any]) -> str:
    return "answer to " + str(params["messages"][-1]["content"])


@pytest.fixture
def cases(tmp_path: Path) -> Iterator[Cases]:
    with ExitStack() as stack:
        yield Cases(tmp_path, stack)


@pytest.fixture(scope="module")
def undisturbed(cells: Cells, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The whole frame as it is where nothing goes wrong."""
    with ExitStack() as stack:
        case = Cases(tmp_path_factory.mktemp("calm"), stack).new("plain")
        (told,) = cells.run(case.cell())
    assert [row[1] for row in told["frame"]["data"]] == [f"answer to {text}" for text in TEXTS]
    return told["frame"]


def frames(told: list[dict[str, Any]]) -> list[Any]:
    return [one.get("frame", one) for one in told]


def statuses(told: list[dict[str, Any]]) -> set[int]:
    return {one["status"] for one in told}


@WHOLE
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_named_step_another_process_goes_on_and_all_is_billed_once(
    cells: Cells, cases: Cases, undisturbed: Any, step: str, kinds: tuple[str, str]
) -> None:
    """In a single chunk, at the first and at the last of several; the same cell goes on, or the run itself."""
    one, other = kinds
    last = 1 if step in ONCE else CHUNKS
    mine = [cases.new(kind, size, takes=BRIEF) for size in (None, SIZE) for kind in (one, other)]
    killed = cells.run(*[case.dying(step, time=time) for case, time in zip(mine, [1, 1, last, 1], strict=True)])
    again = cells.run(*[case.cell(**way) for case, way in zip(mine, [AGAIN, RESUMED, RESUMED, AGAIN], strict=True)])

    assert statuses(killed) == {-signal.SIGKILL}
    assert frames(again) == [undisturbed] * len(mine)
    assert [case.bill() for case in mine] == [PAID_ONCE] * len(mine)
    assert step == PERHAPS or {told["moved"] >= PROOF for told in again[:2]} == {step in NOT_ACCEPTED}


@WHOLE
@pytest.mark.parametrize("chain", CHAINS)
def test_killed_again_and_again_the_last_process_brings_all_and_all_is_billed_once(
    cells: Cells, cases: Cases, undisturbed: Any, chain: str, kinds: tuple[str, str]
) -> None:
    one, other = kinds
    mine = [(cases.new(one, UNEVEN), RESUMED), (cases.new(other), AGAIN)]
    for count, step in enumerate(CHAINS[chain]):
        killed = cells.run(*[case.dying(step, **(way if count else AGAIN)) for case, way in mine])
        assert statuses(killed) == {-signal.SIGKILL}, (count, step, killed)
    last = cells.run(*[case.cell(**way) for case, way in mine])

    assert frames(last) == [undisturbed] * len(mine)
    assert [case.bill() for case, _ in mine] == [PAID_ONCE] * len(mine)


@pytest.mark.parametrize("every", [29, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("start", ["mid-POST", "after accept, before the reply", "mid-download"])
def test_killed_at_any_step_of_going_on_the_columns_and_the_bill_are_the_same(
    cells: Cells, tmp_path: Path, undisturbed: Any, start: str, every: int
) -> None:
    """The first process dies at a named step, the second at each of its steps, the third brings all."""
    with ExitStack() as stack:
        dry = Cases(tmp_path / "dry", stack).new("emulator", SIZE)
        cells.run(dry.dying(start))
        (calm,) = cells.run(dry.cell(**RESUMED))
    steps = [*range(1 + len(start) % every, calm["steps"] + 1, every)]
    died = 0
    for some in (steps[at : at + 8 * AT_ONCE] for at in range(0, len(steps), 8 * AT_ONCE)):
        with ExitStack() as stack:
            made = Cases(tmp_path / f"from {some[0]}", stack)
            mine = [made.new(("plain", "emulator")[step % 2], SIZE) for step in some]
            cells.run(*[case.dying(start) for case in mine])
            ways = [(RESUMED, AGAIN)[step // 2 % 2] for step in some]
            killed = cells.run(
                *[case.cell(die_at=step, **way) for case, step, way in zip(mine, some, ways, strict=True)]
            )
            last = cells.run(*[case.cell(**way) for case, way in zip(mine, ways, strict=True)])
            bills = [case.bill() for case in mine]
        died += sum(one["status"] == -signal.SIGKILL for one in killed)
        assert [(step, one) for step, one in zip(some, frames(last), strict=True) if one != undisturbed] == []
        assert [(step, bill) for step, bill in zip(some, bills, strict=True) if bill != PAID_ONCE] == []

    assert died > 0.7 * len(steps)


@pytest.mark.parametrize("kind", ["plain", "emulator"])
def test_processes_that_race_on_one_cell_are_billed_once(
    cells: Cells, cases: Cases, undisturbed: Any, kind: str
) -> None:
    case = cases.new(kind, SIZE)
    ended = cells.run(*[case.cell()] * AT_ONCE)

    assert frames(ended) == [undisturbed] * AT_ONCE
    assert case.bill() == PAID_ONCE


@WHOLE
@DEATHS
@pytest.mark.parametrize("step", STEPS)
def test_whoever_wins_the_race_for_a_cell_and_is_killed_the_others_take_over(
    cells: Cells, cases: Cases, undisturbed: Any, step: str, deaths: int, kinds: tuple[str, str]
) -> None:
    """The first of them that comes to the step dies there, or the first two."""
    case = cases.new(kinds[[*STEPS].index(step) % 2], SIZE)
    ended = cells.run(*[case.dying(step, graves=case.graves(deaths))] * AT_ONCE)

    assert frames(survivors(ended)) == [undisturbed] * (AT_ONCE - deaths)
    assert case.bill() == PAID_ONCE


@WHOLE
@DEATHS
@pytest.mark.parametrize("step", FOLLOWING)
def test_several_processes_resume_one_run_and_whoever_is_killed_the_others_bring_all(
    cells: Cells, cases: Cases, undisturbed: Any, step: str, deaths: int, kinds: tuple[str, str]
) -> None:
    case = cases.new(kinds[len(step) % 2], SIZE)
    cells.run(case.dying("after accept, before the reply"))
    ended = cells.run(*[case.dying(step, graves=case.graves(deaths), **RESUMED)] * AT_ONCE)

    assert frames(survivors(ended)) == [undisturbed] * (AT_ONCE - deaths)
    assert case.bill() == PAID_ONCE


@pytest.mark.full
@pytest.mark.parametrize("first", range(1, 12))
def test_whoever_comes_first_to_any_step_and_is_killed_the_others_take_over(
    cells: Cells, tmp_path: Path, undisturbed: Any, first: int
) -> None:
    for step in range(first, MOST_STEPS, 11):
        with ExitStack() as stack:
            case = Cases(tmp_path / str(step), stack).new(("plain", "emulator")[step % 2], SIZE)
            ended = cells.run(*[case.cell(die_at=step, graves=case.graves(1))] * AT_ONCE)
            bill = case.bill()

            assert [one for one in frames(survivors(ended)) if one != undisturbed] == []
            assert bill == PAID_ONCE


def survivors(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in told if one["status"] != -signal.SIGKILL]
