"""A body too large for the route goes as two, and those as two again; only a single request that is too large fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch

from .lossy import LossyServer

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
