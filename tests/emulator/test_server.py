from __future__ import annotations

import gc
import socket
import tempfile
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from dfbatch.emulator import Server

from .api import ROUTE, Api, ask

if TYPE_CHECKING:
    from collections.abc import Callable


def test_it_leaves_no_thread_no_socket_and_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(threading.enumerate())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Server(faults=["refuse@list:times=1,seconds=30"]) as server, Api(server) as api:
            url = server.url
            api.run(ask())
            api.http.post("/v1/messages", json=ask())
            with pytest.raises(httpx.TransportError):
                api.http.get(ROUTE)
        gc.collect()

    assert set(threading.enumerate()) - before == set()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_call_under_way_gets_its_answer_before_the_end(serve: Callable[..., Api]) -> None:
    entered = threading.Event()
    server = serve().server

    def slow(_params: object) -> str:
        entered.set()
        threading.Timer(0.05, leave.set).start()
        leave.wait(5)
        return "done"

    leave = threading.Event()
    api = serve(engine=slow)
    replies: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: replies.append(api.http.post("/v1/messages", json=ask())))
    thread.start()
    entered.wait(5)
    api.server.stop()
    thread.join()

    assert replies[0].json()["content"][0]["text"] == "done"
    assert server.url


def test_it_says_what_it_is_and_starts_once() -> None:
    server = Server(lambda _params: "hi", engine_name="parrot")

    assert repr(server) == "<Server parrot not started>"
    with pytest.raises(RuntimeError, match="the emulator is not started"):
        _ = server.url
    with server:
        url = server.url
        assert server.start() is server
        assert repr(server) == f"<Server parrot {url}>"
    server.stop()


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    with pytest.raises(ValueError, match=r"0\.0\.0\.0 is not a loopback address"), Server(host="0.0.0.0"):
        pass
    with Server(host="localhost") as server:
        assert httpx.get(f"{server.url}/_emulator/health").status_code == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_it_listens_on_the_other_loopback_too() -> None:
    try:
        server = Server(host="::1").start()
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert httpx.get(f"{server.url}/_emulator/health").status_code == 200


def test_many_callers_at_once_are_served(serve: Callable[..., Api]) -> None:
    api = serve()
    made: list[str] = []

    def caller(number: int) -> None:
        with Api(api.server) as own:
            made.extend(own.create(ask(f"caller {number} batch {row}"))["id"] for row in range(10))

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = [batch["id"] for batch in api.http.get(ROUTE, params={"limit": 1000}).json()["data"]]

    assert len(set(made)) == 80
    assert sorted(listed) == sorted(made)
    assert {api.ended(batch_id)["request_counts"]["succeeded"] for batch_id in made} == {1}


def test_a_bad_option_opens_nothing(tmp_path: Path) -> None:
    before = set(threading.enumerate())

    bad_ones: list[dict[str, Any]] = [{"law": "never"}, {"tier": "gold"}, {"speed": 0}, {"faults": ["earthquake"]}]
    for bad in bad_ones:
        with pytest.raises(ValueError, match=r"law|tier|speed|fault"):
            Server(data=tmp_path / "data", **bad).start()
    with Server(data=tmp_path / "data") as server:
        assert Path(tmp_path / "data" / "state.sqlite").exists()
        assert server.url

    assert set(threading.enumerate()) == before
