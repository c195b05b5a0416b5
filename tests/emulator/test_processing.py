from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

from dfbatch.emulator.folder import private_open

from .api import ROUTE, ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from .api import Api


def test_a_batch_that_cannot_be_written_waits_for_the_next_start_and_others_go_on(
    serve: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([OSError(errno.ENOSPC, "No space left on device")])

    def full(path: Path, mode: str = "wb") -> Any:
        for failure in failures:
            raise failure
        return private_open(path, mode)

    monkeypatch.setattr("dfbatch.emulator.processing.private_open", full)
    api = serve(data=tmp_path)
    first = api.create(ask("a"))
    api.server.wait_idle()
    second = api.create(ask("b"))
    statuses = [api.ended(batch["id"])["processing_status"] for batch in (first, second)]
    api.server.stop()
    again = serve(data=tmp_path)

    assert statuses == ["in_progress", "ended"]
    assert "cannot be processed now" in caplog.text
    assert again.ended(first["id"])["request_counts"]["succeeded"] == 1


def test_a_fault_of_our_own_is_an_errored_line_and_is_logged(
    serve: Callable[..., Api], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = serve()
    monkeypatch.setattr(api.server.engine, "answer", lambda _ask: 1 / 0)

    (result,) = api.run(ask("secret words"))

    assert result["error"]["error"] == {"type": "api_error", "message": "Internal server error: ZeroDivisionError"}
    assert "ZeroDivisionError at " in caplog.text
    assert "secret words" not in caplog.text


def test_stopping_in_the_middle_keeps_what_was_accepted(serve: Callable[..., Api], tmp_path: Path) -> None:
    first = serve(data=tmp_path)
    ids = [first.create(*(ask(f"text {batch} {row}") for row in range(400)))["id"] for batch in range(5)]
    first.server.stop()
    second = serve(data=tmp_path)

    assert [second.ended(batch_id)["request_counts"]["succeeded"] for batch_id in ids] == [400] * 5
    assert second.server.usage()["requests"] == 2_000
    assert len(second.http.get(ROUTE).json()["data"]) == 5


def test_a_batch_canceled_while_it_waits_for_a_slow_engine_ends_before_the_one_under_way(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfbatch.emulator.engines.function.FunctionEngine.instant", False)
    entered, leave = threading.Event(), threading.Event()

    def thinker(_params: dict[str, Any]) -> str:
        entered.set()
        leave.wait(10)
        return "late"

    api = serve(engine=thinker)
    first, second = api.create(ask("a")), api.create(ask("b"))
    entered.wait(10)
    canceling = api.http.post(f"{ROUTE}/{second['id']}/cancel").json()
    ended, running = api.get(second["id"]), api.get(first["id"])
    leave.set()

    assert (canceling["processing_status"], ended["processing_status"]) == ("canceling", "ended")
    assert ended["request_counts"]["canceled"] == 1
    assert running["processing_status"] == "in_progress"
    assert api.ended(first["id"])["request_counts"]["succeeded"] == 1
    assert len(api.server.requests) == 1


def test_an_answer_that_takes_too_long_is_given_up_at_the_stop(
    serve: Callable[..., Api], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfbatch.emulator.processing._PATIENCE", 0.01)
    entered, leave = threading.Event(), threading.Event()

    def thinker(_params: dict[str, Any]) -> str:
        entered.set()
        leave.wait(10)
        return "late"

    first = serve(engine=thinker, data=tmp_path)
    batch = first.create(ask())
    entered.wait(10)
    thread = next(thread for thread in threading.enumerate() if thread.name == "emulator-processor")
    first.server.stop()
    second = serve(engine=lambda _params: "soon", data=tmp_path)
    ended = second.ended(batch["id"])
    leave.set()
    thread.join(10)
    (line,) = second.lines(batch["id"])

    assert ended["request_counts"]["succeeded"] == 1
    assert line["result"]["message"]["content"][0]["text"] == "soon"
