"""`python -m dfbatch.emulator`: the emulator in a process of its own; `dfbatch emulate` is the same command.

Not here: the server (server.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dfbatch.emulator.limits import TIERS
from dfbatch.emulator.listener import UnsafeBind
from dfbatch.emulator.server import Server
from dfbatch.emulator.store import InUse

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 0.5
# the law unless one is given: a real model takes its own time, the others are given minutes
_LAWS = {"sample": "lognormal:120:0.6"}


@click.command("emulate", context_settings={"show_default": True})
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option("--port", default=8787, type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.")
@click.option("--engine", default="smollm2", help="Who answers: smollm2, sample, or the path of a GGUF file.")
@click.option("--model-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Weights for smollm2.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder for the state; temporary if left out."
)
@click.option("--seed", default=0, help="Answers, order, durations and faults follow from it.")
@click.option("--law", help="Seconds a request takes: 0, fixed:30, uniform:10:60, lognormal:120:0.6.")
@click.option("--speed", default=60.0, help="Divides those durations; the clock itself keeps wall time.")
@click.option("--lanes", default=1000, help="Requests of a batch processed at the same time.")
@click.option("--output-law", default="lognormal:40:0.6", help="Tokens of a free answer of the sample engine.")
@click.option("--tier", default="start", type=click.Choice(list(TIERS)), help="Rate limits and queue of this tier.")
@click.option("--fault", "faults", multiple=True, help="Something to go wrong: 429@create:times=2. May be repeated.")
@click.option(
    "--cache-hit", default=1.0, type=click.FloatRange(0, 1), help="Share of possible prompt cache hits that do hit."
)
@click.option("--seed-id", help="A batch id that answers by shape, for test suites written against a mock.")
@click.option("--ready-file", type=click.Path(dir_okay=False, path_type=Path), help="Write JSON here once listening.")
@click.option("--exit-with-parent", type=int, help="Stop when the process with this id is gone.")
@click.option("--unsafe-bind", is_flag=True, help="Allow addresses others can reach.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def main(ready_file: Path | None, exit_with_parent: int | None, *, quiet: bool, **options: Any) -> None:
    """An emulator of Anthropic's Message Batches API on this machine, for any client of it."""
    alive = _watch(exit_with_parent)  # first of all: once it is gone, it can no longer be known as our parent
    if options["law"] is None:
        options["law"] = _LAWS.get(options["engine"], "0")
    if options["unsafe_bind"]:
        click.echo("Warning: everyone who can reach this address can use this emulator.", err=True)
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    try:
        with _opened(options) as server:
            if ready_file is not None:
                _announce(ready_file, server)
            if not quiet:
                _greet(server)
            while alive() and not done.wait(_PATIENCE):
                pass
    finally:
        if ready_file is not None:
            _withdraw(ready_file)


def _opened(options: dict[str, Any]) -> Server:
    try:
        return Server(**options).start()
    except (UnsafeBind, InUse, FileNotFoundError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        place = error.filename or f"{options['host']}:{options['port']}"
        raise click.ClickException(f"cannot start: {error.strerror} ({place})") from error


def _announce(path: Path, server: Server) -> None:
    """Atomically: whoever sees the file sees all of it."""
    health = server.house.health()
    facts = {key: health[key] for key in ("engine", "model_digest", "seed", "version", "pid")}
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps({"url": server.url, **facts}), encoding="utf-8")
    draft.replace(path)


def _withdraw(path: Path) -> None:
    """Unless a successor has written its own there by now."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # gone, or not one of ours
        if json.loads(path.read_text(encoding="utf-8"))["pid"] == os.getpid():
            path.unlink()


def _greet(server: Server) -> None:
    click.echo(f"export ANTHROPIC_BASE_URL={server.url}")
    click.echo("export ANTHROPIC_API_KEY=any-key-will-do")
    click.echo(f"# answers come from {server.engine.name}, not from Claude; stop with Ctrl-C", err=True)
    sys.stdout.flush()


def _watch(pid: int | None) -> Callable[[], bool]:
    """Tells whether that process still lives; for our parent by asking who our parent is, which no new pid can fake."""
    if pid is None:
        return lambda: True
    if os.getppid() == pid and os.name != "nt":
        return lambda: os.getppid() == pid
    return lambda: _lives(pid)


def _lives(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end it there
        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
        handle = kernel.OpenProcess(0x100000, 0, pid)  # SYNCHRONIZE
        running = bool(handle) and kernel.WaitForSingleObject(handle, 0) == 0x102  # WAIT_TIMEOUT
        kernel.CloseHandle(handle)
        return running
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Killed, but its own parent has not asked how it went; only Linux tells without another program."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


if __name__ == "__main__":
    main()
