from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from click.testing import CliRunner

from dfbatch.emulator.__main__ import main

from .api import ROUTE, ask

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
COMMAND = [sys.executable, "-m", "dfbatch.emulator"]
AS_VERB = [sys.executable, "-m", "dfbatch.cli", "emulate"]


def still_missing(path: Path, process: subprocess.Popen[Any]) -> bool:
    """Waits, a little at a time, until the file is there (False) or the process has ended (True)."""
    while not path.exists():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            return True
    return False


@contextmanager
def emulator(folder: Path, *options: str, command: list[str] = COMMAND) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """The command running, and what its ready file says."""
    ready = folder / "ready.json"
    words = [*command, "--port", "0", "--engine", "sample", "--ready-file", str(ready), *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert still_missing(ready, process) is False, process.communicate()
            yield process, json.loads(ready.read_text())
        finally:
            process.kill()


@pytest.mark.parametrize("command", [COMMAND, AS_VERB])
def test_it_prints_the_two_environment_lines_and_stops_at_sigterm(tmp_path: Path, command: list[str]) -> None:
    with emulator(tmp_path, command=command) as (process, facts):
        health = httpx.get(f"{facts['url']}/_emulator/health").json()
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=10)

    assert {key: facts[key] for key in ("engine", "pid", "version")} == {
        "engine": "sample",
        "pid": process.pid,
        "version": health["version"],
    }
    assert printed.splitlines() == [
        f"export ANTHROPIC_BASE_URL={facts['url']}",
        "export ANTHROPIC_API_KEY=any-key-will-do",
    ]
    assert process.returncode == 0
    assert not (tmp_path / "ready.json").exists()


def test_it_stops_at_ctrl_c(tmp_path: Path) -> None:
    with emulator(tmp_path, "--quiet") as (process, _facts):
        process.send_signal(signal.SIGINT)

        assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 0


def test_it_stops_cleanly_in_the_midst_of_its_work(tmp_path: Path) -> None:
    options = ("--data", str(tmp_path / "data"), "--tier", "none", "--law", "0", "--fault", "slow@results:seconds=60")
    requests = [{"custom_id": f"r{row}", "params": ask(f"text {row}")} for row in range(2_000)]
    with (
        emulator(tmp_path, *options) as (process, facts),
        httpx.Client(base_url=facts["url"], headers=HEADERS, timeout=30) as client,
    ):
        done = client.post(ROUTE, json={"requests": requests[:9]}).json()
        client.post("/_emulator/clock", json={"advance_seconds": 1})
        client.post(ROUTE, json={"requests": requests})
        with client.stream("GET", f"{ROUTE}/{done['id']}/results") as reply:
            process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                reply.read()
        _, told = process.communicate(timeout=10)

    assert process.returncode == 0
    assert told == "# answers come from sample, not from Claude; stop with Ctrl-C\n"
    assert list((tmp_path / "data").glob("*-wal")) == []


def test_the_ready_file_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with emulator(tmp_path) as (process, _facts), emulator(tmp_path) as (successor, _both):
        while json.loads(ready.read_text())["pid"] != successor.pid:
            with suppress(subprocess.TimeoutExpired):
                successor.wait(0.02)
        process.terminate()
        process.communicate(timeout=10)

        assert json.loads(ready.read_text())["pid"] == successor.pid
        successor.terminate()
        successor.communicate(timeout=10)

        assert not ready.exists()


def test_faults_seed_speed_and_tier_are_taken_from_the_command(tmp_path: Path) -> None:
    options = ("--fault", "529@list:times=1", "--fault", "crlf", "--seed", "7", "--tier", "build", "--speed", "3600")
    with (
        emulator(tmp_path, *options, "--law", "fixed:3600", command=AS_VERB) as (_process, facts),
        httpx.Client(base_url=facts["url"], headers=HEADERS) as client,
    ):
        statuses = [client.get(ROUTE).status_code for _ in range(2)]
        batch = client.post(ROUTE, json={"requests": [{"custom_id": "a", "params": ask()}]}).json()
        client.post("/_emulator/clock", json={"advance_seconds": 1})
        done = client.get(f"{ROUTE}/{batch['id']}")
        lines = client.get(f"{ROUTE}/{batch['id']}/results").content

    assert (facts["seed"], statuses) == (7, [529, 200])
    assert done.json()["processing_status"] == "ended"  # an hour of processing took a second
    assert done.headers["anthropic-ratelimit-requests-limit"] == "2000"
    assert lines.endswith(b"}\r\n")


def test_it_goes_when_the_process_it_was_started_for_goes(tmp_path: Path) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as owner,
        emulator(tmp_path, "--exit-with-parent", str(owner.pid)) as (process, _facts),
    ):
        assert process.poll() is None
        owner.communicate("\n")
        process.communicate(timeout=10)

    assert process.returncode == 0


def test_it_goes_when_its_own_parent_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    script = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([*{COMMAND!r}, '--port', '0', '--engine', 'sample', '--ready-file', {str(ready)!r},"
        " '--exit-with-parent', str(os.getpid())])\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert still_missing(ready, parent) is False
        url = json.loads(ready.read_text())["url"]
        parent.kill()
        assert parent.stdout is not None
        parent.stdout.read()  # ends when the emulator, which holds the other end, has gone

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/_emulator/health")


def test_state_outlives_the_process(tmp_path: Path) -> None:
    seen: list[list[Any]] = []
    options = ("--data", str(tmp_path / "data"), "--law", "0")
    body = {"requests": [{"custom_id": "a", "params": ask()}]}
    for turn in range(2):
        with (
            emulator(tmp_path, *options) as (process, facts),
            httpx.Client(base_url=facts["url"], headers=HEADERS) as client,
        ):
            if not turn:
                batch = client.post(ROUTE, json=body).json()
                client.post("/_emulator/clock", json={"advance_seconds": 7200})
                client.post(ROUTE, json=body)
                client.post("/_emulator/clock", json={"advance_seconds": 0})
                client.post("/v1/messages", json=ask())
            listed = client.get(ROUTE)
            usage = client.get("/_emulator/usage").json() | {"calls": None}
            clock = client.get("/_emulator/clock").json()["advanced_seconds"]
            results = client.get(f"{ROUTE}/{batch['id']}/results").content
            organization = listed.headers["anthropic-organization-id"]
            told = [{**one, "results_url": None} for one in listed.json()["data"]]  # on the new process's port
            seen.append([told, usage, clock, results, organization])
            process.terminate()
            process.communicate(timeout=10)

    assert seen[0] == seen[1]
    assert [one["processing_status"] for one in seen[0][0]] == ["ended", "ended"]
    assert (seen[0][1]["requests"], seen[0][2]) == (3, 7200)


def test_a_folder_in_use_and_a_damaged_one_are_told_apart(tmp_path: Path) -> None:
    data, damaged = tmp_path / "data", tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "state.sqlite").write_bytes(b"no database " * 100)
    with emulator(tmp_path, "--data", str(data)):
        texts = [
            CliRunner().invoke(main, ["--port=0", "--engine=sample", f"--data={folder}"]).output
            for folder in (data, damaged)
        ]

    assert texts == [
        f"Error: {data} is in use by another emulator (database is locked)\n",
        f"Error: {damaged} holds a database that cannot be opened (file is not a database)\n",
    ]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 is not a loopback address"),
        (["--fault", "earthquake"], "unknown fault 'earthquake'"),
        (["--law", "sometimes"], "not a law: 'sometimes'"),
        (["--engine", "gpt"], "unknown engine 'gpt'"),
        (["--speed", "0"], "speed must be a number above 0"),
        (["--engine", "none.gguf"], "no model weights at none.gguf"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_line(options: list[str], text: str) -> None:
    engine = [] if "--engine" in options else ["--engine", "sample"]
    result = CliRunner().invoke(main, ["--port", "0", *engine, *options])

    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert text in result.output


def test_a_port_that_is_none_is_refused() -> None:
    assert "99999 is not in the range 0<=x<=65535" in CliRunner().invoke(main, ["--port", "99999"]).output


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with emulator(tmp_path) as (_process, facts):
        port = facts["url"].rpartition(":")[2]
        result = CliRunner().invoke(main, ["--port", port, "--engine", "sample"])

    assert result.exit_code == 1
    assert f"(127.0.0.1:{port})" in result.output


def test_an_address_others_can_reach_needs_a_word_and_gets_a_warning(tmp_path: Path) -> None:
    with emulator(tmp_path, "--host", "0.0.0.0", "--unsafe-bind") as (process, facts):
        port = facts["url"].rpartition(":")[2]
        reply = httpx.get(f"http://127.0.0.1:{port}/_emulator/health")
        process.terminate()
        _, told = process.communicate(timeout=10)

    assert reply.status_code == 200
    assert "Warning: everyone who can reach this address can use this emulator." in told


def test_help_names_every_option() -> None:
    text = CliRunner().invoke(main, ["--help"]).output

    for option in ("--port", "--engine", "--model-file", "--data", "--speed", "--tier", "--fault", "--seed", "--law"):
        assert option in text
    assert os.path.sep + "home" not in text
