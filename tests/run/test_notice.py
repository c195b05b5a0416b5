"""When a run ends, whoever asked for it is told: by a call, or by a command; what goes wrong there harms nothing."""

from __future__ import annotations

import logging
import os
import queue
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import dfbatch
from dfbatch.errors import OptionError
from dfbatch.testing import answers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME: Any = pd.DataFrame({"text": ["A goal!"]})
SOON = 20  # seconds to wait for something that comes at once


class Logged(logging.Handler):
    """What is logged, as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: queue.Queue[str] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.put(record.getMessage())


@pytest.fixture
def logged() -> Iterator[Logged]:
    """The package's log."""
    handler = Logged()
    logging.getLogger("dfbatch").addHandler(handler)
    yield handler
    logging.getLogger("dfbatch").removeHandler(handler)


def test_a_function_is_called_with_the_run_when_it_has_ended() -> None:
    told: queue.Queue[list[str]] = queue.Queue()
    with answers(lambda _: "sport"):
        FRAME.claude.batch(
            "{text}", into="topic", progress=False, notify=lambda run: told.put(run.result()["topic"].tolist())
        )

        assert told.get(timeout=SOON) == ["sport"]


def test_a_command_finds_what_to_say_in_its_environment(tmp_path: Path) -> None:
    path = tmp_path / "told"
    with answers(lambda _: "sport"):
        os.mkfifo(path)  # reading waits for whoever writes
        script = f'echo "$DFBATCH_RUN $DFBATCH_STATUS: $DFBATCH_SUMMARY" > {path}'
        run = FRAME.claude.submit("{text}", progress=False, notify=script).wait()

        assert path.read_text().startswith(f"{run.id} done: dfbatch run {run.id}: done · 1/1 rows")


def test_it_can_be_asked_for_later() -> None:
    told: queue.Queue[str] = queue.Queue()
    with answers(lambda _: "sport"):
        run = FRAME.claude.submit("{text}", progress=False).wait()
        run.notify(lambda ended: told.put(ended.status)).resume().wait()

        assert told.get(timeout=SOON) == "done"


def test_asked_for_after_the_end_it_is_told_at_once_and_once() -> None:
    told: queue.Queue[str] = queue.Queue()
    with answers(lambda _: "sport"):
        run = FRAME.claude.submit("{text}", progress=False).wait()
        run.notify(lambda _: told.put("first"))
        first = told.get(timeout=SOON)
        run.notify(lambda _: told.put("second"))

        assert (first, told.get(timeout=SOON), told.empty()) == ("first", "second", True)


@pytest.mark.parametrize("act", ["retry", "resume"])
def test_where_nothing_is_left_to_do_nobody_is_told_again(act: str) -> None:
    told: queue.Queue[str] = queue.Queue()
    with answers(lambda _: "sport"):
        run = FRAME.claude.submit("{text}", progress=False, notify=lambda run: told.put(run.status)).wait()
        first = told.get(timeout=SOON)
        getattr(run, act)()

        assert (first, run.status, run._driver.running, told.empty()) == ("done", "done", False, True)


def test_a_command_that_fails_is_not_shown_for_it_may_hold_a_secret(logged: Logged) -> None:
    with answers(lambda _: "sport"):
        FRAME.claude.submit("{text}", progress=False, notify="exit 7 # token-of-a-hook").wait()

        assert logged.lines.get(timeout=SOON).endswith("the command ended with 7")


@pytest.mark.parametrize("how", ["exit 3", lambda run: run.no_such_thing])
def test_what_goes_wrong_there_is_logged_and_the_run_is_as_it_was(how: Any, logged: Logged) -> None:
    with answers(lambda _: "sport"):
        run = FRAME.claude.submit("{text}", progress=False, notify=how).wait()

        assert f"run {run.id} has ended, and telling so failed: " in logged.lines.get(timeout=SOON)
        assert run.counts == {"succeeded": 1}


def test_what_is_no_way_to_tell_is_refused_before_anything_is_sent() -> None:
    with answers(lambda _: "sport") as asked:
        with pytest.raises(OptionError, match="notify=7 is neither a function nor a command\nHint: notify="):
            FRAME.claude.batch("{text}", notify=7)

        assert asked.requests == []
        assert dfbatch.runs() == []
