"""The shell: the verbs of the README, errors in words with exit code 1, 75 while a run is not over."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import dfbatch
from dfbatch import cli, testing
from dfbatch.cli import main
from dfbatch.run import shelf

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).parents[1] / "README.md"
COMMANDS = [
    *("cancel", "costs", "emulate", "export", "fetch-model", "forget", "prices", "prune"),
    *("repair", "resolve", "resume", "retry", "runs", "show", "wait"),
]
OPTIONS = {
    "show": [],
    "runs": [],
    "prices": [],
    "costs": ["--since", "--by"],
    "export": [],
    "repair": [],
    "wait": ["--timeout"],
    "resume": ["--lost", "--budget", "--timeout", "--no-wait"],
    "retry": ["--which", "--via", "--max-tokens", "--model", "--timeout", "--no-wait"],
    "cancel": ["--timeout", "--no-wait"],
    "resolve": ["--pay-twice", "--timeout", "--no-wait"],
    "forget": ["--at-server", "--yes"],
    "prune": ["--older-than", "--yes"],
}


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


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_is_helped_with_a_sentence(command: str) -> None:
    told = say(command, "--help").output
    options = re.split(r"\n  (?=-)", told.partition("Options:")[2])[1:]

    assert [text.split()[0].rstrip(",") for text in options] == [*OPTIONS[command], "-h"]
    assert [
        text for text in options if not re.search(r"  +[A-Z][^[]*\.( +\[.*\])?$", " ".join(text.split("\n")).strip())
    ] == []


@pytest.mark.parametrize("command", ["show", "wait", "resume", "retry", "cancel"])
def test_help_names_the_exit_codes(command: str) -> None:
    assert re.search(r"Exits with 0 w\w+ it (is done|has ended), with 75", " ".join(say(command, "-h").output.split()))


@pytest.mark.parametrize("command", ["retry", "forget", "prune", "cancel"])
def test_what_costs_or_cannot_be_taken_back_is_helped_with_that(command: str) -> None:
    assert re.search(
        r"pay for them again|not reused any more|kept, and billed", " ".join(say(command, "-h").output.split())
    )


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
        rf"{run.id}  \d{{4}}-\d\d-\d\d \d\d:\d\d  done +2/3 rows +\$[\d.]+ as-if +[\d.]+ kB"
        r"  the answers of this test, not Claude  topics"
        r"  'Topic of: \{text\}'\n",
        told.output,
    )


@pytest.mark.parametrize("length", [8, 4])
def test_a_run_is_shown_by_its_id_or_the_start_of_it(run: dfbatch.Run, length: int) -> None:
    told = say("show", run.id[:length])

    assert told.exit_code == 0
    assert run.id in told.output
    assert re.search(r"succeeded +2 ", told.output)
    assert re.search(r"skipped +1 ", told.output)


@pytest.mark.parametrize("command", ["wait", "resume", "cancel", "retry"])
def test_a_run_that_is_done_stays_done(run: dfbatch.Run, command: str) -> None:
    told = say(command, run.id)

    assert told.exit_code == 0
    assert f"<Run {run.id} · done · 2/3 rows answered" in told.output


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
        assert f"<Run {run.id} · done · 2/2 rows answered" in out
        assert run.wait().counts == {"succeeded": 2}


@pytest.fixture
def under_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[testing.Emulator, str]]:
    """A run whose two batches take ten minutes, as it is found by other processes; and the emulator."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "emulator")
    with testing.Emulator(engine="sample", law="600") as emulator:
        run = dfbatch.submit(pd.DataFrame({"text": ["a", "b", "c"]}), "Say {text}", chunk_size=2, progress=False)
        yield emulator, run.wait(until="sent").id
        emulator.advance(1000)
        run.wait()


def run_of(command: str, *options: str) -> tuple[int, str, str]:
    """A command in a process of its own."""
    started = process(command, *options)
    out, err = started.communicate(timeout=60)
    return started.returncode, out, err


def test_show_ends_with_75_while_a_run_is_not_over(under_way: tuple[testing.Emulator, str]) -> None:
    code, out, err = run_of("show", under_way[1])

    assert (code, err) == (75, "")
    assert f"dfbatch run {under_way[1]}: waiting for 2 batches for " in out
    assert "· pending  3" in out


@pytest.mark.parametrize("command", ["wait", "resume"])
def test_time_that_is_over_ends_with_75(under_way: tuple[testing.Emulator, str], command: str) -> None:
    code, out, err = run_of(command, under_way[1], "--timeout", "0.3")

    assert (code, out) == (75, "")
    assert f"run {under_way[1]} is still waiting for answers after 0.3 s\n" in err
    assert "\nall is sent: it goes on at the server\n" in err
    assert "Traceback" not in err


def test_resume_without_waiting_ends_when_all_is_sent(under_way: tuple[testing.Emulator, str]) -> None:
    code, out, _ = run_of("resume", under_way[1], "--no-wait")

    assert code == 75
    assert out.startswith(f"<Run {under_way[1]} · waiting · 0/3 rows")


def test_cancel_without_waiting_ends_when_the_server_knows(under_way: tuple[testing.Emulator, str]) -> None:
    emulator, run_id = under_way
    code, out, err = run_of("cancel", run_id, "--no-wait")
    with httpx.Client(
        base_url=emulator.url, headers={"x-api-key": "emulator", "anthropic-version": "2023-06-01"}
    ) as api:
        batches = api.get("/v1/messages/batches").json()["data"]

    assert code in (0, 75), err
    assert out.startswith(f"<Run {run_id} · cancel")
    assert all(batch["cancel_initiated_at"] for batch in batches)
    assert len(batches) == 2


def test_resolve_asks_again_what_is_in_doubt_and_only_with_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "emulator")
    with testing.Emulator(engine="sample", faults=["500@create:times=1"]) as emulator:
        run = dfbatch.submit(pd.DataFrame({"text": ["a", "b"]}), "Say {text}", progress=False)
        states = [[chunk.state for chunk in run._ledger.chunks(run.id)]]
        told = [say("resolve", run.id).exit_code, say("resolve", run.id, "--pay-twice").exit_code]
        states.append([chunk.state for chunk in run._ledger.chunks(run.id)])

        assert told == [2, 0]
        assert states == [["orphaned"], ["abandoned", "collected"]]
        assert set(emulator.usage()["billed_by_digest"].values()) == {1}


def test_a_run_that_cannot_go_on_ends_with_75_and_says_why(run: dfbatch.Run) -> None:
    chunk = run._ledger.chunks(run.id)[0]
    run._ledger.note(chunk.id, state="lost", error="batch msgbatch_1 is not there any more")
    run._ledger.say(run.id, "paused", "batch msgbatch_1 is not there any more")
    shelf._known.clear()
    told = say("wait", run.id)

    assert told.exit_code == 75
    assert "batch msgbatch_1 is not there any more: no answer to 2 requests of run" in told.output
    assert "Hint: " in told.output
    assert say("resume", run.id, "--lost", "missing").exit_code == 0


def test_retry_asks_what_it_is_told_to() -> None:
    seen: list[dict[str, Any]] = []

    def answer(params: dict[str, Any]) -> str:
        seen.append(params)
        return "sport" if params["model"] == "claude-sonnet-5-5" else "neither"

    with testing.answers(answer):
        frame = pd.DataFrame({"text": ["a", "b"]})
        made = dfbatch.submit(frame, "{text}", Literal["sport", "tech"], correct=False, progress=False).wait()
        before = len(seen)
        with pytest.warns(UserWarning, match=f"no row of run {made.id} is expired or errored: nothing is asked"):
            nothing = say("retry", made.id, "--which", "expired", "--which", "errored")
        asked = len(seen)
        told = say(
            *("retry", made.id, "--which", "invalid", "--via", "now"),
            *("--max-tokens", "77", "--model", "claude-sonnet-5-5"),
        )

        assert made.counts == {"succeeded": 2}
    assert (nothing.exit_code, asked) == (0, before)
    assert (told.exit_code, len(seen)) == (0, before + 2)
    assert {(params["model"], params["max_tokens"]) for params in seen[before:]} == {("claude-sonnet-5-5", 77)}
    assert f"<Run {made.id} · done · 2/2 rows answered" in told.output


@pytest.mark.parametrize(
    "arguments",
    [["--via", "pigeon"], ["--max-tokens", "0"], ["--max-tokens", "many"], ["--timeout", "-1"], ["--soon"]],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_usage_errors(run: dfbatch.Run, arguments: list[str]) -> None:
    assert say("retry", run.id, *arguments).exit_code == 2


def test_an_outcome_that_is_none_is_an_error_in_words(run: dfbatch.Run) -> None:
    told = say("retry", run.id, "--which", "failed")

    assert told.exit_code == 1
    assert told.output.startswith("Error: which='failed' cannot be asked again\nHint: ")


def test_forget_asks_first(run: dfbatch.Run) -> None:
    no = CliRunner().invoke(main, ["forget", run.id], input="n\n")
    left = len(dfbatch.runs())
    yes = CliRunner().invoke(main, ["forget", run.id[:5]], input="y\n")

    assert (no.exit_code, left) == (1, 1)
    assert no.output.startswith(f"Remove run {run.id} (3 rows) from this machine? [y/N]: n\n")
    assert yes.exit_code == 0
    assert yes.output.endswith(f"run {run.id} removed from this machine\n")
    assert dfbatch.runs() == []


def test_forget_deletes_at_the_server_where_that_is_said(run: dfbatch.Run) -> None:
    told = say("forget", run.id, "--at-server", "--yes")
    back = dfbatch.submit(pd.DataFrame({"text": ["A goal!"]}), "{text}", progress=False).wait()

    assert (told.exit_code, told.output) == (0, f"run {run.id} removed from this machine and the server\n")
    assert [made.id for made in dfbatch.runs()] == [back.id]


def test_nobody_to_ask_means_no(run: dfbatch.Run) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "dfbatch.cli", "forget", run.id],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert started.returncode == 1
    assert [made.id for made in dfbatch.runs()] == [run.id]


def test_repair_says_what_was_mended_and_what_is_lost(run: dfbatch.Run) -> None:
    whole = say("repair")
    (raw,) = (run._ledger.folder / "chunks").glob("*.jsonl")
    raw.unlink()
    listed = say("runs")
    mended = say("repair", run.id)
    (run._ledger.folder / "runs" / run.id / "requests.npy").unlink()
    (run._ledger.folder / "runs" / run.id / "rows.npy").write_bytes(b"")
    dfbatch.run.close_ledgers()
    lost, after = say("repair"), say("show", run.id)

    assert (whole.exit_code, whole.output) == (0, "nothing is damaged\n")
    assert re.search(rf"^{run.id} .*  damaged .*\(jsonl is gone\)$", listed.output, re.MULTILINE)
    assert (mended.exit_code, mended.output) == (
        0,
        f"run {run.id}: {raw.name} is gone: fetched again from the server\n",
    )
    assert lost.exit_code == 1
    assert f"run {run.id}: requests.npy is gone: it cannot be made again; run the cell again" in lost.output
    assert (after.exit_code, after.output.splitlines()[0]) == (
        1,
        f"Error: run {run.id} is damaged: runs/{run.id}/requests.npy is gone",
    )
    assert say("forget", run.id, "--yes").exit_code == 0


def test_prune_says_what_was_freed(run: dfbatch.Run) -> None:
    kept = say("prune", "--older-than", "30", "--yes")
    no = CliRunner().invoke(main, ["prune", "--older-than", "0"], input="n\n")
    left = len(dfbatch.runs())
    gone = say("prune", "--older-than", "0", "--yes")

    assert (kept.exit_code, kept.output) == (0, "0 runs removed, 0 B freed\n")
    assert (no.exit_code, left) == (1, 1)
    assert no.output.startswith("Remove all runs that are over and older than 0 days? [y/N]: ")
    assert gone.exit_code == 0
    assert re.fullmatch(r"1 run removed, [\d.]+ kB freed\n", gone.output)
    assert dfbatch.runs() == []
    assert say("prune").exit_code == 2


@pytest.mark.skipif(os.name == "nt", reason="signals are sent as Unix has them")
def test_the_stop_button_says_in_words_of_the_shell_how_to_come_back(under_way: tuple[testing.Emulator, str]) -> None:
    run_id = under_way[1]
    started = process("wait", run_id)
    assert started.stderr is not None
    first = started.stderr.readline()  # what a log line says when it waits
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)

    assert first
    assert (started.returncode, out) == (75, "")
    assert err.endswith(
        f"detached from run {run_id}: 2 of 2 chunks sent, nothing further is sent\n"
        "at the server, and perhaps billed: 3 requests; answers are collected when you come back\n"
        f"Hint: `dfbatch wait {run_id}` comes back; `dfbatch cancel {run_id}` cancels\n"
    )
    assert "while this process lives" not in first + err


def test_chunks_that_were_not_sent_are_named_with_the_command_that_sends_them() -> None:
    with testing.Emulator(engine="sample"):
        run = dfbatch.submit(pd.DataFrame({"text": ["a", "b"]}), "Say {text}", chunk_size=1, progress=False).wait()
        first, second = run._ledger.chunks(run.id)
        run._ledger.note(first.id, state="submitted")
        run._ledger.note(second.id, state="planned")

        assert cli._detached(run, "") == (
            f"detached from run {run.id}: 1 of 2 chunks sent, nothing further is sent\n"
            "at the server, and perhaps billed: 1 request; answers are collected when you come back\n"
            f"Hint: `dfbatch wait {run.id}` comes back; `dfbatch resume {run.id}` sends the other 1;"
            f" `dfbatch cancel {run.id}` cancels"
        )
        assert cli._detached(None, "as it was") == "as it was"


def test_prices_are_printed_each_with_its_source() -> None:
    told = say("prices")

    assert told.exit_code == 0
    assert re.search(
        r"claude-haiku-4-5 +0\.5 / 2\.5 +1 / 5 +1\.25 / 2 / 0\.1  platform\.claude\.com, .* 2026", told.output
    )
    assert "dearer past 100,000 tokens" in told.output


@pytest.mark.parametrize("by", ["run", "model", "day"])
def test_costs_are_summed_up(run: dfbatch.Run, by: str) -> None:
    told = say("costs", "--by", by)
    about = {"run": f"{run.id} topics", "model": "claude-haiku-5-5", "day": r"\d{4}-\d\d-\d\d"}[by]

    assert told.exit_code == 0
    line, total = told.output.splitlines()
    assert re.fullmatch(rf"{about} +2 requests +\$0\.0\d+ as-if  \(\d+ in, \d+ out\)", line)
    assert total.startswith("all ")


def test_days_without_costs_are_said_in_words_and_no_number_of_days_is_refused(run: dfbatch.Run) -> None:
    assert say("costs", "--since", "0d").output == "nothing was collected in the last 0 days\n"
    assert say("costs", "--since", "long").exit_code == 2
