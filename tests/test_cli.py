"""The shell: the verbs of the README, errors in words with exit code 1."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import dfbatch
from dfbatch import testing
from dfbatch.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).parents[1] / "README.md"
COMMANDS = ["cancel", "emulate", "export", "fetch-model", "resume", "runs", "show", "wait"]


def say(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def run() -> Iterator[dfbatch.Run]:
    """A run that is done, in the ledger of its block."""
    with testing.answers(lambda _: "sport"):
        frame = pd.DataFrame({"text": ["A goal!", "A match", None]})
        made = dfbatch.submit(frame, "Topic of: {text}", name="topics", progress=False)
        yield made.wait()


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_command(flag: str) -> None:
    told = say(flag)

    assert told.exit_code == 0
    assert re.findall(r"^  ([a-z][a-z-]*)  ", told.output, re.MULTILINE) == COMMANDS


def test_the_readme_promises_these_commands_and_no_others() -> None:
    promised = set(re.findall(r"(?:^|`)dfbatch ([a-z][a-z-]*)", README.read_text(encoding="utf-8"), re.MULTILINE))

    assert promised - {"in", "itself"} <= set(COMMANDS)
    assert set(COMMANDS) <= promised


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_in_a_sentence(command: str) -> None:
    told = say(command, "--help")

    assert told.exit_code == 0
    assert re.search(r"\n\n  [A-Z].*\.", told.output, re.DOTALL)


def test_the_version_is_that_of_the_package() -> None:
    told = say("--version")

    assert told.exit_code == 0
    assert dfbatch.__version__ in told.output


def test_no_runs_are_said_in_words() -> None:
    told = say("runs")

    assert (told.exit_code, told.output) == (0, "no runs yet\n")


def test_runs_are_listed_a_line_each(run: dfbatch.Run) -> None:
    told = say("runs")

    assert told.exit_code == 0
    assert re.fullmatch(
        rf"{run.id}  \d{{4}}-\d\d-\d\d \d\d:\d\d  done +3 rows  claude-haiku-4-5  topics.*\n", told.output
    )


@pytest.mark.parametrize("length", [8, 4])
def test_a_run_is_shown_by_its_id_or_the_start_of_it(run: dfbatch.Run, length: int) -> None:
    told = say("show", run.id[:length])

    assert told.exit_code == 0
    assert run.id in told.output
    assert re.search(r"succeeded +2 ", told.output)
    assert re.search(r"skipped +1 ", told.output)


@pytest.mark.parametrize("command", ["wait", "resume", "cancel"])
def test_a_run_that_is_done_stays_done(run: dfbatch.Run, command: str) -> None:
    told = say(command, run.id)

    assert told.exit_code == 0
    assert f"<Run {run.id} · done · 3/3 rows" in told.output


def test_an_export_is_opened_again_with_the_same_answers(run: dfbatch.Run, tmp_path: Path) -> None:
    path = tmp_path / "topics.dfbatch"
    told = say("export", run.id, str(path))

    assert (told.exit_code, told.output) == (0, f"{path}\n")
    pd.testing.assert_frame_equal(dfbatch.open(str(path)).answers(), run.answers())


def test_an_export_to_a_place_that_is_not_there_is_an_error_in_words(run: dfbatch.Run, tmp_path: Path) -> None:
    told = say("export", run.id, str(tmp_path / "no" / "folder" / "topics.dfbatch"))

    assert told.exit_code == 1
    assert told.output.startswith("Error: ")


@pytest.mark.parametrize("command", ["show", "wait", "resume", "cancel"])
def test_an_unknown_run_is_an_error_in_words(command: str) -> None:
    told = say(command, "feedbeef")

    assert told.exit_code == 1
    assert told.output.startswith("Error: ")
    assert "feedbeef" in told.output
    assert "Hint: " in told.output


def test_a_missing_argument_and_an_unknown_command_are_usage_errors() -> None:
    assert say("show").exit_code == 2
    assert say("shwo", "abcd").exit_code == 2


def test_a_ledger_that_cannot_be_used_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("DFBATCH_HOME", str(tmp_path / "file"))
    told = say("runs")

    assert told.exit_code == 1
    assert told.output.startswith("Error: ")


def process(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The command as the shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "dfbatch.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_the_command_in_a_process_of_its_own_says_errors_without_a_traceback() -> None:
    started = process("show", "feedbeef")
    out, err = started.communicate(timeout=60)

    assert (started.returncode, out) == (1, "")
    assert err.startswith("Error: ")
    assert "Traceback" not in err


def test_the_installed_script_is_the_same_command() -> None:
    script = Path(sys.executable).with_name("dfbatch")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True, timeout=60)

    assert dfbatch.__version__ in done.stdout


def test_a_run_of_another_process_is_waited_for() -> None:
    with testing.Emulator(engine="sample", law="2"):
        run = dfbatch.submit(pd.DataFrame({"text": ["a", "b"]}), "Say {text}", progress=False)
        started = process("wait", run.id, ANTHROPIC_API_KEY="emulator")
        out, err = started.communicate(timeout=60)

        assert started.returncode == 0, err
        assert f"<Run {run.id} · done · 2/2 rows" in out
        assert run.wait().counts == {"succeeded": 2}


@pytest.mark.skipif(os.name == "nt", reason="signals are sent as Unix has them")
def test_the_stop_button_says_how_to_come_back() -> None:
    with testing.Emulator(engine="sample", law="600"):
        run = dfbatch.submit(pd.DataFrame({"text": ["a"]}), "Say {text}", progress=False)
        started = process("wait", run.id, ANTHROPIC_API_KEY="emulator")
        assert started.stderr is not None
        first = started.stderr.readline()  # what a log line says when it waits
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=60)
        run.cancel()

    assert first
    assert f"detached from run {run.id}" in err + out
    assert f"dfbatch.open('{run.id}')" in err + out
