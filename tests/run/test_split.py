"""A body too large for the route goes as two, and those as two again; only a single request that is too large fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server

from .hours import Hours
from .lossy import LossyServer, Mishap

if TYPE_CHECKING:
    from collections.abc import Iterator

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

TEXTS = [f"{number}" for number in range(10)]

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


@pytest.fixture
def narrow() -> Iterator[LossyServer]:
    """A server that takes no body of more than about three requests."""
    with LossyServer() as server:
        server.most = 600
        yield server


def label(server: LossyServer, texts: list[str], **options: Any) -> list[str | None]:
    backend = dfbatch.Anthropic(api_key="sk-ant-secret-of-this-test", base_url=server.url)
    answers: list[str | None] = (
        Polars({"text": texts}).claude.batch("{text}", backend=backend, progress=False, **options)["answer"].to_list()
    )
    return answers


def test_halves_of_halves_are_sent_and_every_answer_is_on_its_row(narrow: LossyServer) -> None:
    assert label(narrow, TEXTS) == [f"answer to {text}" for text in TEXTS]
    assert set(narrow.billed.values()) == {1}
    assert len(narrow.billed) == len(TEXTS)
    assert len(narrow.batches) >= 3


def test_a_single_request_that_is_too_large_fails_and_the_others_do_not(narrow: LossyServer) -> None:
    texts = [*TEXTS[:3], "long" * 400, *TEXTS[3:]]
    answers = label(narrow, texts)
    run = dfbatch.last_run()

    assert answers == [f"answer to {text}" if len(text) < 9 else None for text in texts]
    assert run.counts == {"succeeded": 10, "errored": 1}
    assert "413" in run.failures()["error"].to_list()[0]
    assert dfbatch.open(run.id).counts == run.counts


def test_the_cell_again_sends_only_what_was_too_large(narrow: LossyServer) -> None:
    texts = ["a", "long" * 400]
    label(narrow, texts)
    narrow.most = 1 << 20

    assert label(narrow, texts) == [f"answer to {text}" for text in texts]
    assert set(narrow.billed.values()) == {1}


def test_other_runs_draw_on_the_halves(narrow: LossyServer) -> None:
    narrow.ending.clear()
    backend = dfbatch.Anthropic(api_key="sk-ant-secret-of-this-test", base_url=narrow.url)
    runs = [Polars({"text": TEXTS}).claude.submit("{text}", backend=backend, progress=False) for _ in range(2)]
    narrow.ending.set()

    assert [run.wait().counts for run in runs] == [{"succeeded": 10}] * 2
    assert set(narrow.billed.values()) == {1}


def test_two_requests_are_cut_into_one_and_one_and_one_alone_into_none(narrow: LossyServer) -> None:
    narrow.most = 200
    assert label(narrow, TEXTS[:3]) == [f"answer to {text}" for text in TEXTS[:3]]
    run = dfbatch.last_run()

    chunks = run._ledger.chunks(run.id)
    assert [(chunk.requests, chunk.state) for chunk in chunks] == [
        (3, "split"),
        (2, "split"),
        (1, "collected"),
        (1, "collected"),
        (1, "collected"),
    ]
    assert (narrow.called["create"], len(narrow.batches)) == (5, 3)


def test_a_request_that_is_too_large_can_be_asked_again_once_the_route_is_wider(narrow: LossyServer) -> None:
    """It is never asked again by itself, and costs nothing; both of its rows say why they have no answer."""
    texts = ["a", "long" * 400, "b", "long" * 400]
    assert label(narrow, texts) == ["answer to a", None, "answer to b", None]
    run = dfbatch.last_run()
    calls = narrow.called["create"]

    assert run.status == "done"
    assert run.answers()["error"].to_list()[1::2] == ["the API said 413 request_too_large: no"] * 2
    narrow.most = 1 << 20
    assert run.retry("errored").wait().counts == {"succeeded": 4}
    assert narrow.called["create"] == calls + 1
    assert set(narrow.billed.values()) == {1}


def test_canceled_while_it_is_refused_nothing_is_cut_and_nothing_more_is_sent(narrow: LossyServer) -> None:
    narrow.gates["create"].close()
    backend = dfbatch.Anthropic(api_key="sk-ant-secret-of-this-test", base_url=narrow.url)
    with ThreadPoolExecutor(1) as pool:  # submit returns when something was accepted, which will not be
        begun = pool.submit(Polars({"text": TEXTS}).claude.submit, "{text}", backend=backend, progress=False)
        assert narrow.gates["create"].arrived.wait(20)
        run = dfbatch.last_run()
        run.cancel()
        narrow.gates["create"].open.set()
        begun.result()
    run.wait()

    assert (run.status, run.counts) == ("canceled", {"canceled": 10})
    assert [chunk.state for chunk in run._ledger.chunks(run.id)] == ["released"]
    assert (narrow.called["create"], len(narrow.batches)) == (1, 0)
    assert label(narrow, TEXTS) == [f"answer to {text}" for text in TEXTS]


def test_a_half_whose_reply_is_lost_is_found_like_any_other(
    narrow: LossyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = Hours(narrow)
    monkeypatch.setattr("dfbatch.run.clock.wall", hours)
    narrow.mishaps.extend([Mishap("reset", accepted=True), Mishap(500, accepted=False)])

    assert label(narrow, TEXTS) == [f"answer to {text}" for text in TEXTS]
    assert set(narrow.billed.values()) == {1}
    assert 600 <= hours.passed < 800


def test_the_emulators_own_limit_cuts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 413 is Cloudflare's: without a type and without a request id."""
    monkeypatch.setattr("dfbatch.emulator.routes.batches.MOST_BYTES", 600)
    with Server(engine=lambda params: "answer to " + str(params["messages"][-1]["content"])) as server:
        backend = dfbatch.Anthropic(api_key="sk-ant-secret-of-this-test", base_url=server.url)
        frame = Polars({"text": [*TEXTS, "long" * 400]})
        out = frame.claude.batch("{text}", backend=backend, progress=False, include=["error"])

        assert out["answer"].to_list() == [*(f"answer to {text}" for text in TEXTS), None]
        assert out["claude_error"].to_list()[-1] == (
            "the API said 413 request_too_large: Request exceeds the maximum size"
        )
        assert set(server.usage()["billed_by_digest"].values()) == {1}
