"""What is made on first use is made once, whichever of many threads comes first: each in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

THREADS = 16
FRAME = f"""
import sys, threading
sys.setswitchinterval(1e-6)  # so that threads meet in the middle of things
failed, made = [], []

def at_once(act, count={THREADS}):
    gate = threading.Barrier(count)
    def come(number):
        gate.wait()
        try:
            made.append(act(number))
        except BaseException as error:
            failed.append(repr(error))
    threads = [threading.Thread(target=come, args=(number,)) for number in range(count)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return made
"""


def run(tmp_path: Path, code: str) -> list[str]:
    """What the code prints in a process of its own, after what failed in its threads."""
    script = FRAME + textwrap.dedent(code) + "\nprint(failed)\n"
    home = {"DFBATCH_HOME": str(tmp_path / "ledger"), "ANTHROPIC_API_KEY": "k"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | home,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_accessor_signs_its_verbs_once(tmp_path: Path, library: str) -> None:
    code = f"""
    import {library}, dfbatch, inspect
    frame = {library}.DataFrame({{"text": ["a"]}})
    at_once(lambda number: [frame.claude.batch, frame["text"].claude.submit][number % 2])
    for verb in (dfbatch.batch, frame.claude.batch, frame["text"].claude.submit):
        names = list(inspect.signature(verb).parameters)
        print(names.count("model"), len(names) == len(set(names)))
    """

    assert run(tmp_path, code) == ["1 True"] * 3 + ["[]"]


def test_an_interrupt_while_verbs_are_signed_leaves_no_trace(tmp_path: Path) -> None:
    code = """
    import dfbatch, inspect
    from dfbatch import accessor
    accessor._signed()
    accessor._signed.cache_clear()  # as if the first had come half way
    accessor._sign()
    print(list(inspect.signature(dfbatch.batch).parameters).count("model"))
    """

    assert run(tmp_path, code) == ["1", "[]"]


def test_everything_that_loads_later_is_there_for_all(tmp_path: Path) -> None:
    code = """
    import dfbatch
    names = sorted(dfbatch.__all__)
    at_once(lambda number: [getattr(dfbatch, name) for name in names[number % len(names):] + names])
    print(len(made))
    """

    assert run(tmp_path, code) == [str(THREADS), "[]"]


def test_there_is_one_ledger_and_one_run_of_an_id(tmp_path: Path) -> None:
    code = """
    import dfbatch, pandas
    from dfbatch.run import shelf
    at_once(lambda _: shelf.ledger())
    print(len({id(place) for place in made}))
    made.clear()
    with dfbatch.testing.answers(lambda params: "sport"):
        run = dfbatch.submit(pandas.DataFrame({"text": ["a"]}), "{text}", progress=False).wait()
        name = run.id
        del run
        shelf._known.clear(); shelf._latest.clear()
        at_once(lambda _: dfbatch.open(name))
        print(len({id(run) for run in made}))
        made.clear()
        one = dfbatch.open(name)
        at_once(lambda _: (one.counts, one.cost.tokens, len(one._work.sheet.chunks)))
        print(len({repr(found) for found in made}), made[0][0])
    dfbatch.run.close_ledgers()
    """

    printed = run(tmp_path, code)
    assert [line for line in printed if not line.startswith("run ")] == ["1", "1", "1 {'succeeded': 1}", "[]"]


def test_cells_of_many_threads_at_once_pay_once_and_get_the_same(tmp_path: Path) -> None:
    """All that a first call makes at once: ledger, I/O thread, schema, who answers."""
    code = """
    import dfbatch, pandas
    from typing import Literal
    from dfbatch.testing import Emulator
    with Emulator(engine=lambda params: {"answer": "a"}) as emulator:
        backend = dfbatch.Anthropic(api_key="k", base_url=emulator.url)
        frame = pandas.DataFrame({"text": ["one", "two"]})
        def ask(number):
            out = frame.claude.batch("{text}", Literal["a", "b"], backend=backend, progress=False)
            return backend.who, tuple(out["answer"])
        at_once(ask, 8)
        print(len(set(made)), made[0][1])
        print(set(emulator.usage()["billed_by_digest"].values()))
    """

    assert run(tmp_path, code) == ["1 ('a', 'a')", "{1}", "[]"]


def test_a_run_is_carried_out_once_however_many_resume_it(tmp_path: Path) -> None:
    code = """
    import dfbatch, pandas
    from dfbatch.run import loop
    from dfbatch.testing import Emulator
    begun = []
    drive = loop.Work.drive
    loop.Work.drive = lambda work: begun.append(1) or drive(work)
    with Emulator(engine=lambda params: "a", law=30) as emulator:
        try:
            dfbatch.submit(pandas.DataFrame({"text": ["one"]}), "{text}", progress=False, budget=1e-9)
        except dfbatch.errors.BudgetReached as paused:
            run = paused.run
        both = threading.Barrier(2)  # where two are on their way at once, they meet here
        def ready(home):
            try:
                both.wait(0.3)
            except threading.BrokenBarrierError:
                pass
        run._work.backend.ready = ready
        at_once(lambda _: run.resume(budget=1).status)
        while not emulator.usage()["batches_created"]:
            pass
        emulator.advance(60)
        at_once(lambda _: run.wait().counts)
        print(len(begun), emulator.usage()["batches_created"])
    """

    printed = run(tmp_path, code)
    assert [line for line in printed if not line.startswith("run ")] == ["2 1", "[]"]


def test_what_an_emulator_says_of_itself_is_asked_once_and_the_same_for_all(tmp_path: Path) -> None:
    code = """
    import dfbatch
    from dfbatch.emulator import Server
    with Server(engine="sample") as server:
        at_once(lambda _: dfbatch.Anthropic(api_key="k", base_url=server.url).who)
        backend = dfbatch.Anthropic(api_key="k", base_url=server.url)
        at_once(lambda _: backend.who)
        print(len(set(made)), "sample" in made[0])
    """

    assert run(tmp_path, code) == ["1 True", "[]"]


def test_certificates_are_loaded_once(tmp_path: Path) -> None:
    code = """
    import dfbatch
    backend = dfbatch.Anthropic()
    at_once(lambda _: id(backend._tls()))
    print(len(set(made)))
    """

    assert run(tmp_path, code) == ["1", "[]"]
