"""The first request goes ahead alone: a slip in the call costs nothing and is told in seconds; all else is no news."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import ApiError, NotFound, RunPaused, Unauthorized

from .lossy import LossyServer
from .plain_server import Gate
from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MANY = [f"text {at}" for at in range(30)]
CELL = """
import sys, polars as pl, dfbatch
texts = [f"text {at}" for at in range(30)]
backend = dfbatch.Anthropic(base_url=sys.argv[1])
pl.DataFrame({"text": texts}).claude.batch("{text}", model="claude-haiku-4-5", backend=backend, progress=False)
"""

pytestmark = pytest.mark.usefixtures("haiku_4_5")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(engine="sample") as serving:
        yield serving


def ask(server: Any, texts: list[str] = MANY, schema: Any = None, **options: Any) -> dfbatch.Run:
    frame: Any = pl.DataFrame({"text": texts})
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    run: dfbatch.Run = frame.claude.submit("{text}", schema, backend=backend, progress=False, **options)
    return run.wait()


def html(listed: Any) -> str:
    return unescape(listed._repr_html_())


def kinds(run: dfbatch.Run) -> list[tuple[str, int, str]]:
    return [(chunk.kind, chunk.requests, chunk.state) for chunk in run._ledger.chunks(run.id)]


def test_the_first_of_many_requests_goes_ahead_and_its_answer_is_its_rows(server: Server) -> None:
    run = ask(server)

    assert kinds(run) == [("preflight", 1, "collected"), ("", 29, "collected")]
    assert run.counts == {"succeeded": 30}
    assert run.cost.spent == pytest.approx(server.usage()["dollars"], rel=1e-9)
    assert set(server.usage()["billed_by_digest"].values()) == {1}


@pytest.mark.parametrize(
    ("texts", "options"),
    [(MANY[:20], {}), (MANY, {"preflight": False}), (MANY, {"betas": ["output-300k-2026-03-24"]})],
)
def test_few_requests_and_those_of_batches_alone_go_at_once(
    server: Server, texts: list[str], options: dict[str, Any]
) -> None:
    model = "claude-sonnet-4-6" if "betas" in options else "claude-haiku-4-5"

    assert kinds(ask(server, texts, model=model, **options)) == [("", len(texts), "collected")]


def test_what_was_answered_before_proves_the_call(server: Server) -> None:
    ask(server, MANY[:1])

    assert kinds(ask(server)) == [("", 1, "collected"), ("", 29, "collected")]


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"model": "claude-haiku-45"}, NotFound, "model: claude-haiku-45"),
        ({"max_tokens": 100_000}, ApiError, "max_tokens"),
        ({"params": {"temperature": 3}}, ApiError, "temperature"),
        ({"params": {"nonsense": 1}}, ApiError, "nonsense"),
        ({"params": {"thinking": {"type": "adaptive"}}}, ApiError, "thinking"),
    ],
)
def test_a_slip_in_the_call_costs_nothing_and_names_parameter_and_row(
    server: Server, options: dict[str, Any], kind: type[Exception], told: str
) -> None:
    """Where the server tells nothing of models; what it does tell is told sooner: `test_limits.py`."""
    server.house.faults.arm(["500@model"])
    with pytest.raises(kind, match=r"at row 0, which went ahead alone") as caught:
        ask(server, **options)

    assert told in str(caught.value)
    assert "nothing else was sent, and nothing is billed\n" in str(caught.value)
    assert "\nHint: mend the call and run the cell again" in str(caught.value)
    assert (server.usage()["dollars"], server.usage()["requests"]) == (0, 0)


def test_a_call_that_was_mended_is_sent_as_a_whole(server: Server) -> None:
    server.house.faults.arm(["500@model"])
    with pytest.raises(ApiError):
        ask(server, max_tokens=100_000)
    run = ask(server, max_tokens=1000)

    assert run.counts == {"succeeded": 30}
    assert set(server.usage()["billed_by_digest"].values()) == {1}


def test_where_the_call_is_refused_to_resume_is_not_what_is_offered(server: Server) -> None:
    server.house.faults.arm(["500@model"])
    with pytest.raises(ApiError):
        ask(server, max_tokens=100_000)
    run = dfbatch.last_run()

    told = "paused: 1 of 2 chunks not sent, mend the call and run the cell again"
    assert run.snapshot().safety == told
    with pytest.raises(RunPaused, match="Hint: mend the call and run the cell again"):
        run.wait()
    assert run.snapshot().safety == told  # whoever looks at it changes nothing
    assert f"mend the call and run the cell again, or dfbatch.open('{run.id}').forget()" in html(dfbatch.runs())


def test_resume_sees_first_whether_the_call_is_right_now(server: Server) -> None:
    server.house.faults.arm(["401@messages:times=1"])
    with pytest.raises(Unauthorized):
        ask(server)
    run = dfbatch.last_run()

    assert (run.status, run.counts) == ("paused", {"pending": 30})
    assert kinds(run) == [("preflight", 1, "rejected"), ("", 29, "planned")]
    assert run.resume().wait().counts == {"succeeded": 30}
    assert kinds(run) == [("preflight", 1, "collected"), ("", 29, "collected")]


@pytest.mark.parametrize("fault", ["429@messages", "529@messages", "500@messages", "408@messages", "409@messages"])
def test_what_does_not_tell_of_the_call_is_no_reason_to_wait(server: Server, fault: str) -> None:
    server.house.faults.arm([fault])
    run = ask(server)

    assert kinds(run) == [("", 1, "collected"), ("", 29, "collected")]
    assert run.counts == {"succeeded": 30}
    assert run.cost.spent == pytest.approx(server.usage()["dollars"], rel=1e-9)


def test_a_server_without_the_route_is_asked_in_batches(plain: Any, claude: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": MANY})
    out = frame.claude.batch("{text}", backend=claude, progress=False)

    assert out["answer"].to_list() == [f"answer to {text}" for text in MANY]
    assert sorted(len(held) for held in plain.requests.values()) == [1, 29]


def test_a_silent_server_is_waited_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfbatch.run.preflight.PATIENCE", 0.2)
    with LossyServer() as server:
        server.gates["answer"] = Gate()
        server.gates["answer"].close()
        run = ask(server)
        server.gates["answer"].open.set()

        assert run.counts == {"succeeded": 30}
        assert kinds(run) == [("", 1, "collected"), ("", 29, "collected")]


def test_killed_while_it_is_under_way_the_cell_again_brings_all(ledger_home: Path) -> None:
    """In flight at a kill it may be billed twice, the one request that may."""
    with LossyServer() as server:
        server.gates["reply"].close()
        environment = {**os.environ, "ANTHROPIC_API_KEY": KEY, "DFBATCH_HOME": str(ledger_home)}
        with subprocess.Popen([sys.executable, "-c", CELL, server.url], env=environment, cwd=ROOT) as cell:
            assert server.gates["reply"].arrived.wait(30)
            cell.kill()
        assert cell.returncode == -signal.SIGKILL
        server.gates["reply"].open.set()
        run = ask(server)

        assert run.counts == {"succeeded": 30}
        assert (server.direct.total(), server.billed.total()) == (1, 30)
        assert run.answers()["answer"].to_list() == [f"answer to {text}" for text in MANY]
