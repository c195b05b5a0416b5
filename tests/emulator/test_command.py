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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "dfbatch.emulator"]


def still_missing(path: Path, process: subprocess.Popen[Any]) -> bool:
    """Waits, a little at a time, until the file is there (False) or the process has ended (True)."""
    while not path.exists():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            return True
    return False


@contextmanager
def emulator(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """The command running, and what its ready file says."""
    ready = folder / "ready.json"
    command = [*COMMAND, "--port", "0", "--engine", "sample", "--ready-file", str(ready), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert still_missing(ready, process) is False, process.communicate()
            yield process, json.loads(ready.read_text())
        finally:
            process.kill()


def test_it_prints_the_two_environment_lines_and_stops_at_sigterm(tmp_path: Path) -> None:
    with emulator(tmp_path) as (process, facts):
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
    from .api import ROUTE, ask

    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    data = ("--data", str(tmp_path / "data"))
    with emulator(tmp_path, *data) as (process, facts):
        body = {"requests": [{"custom_id": "a", "params": ask()}]}
        batch = httpx.post(facts["url"] + ROUTE, json=body, headers=headers).json()
        process.terminate()
        process.wait(10)
    with emulator(tmp_path, *data) as (_process, facts):
        found = httpx.get(f"{facts['url']}{ROUTE}/{batch['id']}", headers=headers).json()

    assert found["created_at"] == batch["created_at"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 is not a loopback address"),
        (["--fault", "earthquake"], "unknown fault 'earthquake'"),
        (["--law", "sometimes"], "not a law: 'sometimes'"),
        (["--engine", "gpt"], "unknown engine 'gpt'"),
        (["--speed", "0"], "speed must be above 0"),
        (["--engine", "none.gguf"], "no model weights at none.gguf"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_line(options: list[str], text: str) -> None:
    engine = [] if "--engine" in options else ["--engine", "sample"]
    result = CliRunner().invoke(main, ["--port", "0", *engine, *options])

    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert text in result.output


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
