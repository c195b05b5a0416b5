"""A model on this machine: its child is started once, found again, and ends with whoever started it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import select
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pytest

import dfbatch
from dfbatch.backends.local import Local
from dfbatch.errors import ModelMissing, OptionError, Unreachable
from tests.backends.conftest import Blocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from dfbatch.backends import Batch
    from dfbatch.backends.anthropic import Anthropic
    from dfbatch.requests import Body

    Ask = Callable[[Anthropic, Callable[[Anthropic], Any]], Any]

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits for processes as Linux lets one")

# Another process: makes the backend over our folder, does its part, and stays until its input ends.
BEGIN = """
import asyncio, json, sys
from pathlib import Path
from dfbatch.backends.local import Local

class Body(list):
    length = property(lambda self: sum(map(len, self)))

request = {"custom_id": "a1", "params": {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [
    {"role": "user", "content": "Say something."}]}}
backend = Local("sample")
backend.ready(Path(sys.argv[1]))
"""
SUBMIT = """
async def go():
    accepted = await backend.submit(Body([json.dumps({"requests": [request]}).encode()]), ())
    await backend.close()
    print(accepted.batch.id, backend._child.pid, flush=True)
asyncio.run(go())
sys.stdin.read()
"""
PROBE = """
async def go():
    await backend.probe()
    await backend.close()
    print(json.loads((backend._folder / "ready.json").read_text())["pid"], flush=True)
asyncio.run(go())
sys.stdin.read()
"""


class Other:
    """Another process, until it is told to end."""

    def __init__(self, code: str, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(BEGIN) + code, str(home)],
            cwd=Path(dfbatch.__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def said(self) -> list[str]:
        """Its next line, in words."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return line.split()

    def end(self, *, kill: bool = False) -> None:
        if kill:
            self.process.kill()
        self.process.communicate(timeout=30)


PARAMS = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Say something."}]}


@pytest.fixture
def small_batch() -> Body:
    """A chunk of one request."""
    return cast("Body", Blocks(json.dumps({"requests": [{"custom_id": "a1", "params": PARAMS}]}).encode()))


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[Callable[[], Local]]:
    """Backends over one folder; children that they started end with the test."""
    made: list[Local] = []

    def make() -> Local:
        backend = Local("sample")
        backend.ready(tmp_path)
        made.append(backend)
        return backend

    yield make
    for backend in made:
        if backend._child:
            backend._child.terminate()
            backend._child.wait(10)
            assert backend._child.stdout
            backend._child.stdout.close()


def ends(pid: int) -> bool:
    """Whether a process ends, or has ended already."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(handle):
        return bool(select.select([handle], [], [], 10)[0])


async def collected(backend: Anthropic, batch_id: str) -> bytes:
    batch: Batch | None = None
    while batch is None or not batch.ended:
        batch = (await backend.poll([batch_id]))[batch_id]
    blocks: AsyncIterator[bytes] = backend.results(batch_id)
    return b"".join([block async for block in blocks])


def test_what_one_process_submitted_another_collects_after_the_first_and_its_child_ended(
    tmp_path: Path, sample: Callable[[], Local], ask: Ask
) -> None:
    other = Other(SUBMIT, tmp_path)
    batch_id, child = other.said()
    other.end()
    assert ends(int(child))

    assert b'"custom_id":"a1"' in ask(sample(), lambda backend: collected(backend, batch_id))


def test_right_after_a_kill_the_next_process_starts_a_child_of_its_own(
    tmp_path: Path, sample: Callable[[], Local], ask: Ask
) -> None:
    other = Other(SUBMIT, tmp_path)
    batch_id, child = other.said()
    other.end(kill=True)

    backend = sample()
    assert b'"custom_id":"a1"' in ask(backend, lambda backend: collected(backend, batch_id))
    assert ends(int(child))
    assert backend._child
    assert backend._child.pid != int(child)


def test_processes_that_start_at_the_same_time_share_one_child(tmp_path: Path) -> None:
    others = [Other(PROBE, tmp_path) for _ in range(3)]
    pids = {other.said()[0] for other in others}
    for other in others:
        other.end()

    assert len(pids) == 1
    assert ends(int(pids.pop()))


def test_a_second_backend_of_this_process_finds_the_child_of_the_first(sample: Callable[[], Local], ask: Ask) -> None:
    first, second = sample(), sample()
    ask(first, lambda backend: backend.probe())
    ask(second, lambda backend: backend.probe())

    assert first.base_url == second.base_url
    assert second._child is None


def test_a_child_that_died_is_started_again(sample: Callable[[], Local], ask: Ask) -> None:
    backend = sample()
    ask(backend, lambda backend: backend.probe())
    first = backend._child
    assert first
    assert first.stdout
    first.kill()
    first.wait(10)
    first.stdout.close()
    ask(backend, lambda backend: backend.probe())

    assert backend._child is not first


def test_the_child_does_all_that_the_api_does(sample: Callable[[], Local], ask: Ask, small_batch: Body) -> None:
    async def whole(backend: Anthropic) -> tuple[Any, ...]:
        began = await backend.probe()
        accepted = await backend.submit(small_batch, ())
        listing = await backend.find(began or 0.0)
        await collected(backend, accepted.batch.id)
        await backend.delete(accepted.batch.id)
        gone = await backend.find(0.0)
        message = json.loads(await backend.ask(json.dumps(PARAMS).encode(), ()))
        return began, accepted, listing, gone, message

    backend = sample()
    began, accepted, listing, gone, message = ask(backend, whole)

    assert began
    assert listing.now >= began
    assert [(batch.id, batch.requests) for batch in listing.batches] == [(accepted.batch.id, 1)]
    assert listing.batches[0].created >= began
    assert gone.batches == []
    assert (message["type"], message["role"]) == ("message", "assistant")


@pytest.mark.parametrize(
    "verb",
    [
        lambda backend: backend.probe(),
        lambda backend: backend.find(0.0),
        lambda backend: backend.poll(["a"]),
        lambda backend: backend.delete("a"),
        lambda backend: backend.ask(json.dumps(PARAMS).encode(), ()),
    ],
)
def test_whatever_is_asked_first_the_child_is_started(
    verb: Callable[[Anthropic], Any], sample: Callable[[], Local], ask: Ask
) -> None:
    backend = sample()
    ask(backend, verb)

    assert backend._child


def test_all_that_a_child_keeps_is_private(sample: Callable[[], Local], ask: Ask, tmp_path: Path) -> None:
    ask(sample(), lambda backend: backend.probe())

    kept = list((tmp_path / "local").rglob("*"))
    assert len(kept) > 5
    assert [str(path) for path in kept if path.stat().st_mode & 0o077] == []


def test_who_answers_is_said_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"text": ["a", "b"]})
    backend = dfbatch.Local("sample")
    dfbatch.batch(frame, "Say {text}", backend=backend, progress="log")
    run = dfbatch.last_run()
    shown = capsys.readouterr()
    assert backend._child
    backend._child.terminate()
    backend._child.wait(10)

    assert backend.answered_by == "the sample engine, not Claude"
    assert run.record.answered_by == run.snapshot().answered_by == "the sample engine, not Claude"
    assert "the sample engine, not Claude" in shown.err
    assert "the sample engine, not Claude" in run._repr_html_()
    assert "as-if" in str(run.cost)


def test_who_answers_is_engine_weights_and_seed_never_a_port(tmp_path: Path) -> None:
    weights = tmp_path / "a.gguf"
    weights.write_bytes(b"weights")
    whos = [Local("sample").who, Local("sample", seed=7).who, Local("smollm2", model_file=weights).who]

    digest = hashlib.sha256(b"weights").hexdigest()
    assert whos == ["local sample - 0", "local sample - 7", f"local smollm2 {digest} 0"]


def test_missing_weights_are_named_and_nothing_else_answers(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        Local("smollm2", model_file=tmp_path / "none.gguf").ready(tmp_path)

    assert str(caught.value) == (
        f"the weights of the local model are missing: {tmp_path}/none.gguf\n"
        "no other engine answers in its place: that would be a silent fallback\n"
        'Hint: run `dfbatch fetch-model`, or use backend=dfbatch.Local(engine="sample") for synthetic answers'
    )


@pytest.mark.parametrize(("package", "engine"), [("starlette", "sample"), ("xllamacpp", "smollm2")])
def test_missing_packages_are_named(package: str, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelMissing) as caught:
        Local(engine).ready(tmp_path)

    assert str(caught.value) == (
        f"the local backend needs the package {package!r}, which is not installed\n"
        "nothing was sent\n"
        'Hint: pip install "dfbatch[local]"'
    )


def test_missing_packages_are_named_before_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    backend = Local("smollm2", model_file=tmp_path / "none.gguf")
    with pytest.raises(ModelMissing, match=r"^the local backend needs the package 'xllamacpp'"):
        _ = backend.who
    with pytest.raises(ModelMissing, match=r"^the local backend needs the package 'xllamacpp'"):
        backend.ready(tmp_path)


def test_a_child_that_ended_between_two_calls_is_started_again(tmp_path: Path, ask: Ask) -> None:
    backend = Local("sample")
    backend.ready(tmp_path)
    ask(backend, lambda backend: backend.probe())
    backend.base_url, child = "http://127.0.0.1:1", backend._child  # as if it had been there
    assert child is not None
    child.kill()
    child.wait()

    assert ask(backend, lambda backend: backend.poll(["msgbatch_none"])) == {"msgbatch_none": None}


def test_a_child_that_does_not_answer_is_no_api_that_cannot_be_reached(tmp_path: Path, ask: Ask) -> None:
    backend = Local("sample")
    backend.ready(tmp_path)
    ask(backend, lambda backend: backend.probe())
    backend.base_url = "http://127.0.0.1:1"
    with pytest.raises(Unreachable) as caught:
        ask(backend, lambda backend: backend.poll(["msgbatch_none"]))
    with pytest.raises(Unreachable, match=r"^the model on this machine does not answer: "):
        ask(backend, lambda backend: anext(backend.results("msgbatch_none")))

    assert str(caught.value) == (
        "the model on this machine does not answer: ConnectError at http://127.0.0.1:1: All connection attempts"
        " failed\n"
        "nothing was accepted\n"
        f"Hint: it is started again where it has ended; what it said is in {backend._folder / 'server.log'}"
    )


def test_what_fails_while_the_process_ends_is_not_worth_a_note(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child ends first: who still polls waits for the end, and writes nothing into the ledger."""
    backend = Local("sample")
    backend.ready(tmp_path)
    ask(backend, lambda backend: backend.probe())
    backend.base_url = "http://127.0.0.1:1"
    leaving = threading.Event()
    leaving.set()
    monkeypatch.setattr("dfbatch.backends.local._leaving", leaving)

    with pytest.raises(TimeoutError):
        ask(backend, lambda backend: asyncio.wait_for(backend.poll(["msgbatch_none"]), 1))


def test_a_child_that_cannot_start_is_quoted(tmp_path: Path, ask: Ask) -> None:
    backend = Local("sample")
    backend.ready(tmp_path)
    (backend._folder / "data").write_text("a file where a folder should be")

    with pytest.raises(Unreachable) as caught:
        ask(backend, lambda backend: backend.probe())

    first, *known, hint = str(caught.value).splitlines()
    assert first == "the local engine 'sample' did not start (exit code 2)"
    assert known
    assert hint == f"Hint: see {backend._folder / 'server.log'}"


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        Local("gpt")  # type: ignore[arg-type]  # that is the point

    assert str(caught.value) == "engine='gpt'\nHint: one of 'smollm2', 'sample'"
