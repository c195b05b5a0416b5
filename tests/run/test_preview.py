"""A few rows now, at the full price: which rows, what is said before, what is billed, and that the run reuses them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import OptionError, RowsFailedWarning
from dfbatch.frames import adapter
from dfbatch.models import Models
from dfbatch.options import Options
from dfbatch.pricing import Tokens
from dfbatch.pricing import cost as priced
from dfbatch.run.preview import spread

from .oracle import Oracle
from .sites import KEY, Plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    New = Callable[[dict[str, Any]], Any]

HAIKU = Models().find("claude-haiku-4-5")
TEXTS = [f"row {at % 90} of a text that goes on a little" for at in range(100)]  # the last ten repeat the first

pytestmark = pytest.mark.usefixtures("haiku_4_5")


@pytest.fixture
def server() -> Iterator[Server]:
    """Made-up answers, and a bill of its own."""
    with Server(engine="sample") as server:
        yield server


@pytest.fixture
def sampled(server: Server) -> dfbatch.Anthropic:
    """The backend that asks it."""
    return dfbatch.Anthropic(api_key=KEY, base_url=server.url)


def chosen(texts: list[Any], rows: int, prompt: Any = "{text}") -> list[int]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return spread(adapter(frame), frame, prompt, Options(), rows=rows, series=None)


def test_a_preview_bills_its_requests_at_the_full_price_and_the_run_sends_the_others_alone(
    new: New, server: Server, sampled: dfbatch.Anthropic, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = new({"text": TEXTS, "n": range(100)})
    few = frame.claude.preview("Sum up: {text}", rows=20, backend=sampled, progress=False)
    previewed = dfbatch.last_run()
    direct = server.usage()

    assert type(few) is type(frame)
    assert list(few.columns) == ["text", "n", "answer"]
    assert len(few) == 20
    assert few["answer"].isna().sum() == 0 if isinstance(few, pd.DataFrame) else few["answer"].null_count() == 0
    assert len(direct["billed_by_digest"]) == 20
    assert direct["calls"]["POST /v1/messages"] == 20
    assert "POST /v1/messages/batches" not in direct["calls"]
    assert previewed.cost.spent == pytest.approx(direct["dollars"])
    assert previewed.cost.spent == pytest.approx(priced(HAIKU, previewed.cost.tokens, batch=False))
    assert capsys.readouterr().out.startswith(
        "preview: 20 requests through /v1/messages, at the full price: up to about $"
    )

    whole = frame.claude.batch("Sum up: {text}", backend=sampled, progress=False)
    run = dfbatch.last_run()
    rows = list(few["n"])

    assert sum(server.usage()["billed_by_digest"].values()) == 90
    assert [list(whole["answer"])[at] for at in rows] == list(few["answer"])
    assert run.snapshot().reused == sum(TEXTS.count(TEXTS[at]) for at in rows)
    assert (run.cost.spent or 0) + (previewed.cost.spent or 0) == pytest.approx(server.usage()["dollars"])


def test_pandas_keeps_the_labels_of_the_rows(server: Server, sampled: dfbatch.Anthropic) -> None:
    frame: Any = pd.DataFrame({"text": list("abcdefgh")}, index=[7, 7, 8, 9, 10, 11, 12, 12])
    frame.attrs["from"] = "here"
    few = frame.claude.preview("Say {text}", rows=4, backend=sampled, progress=False)

    assert few.index.tolist() == [7, 9, 11, 12]
    assert few.attrs["from"] == "here"
    assert list(frame.columns) == ["text"]


def test_rows_are_spread_evenly_and_in_order() -> None:
    positions = chosen([str(at) for at in range(1_000)], 10)
    gaps = [after - before for before, after in pairwise(positions)]

    assert positions == sorted(positions)
    assert set(gaps) == {100}


@pytest.mark.parametrize("rows", [1, 7, 20, 99, 100, 200])
def test_as_many_rows_as_wanted_are_taken_and_no_row_twice(rows: int) -> None:
    positions = chosen([str(at % 30) for at in range(100)], rows)

    assert len(positions) == min(rows, 100) == len(set(positions))
    assert len({at % 30 for at in positions}) == min(rows, 30)


def test_rows_that_ask_something_come_before_those_that_are_not_sent() -> None:
    texts: list[Any] = [None, ""] * 50
    texts[3], texts[4], texts[90] = "a", "a", "b"

    assert {3, 90} < set(chosen(texts, 10))


def test_what_a_function_makes_of_rows_tells_which_are_alike() -> None:
    positions = chosen([f"{at}{'xy'[at == 17]}" for at in range(20)], 2, lambda row: row["text"][-1])

    assert 17 in positions


def test_rows_that_are_answered_already_cost_nothing(
    new: New, server: Server, sampled: dfbatch.Anthropic, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = new({"text": TEXTS})
    first = frame.claude.preview("{text}", rows=5, backend=sampled, progress=False)
    before = server.usage()["dollars"]
    capsys.readouterr()
    again = frame.claude.preview("{text}", rows=5, backend=sampled, progress=False)

    assert list(again["answer"]) == list(first["answer"])
    assert server.usage()["dollars"] == before
    assert dfbatch.last_run().cost.spent == 0
    assert capsys.readouterr().out == "preview: nothing to send · 5 answered already\n"


@pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")
def test_what_it_says_beforehand_is_no_less_than_the_bill(
    server: Server, sampled: dfbatch.Anthropic, capsys: pytest.CaptureFixture[str]
) -> None:
    frame: Any = pl.DataFrame({"text": TEXTS})
    frame.claude.preview("{text}", rows=9, max_tokens=20, backend=sampled, progress=False)
    told = capsys.readouterr().out

    assert float(told.partition("up to about $")[2].split()[0]) >= server.usage()["dollars"] > 0
    assert told.endswith(" as-if\n")


def test_the_line_is_printed_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, server: Server, sampled: dfbatch.Anthropic
) -> None:
    told: list[tuple[str, int]] = []
    monkeypatch.setattr("builtins.print", lambda line: told.append((line, len(server.usage()["calls"]))))
    frame: Any = pl.DataFrame({"text": TEXTS})
    frame.claude.preview("{text}", rows=2, backend=sampled, progress=False)

    assert [calls for _, calls in told] == [0]


def test_a_model_without_a_price_is_said_to_have_none(
    server: Any, sampled: dfbatch.Anthropic, capsys: pytest.CaptureFixture[str]
) -> None:
    server.house.faults.arm(["500@model"])  # else it is told that there is none
    frame: Any = pl.DataFrame({"text": ["a"]})
    with pytest.warns(RowsFailedWarning):
        frame.claude.preview("{text}", model="nobody-knows-it", backend=sampled, progress=False)

    assert capsys.readouterr().out == (
        "preview: 1 request through /v1/messages, at the full price: cost unknown, no price for this model\n"
    )


@pytest.mark.parametrize("rows", [0, -1, 201, True, 2.5, "20", None])
def test_rows_out_of_range_are_refused_in_words(rows: Any, server: Server, sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": TEXTS})
    with pytest.raises(OptionError) as caught:
        frame.claude.preview("{text}", rows=rows, backend=sampled)

    assert str(caught.value) == f"rows={rows!r}: a preview shows 1 to 200 rows\nHint: rows=20"
    assert server.usage()["calls"] == {}


def test_samples_count_as_requests_of_their_own(server: Server, sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": TEXTS})
    with pytest.raises(OptionError, match=r"^100 rows with samples=3 are 300 requests\n.*\nHint: rows=66$"):
        frame.claude.preview("{text}", rows=100, samples=3, backend=sampled)
    frame.claude.preview("{text}", rows=2, samples=3, backend=sampled, progress=False)

    assert server.usage()["calls"]["POST /v1/messages"] == 6


def test_a_series_becomes_a_shorter_series(server: Server, sampled: dfbatch.Anthropic) -> None:
    series: Any = pd.Series(list("abcdef"), index=range(10, 16))
    few = series.claude.preview("Say {}", rows=3, backend=sampled, progress=False)
    other: Any = pl.Series("text", list("abcdef"))

    assert few.index.tolist() == [11, 13, 15]
    assert len(other.claude.preview("Say {}", rows=3, backend=sampled, progress=False)) == 3


@pytest.mark.parametrize("word", ["refused", "cut", "unfit", "overloaded_error", "invalid_request_error"])
def test_rows_that_fail_are_told_in_one_warning_and_not_asked_in_a_batch(word: str) -> None:
    oracle = Oracle({"b": [word]})
    frame: Any = pl.DataFrame({"text": ["a", "b"]})
    with Plain(oracle.result) as site:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
        with pytest.warns(RowsFailedWarning, match="1 of 2 rows") as told:
            few = frame.claude.preview("{text}", Literal["x", "y"], backend=backend, progress=False)

        assert len(told) == 1
        assert few["answer"].to_list() == ["x", None]
        assert site.made() == []


def test_a_second_server_bills_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    frame: Any = pl.DataFrame({"text": list("abcdefghij") * 3})
    with Plain(Oracle().result) as site:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
        frame.claude.preview("{text}", Literal["x", "y"], rows=4, backend=backend, progress=False)
        run = dfbatch.last_run()

        assert sum(site.direct.values()) == 4
        assert run.cost.spent == pytest.approx(priced(HAIKU, Tokens(40, 20), batch=False))
        frame.claude.batch("{text}", Literal["x", "y"], backend=backend, progress=False)

        assert (sum(site.direct.values()), sum(site.billed.values())) == (4, 6)
        assert "as-if" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")
@pytest.mark.parametrize("word", ["cut", "unfit"])
@pytest.mark.parametrize("then", ["fine", "same"])
def test_the_run_tries_again_what_a_preview_could_not_use_and_only_once(word: str, then: str) -> None:
    oracle = Oracle({"b": [word, word if then == "same" else "fine"]})
    frame: Any = pl.DataFrame({"text": ["a", "b"]})
    with Plain(oracle.result) as site:
        call: Any = {"backend": dfbatch.Anthropic(api_key=KEY, base_url=site.url), "progress": False}
        frame.claude.preview("{text}", Literal["x", "y"], **call)
        for _ in range(3):
            out = frame.claude.batch("{text}", Literal["x", "y"], **call)

        assert out["answer"].to_list() == ["x", "x" if then == "fine" else None]
        assert (site.calls("messages"), len(site.made())) == (2, 1)
        assert sum(site.billed.values()) == 1
