"""A client killed by `kill -9` at any step, and the same cell again in a new process: same columns, same bill."""

from __future__ import annotations

import re
import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.emulator.answers import Answer, text_block

from .cells import Cells

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .plain_server import PlainServer

TEXTS = ["a", "b", "a", "c"]
ANSWERS = [f"answer to {text}" for text in TEXTS]
PATIENCE = 10.0


@pytest.fixture(scope="module")
def cells() -> Iterator[Cells]:
    with Cells() as started:
        yield started


def cell(home: Path, url: str, **more: Any) -> dict[str, Any]:
    return {"home": str(home), "url": url, "texts": TEXTS, **more}


def strange(cases: list[dict[str, Any]], ends: list[dict[str, Any]]) -> list[Any]:
    """What stands in a row instead of the answer to it; None where nothing does."""
    return [
        said
        for one, told in zip(cases, ends, strict=True)
        for text, said in zip(one["texts"], told.get("answers", [told] * len(one["texts"])), strict=True)
        if said != f"answer to {text}"
    ]


def killed_before_the_reply(cells: Cells, plain: PlainServer, home: Path) -> None:
    """One cell, whose batch the server has accepted and whose reply never comes."""
    plain.gates["reply"].close()
    (pid,) = cells.start(cell(home, plain.url))
    assert plain.gates["reply"].arrived.wait(PATIENCE)
    cells.killed(pid)
    plain.gates["reply"].open.set()


@pytest.mark.parametrize("gate", ["list", "retrieve", "results", "middle"])
def test_killed_anywhere_but_within_a_post_the_cell_runs_again_and_pays_once(
    cells: Cells, plain: PlainServer, ledger_home: Path, gate: str
) -> None:
    """Before the POST; after its reply was noted; at the download's begin; in its middle."""
    plain.gates[gate].close()
    (pid,) = cells.start(cell(ledger_home, plain.url))
    assert plain.gates[gate].arrived.wait(PATIENCE)
    assert cells.killed(pid)["status"] == -signal.SIGKILL
    parts = list(ledger_home.rglob("*.jsonl.*.part"))
    plain.gates[gate].open.set()
    (again,) = cells.run(cell(ledger_home, plain.url))

    assert again["answers"] == ANSWERS
    assert bool(parts) == (gate in {"results", "middle"})
    assert (plain.asked.total(), set(plain.billed.values())) == (3, {1})


def test_killed_while_waiting_the_run_opens_in_another_process(
    cells: Cells, plain: PlainServer, ledger_home: Path
) -> None:
    plain.ending.clear()
    (pid,) = cells.start(cell(ledger_home, plain.url, chunk_size=2))
    while plain.gates["list"].count < 3:  # the probe, and two looks at two batches
        assert plain.gates["list"].arrived.wait(PATIENCE)
    cells.killed(pid)
    plain.ending.set()
    (run_id,) = [run.id for run in dfbatch.runs()]
    (opened,) = cells.run(cell(ledger_home, plain.url, open=run_id))

    assert opened["answers"] == opened["joined"] == ANSWERS
    assert (opened["run"], plain.asked.total(), set(plain.billed.values())) == (run_id, 3, {1})


def test_killed_between_a_post_and_its_reply_the_batch_is_found_again(
    cells: Cells, plain: PlainServer, ledger_home: Path
) -> None:
    killed_before_the_reply(cells, plain, ledger_home)
    (again,) = cells.run(cell(ledger_home, plain.url))

    assert again["answers"] == ANSWERS
    assert (len(plain.batches), plain.asked.total(), set(plain.billed.values())) == (1, 3, {1})


def test_killed_on_its_way_to_the_server_a_chunk_is_sent_again_after_ten_minutes(
    cells: Cells, plain: PlainServer, ledger_home: Path
) -> None:
    cells.run(cell(ledger_home, plain.url, die="mid-POST"))
    (again,) = cells.run(cell(ledger_home, plain.url, clock=plain.control))

    assert again["answers"] == ANSWERS
    assert 590 <= again["moved"] <= 700
    assert (len(plain.batches), plain.asked.total(), set(plain.billed.values())) == (1, 3, {1})


def test_a_chunk_in_doubt_keeps_no_other_row_from_its_answer(
    cells: Cells, plain: PlainServer, ledger_home: Path, claude: dfbatch.Anthropic
) -> None:
    """The batch of the killed process takes an hour, the one of the new row no time."""
    plain.takes = timedelta(hours=1)
    killed_before_the_reply(cells, plain, ledger_home)
    plain.takes = timedelta(0)
    frame: Any = pd.DataFrame({"text": [*TEXTS, "new"]})
    run = frame.claude.submit("{text}", backend=claude, progress=False)
    while run.counts != {"pending": 4, "succeeded": 1}:
        run._driver.pause(0.01)

    assert run.status == "waiting"
    assert re.match(r"1 chunk in doubt, at most \$0\.000\d\d at stake: looked for at the server", run.message)
    assert run.partial()["answer"].tolist()[-1] == "answer to new"
    plain.advance(3600)
    assert run.result()["answer"].tolist() == [*ANSWERS, "answer to new"]
    assert (plain.asked.total(), set(plain.billed.values())) == (4, {1})


def test_two_processes_with_one_cell_at_the_same_instant_pay_once(
    cells: Cells, plain: PlainServer, ledger_home: Path
) -> None:
    ended = cells.run(*[cell(ledger_home, plain.url, chunk_size=1)] * 3)

    assert [one.get("answers") for one in ended] == [ANSWERS] * 3
    assert (plain.asked.total(), set(plain.billed.values())) == (3, {1})


def test_a_second_process_takes_over_what_a_killed_one_did_not_send(
    cells: Cells, plain: PlainServer, ledger_home: Path
) -> None:
    """It waits while the first lives, and sends what that one left when it dies."""
    plain.gates["list"].close()
    pids = cells.start(cell(ledger_home, plain.url))
    assert plain.gates["list"].arrived.wait(PATIENCE)
    cells.killed(pids[0])
    plain.gates["list"].open.set()
    (second,) = cells.run(cell(ledger_home, plain.url))

    assert second["answers"] == ANSWERS
    assert plain.asked.total() == 3


def test_leaving_the_process_finishes_the_post_under_way_and_says_what_is_unsent(
    cells: Cells, plain: PlainServer, ledger_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain.ending.clear()
    (left,) = cells.run(cell(ledger_home, plain.url, until="sent", chunk_size=1, leave=True))
    run = dfbatch.open(left["run"])
    sent = len(plain.batches)

    assert left["status"] == 0 or left["status"] in {"sending", "waiting"}
    assert not [chunk for chunk in run._ledger.chunks(run.id) if chunk.state == "submitting"]
    assert sent in {2, 3}


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.full)])
def test_killed_at_any_step_the_columns_and_the_bill_are_the_same(
    cells: Cells, plain: PlainServer, emulator: Server, tmp_path: Path, every: int
) -> None:
    """Files, rows, transactions, connections are steps. Two servers that share no line of code tell what was billed."""
    servers = ((plain.url, plain.control), (emulator.url, f"{emulator.url}/_emulator/clock"))
    (dry,) = cells.run(cell(tmp_path / "dry", plain.url, clock=plain.control, chunk_size=2))
    cases = [
        cell(
            tmp_path / f"{at}-{step}",
            url,
            clock=clock,
            chunk_size=2,
            texts=[f"{at}-{step}-{text}" for text in TEXTS],
            die_at=step,
        )
        for at, (url, clock) in enumerate(servers)
        for step in range(1 + at * every // 2, dry["steps"] + 1, every)
    ]
    killed = cells.run(*cases)
    again = cells.run(*[case | {"die_at": None} for case in cases])
    emulator.wait_idle()
    billed = [*plain.billed.values(), *emulator.usage()["billed_by_digest"].values()]

    assert dry["steps"] > 40
    assert sum(one["status"] == -signal.SIGKILL for one in killed) > 0.8 * len(cases)
    assert [one.get("answers", one) for one in again] == [
        [f"answer to {text}" for text in one["texts"]] for one in cases
    ]
    assert billed == [1] * len({*TEXTS}) * (len(cases) + 1)


@pytest.mark.parametrize("every", [29, pytest.param(3, marks=pytest.mark.full)])
@pytest.mark.parametrize("way", ["batch", "now"])
def test_killed_at_any_step_of_what_goes_ahead_the_bill_is_the_same_but_for_calls_in_flight(
    cells: Cells, emulator: Server, tmp_path: Path, every: int, way: str
) -> None:
    """The first request alone, a pilot, and the rest under a budget; only what went through `/v1/messages` and was in
    flight at the kill may be billed again, and nothing is lost.
    """
    clock = f"{emulator.url}/_emulator/clock"
    options = {"pilot": way, "budget": 1.0}
    texts = [str(at) for at in range(45)]

    def case(name: str, **more: Any) -> dict[str, Any]:
        mine = [f"{name}-{text}" for text in texts]
        return cell(tmp_path / name, emulator.url, clock=clock, options=options, **{"texts": mine, **more})

    (dry,) = cells.run(case("dry"))
    cases = [case(f"{way}{step}", die_at=step) for step in range(1, dry["steps"] + 1, every)]
    killed = cells.run(*cases)
    again = cells.run(*[one | {"die_at": None} for one in cases])
    emulator.wait_idle()
    billed = [*emulator.usage()["billed_by_digest"].values()]
    wrong = strange(cases, again)

    assert sum(one["status"] == -signal.SIGKILL for one in killed) > 0.8 * len(cases)
    assert len(billed) == 45 * (len(cases) + 1)
    assert set(billed) <= {1, 2}
    assert billed.count(2) <= (8 if way == "now" else 1) * len(cases)
    assert wrong == []


@pytest.mark.parametrize("every", [23, pytest.param(2, marks=pytest.mark.full)])
def test_killed_at_any_step_of_a_preview_and_of_the_run_after_it_only_calls_in_flight_are_billed_again(
    cells: Cells, emulator: Server, tmp_path: Path, every: int
) -> None:
    clock = f"{emulator.url}/_emulator/clock"

    def case(name: str, **more: Any) -> dict[str, Any]:
        texts = [f"preview {name}-{at}" for at in range(30)]
        return cell(tmp_path / name, emulator.url, clock=clock, **{"texts": texts, "preview": 8, **more})

    (dry,) = cells.run(case("dry"))
    cases = [case(f"at{step}", die_at=step) for step in range(1, dry["steps"] + 1, every)]
    killed = cells.run(*cases)
    again = cells.run(*[one | {"die_at": None} for one in cases])
    emulator.wait_idle()
    billed = [*emulator.usage()["billed_by_digest"].values()]
    wrong = strange(cases, again)

    assert sum(one["status"] == -signal.SIGKILL for one in killed) > 0.8 * len(cases)
    assert len(billed) == 30 * (len(cases) + 1)
    assert set(billed) <= {1, 2}
    assert billed.count(2) <= 4 * len(cases)
    assert wrong == [None] * len(wrong)
    assert len(wrong) <= 4 * len(cases)


@pytest.mark.parametrize("every", [166, pytest.param(7, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("end", "options"),
    [("BudgetReached", {"budget": 0.00009, "pilot": False}), ("PilotFailed", {"max_failed": 0})],
)
def test_killed_at_any_step_the_cell_again_stops_where_it_would_have_and_pays_nothing_twice(
    cells: Cells, tmp_path: Path, every: int, end: str, options: dict[str, Any]
) -> None:
    """At a budget that is reached, at a pilot that fails: but for the one call in flight nothing is billed again."""

    def answer(params: dict[str, Any]) -> Answer:
        text = "answer to " + str(params["messages"][-1]["content"])
        return Answer([text_block(text)], "refusal" if end == "PilotFailed" else "end_turn")

    with Server(engine=answer) as server:

        def case(name: str, **more: Any) -> dict[str, Any]:
            texts = [f"{name}-{at}" for at in range(60)]
            said = {"pilot": "batch", "max_tokens": 40, **options}
            clock = f"{server.url}/_emulator/clock"
            return cell(tmp_path / name, server.url, clock=clock, options=said, **{"texts": texts, **more})

        (dry,) = cells.run(case("dry"))
        cases = [case(f"at{step}", die_at=step) for step in range(1, dry["steps"] + 1, every)]
        killed = cells.run(*cases)
        again = cells.run(*[one | {"die_at": None} for one in cases])
        server.wait_idle()
        billed = [*server.usage()["billed_by_digest"].values()]

    assert dry["error"] == end
    assert sum(one["status"] == -signal.SIGKILL for one in killed) > 0.8 * len(cases)
    assert {one["status"] for one in again} == {0}  # none was killed by its alarm
    assert {told.get("error", end) for told in again} == {end}
    assert end == "BudgetReached" or all("error" in told for told in again)  # a budget is a new run's own
    assert set(billed) <= {1, 2}
    assert billed.count(2) <= len(cases)
    assert end == "BudgetReached" or len(billed) <= 41 * (len(cases) + 1)  # nothing but the first and the pilot
