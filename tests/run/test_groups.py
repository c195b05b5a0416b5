"""Many questions about one document: the document is written to the cache once, its questions stay together."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.emulator.caching import PromptCache
from dfbatch.errors import BudgetReached
from dfbatch.ledger.files import read_array
from dfbatch.requests import PART_MARKS, part, unmarked
from dfbatch.run.groups import Groups, Prefixes, own

from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

OPUS = "claude-opus-5"

pytestmark = pytest.mark.filterwarnings("ignore:claude-opus-5 thinks before it answers")
ASK = [
    {"role": "user", "content": [{"type": "text", "text": "{document}"}, {"type": "text", "text": "Asked: {question}"}]}
]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(engine="sample") as serving:
        yield serving


def table(documents: int, questions: int, words: int = 2_000) -> Any:
    """Rows in the order of the questions, so that those of one document are far from each other."""
    return pl.DataFrame(
        {
            "document": [f"{at} " + "whisk " * words for _ in range(questions) for at in range(documents)],
            "question": [f"what of {at}?" for at in range(questions) for _ in range(documents)],
        }
    )


def begin(server: Server, frame: Any, prompt: Any = ASK, **options: Any) -> dfbatch.Run:
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    run: dfbatch.Run = frame.claude.submit(prompt, backend=backend, progress=False, **({"model": OPUS} | options))
    return run.wait()


def kinds(run: dfbatch.Run) -> list[tuple[str, int]]:
    return [(chunk.kind, chunk.requests) for chunk in run._ledger.chunks(run.id)]


def test_one_question_of_each_document_goes_ahead_and_the_others_read_what_it_wrote(server: Server) -> None:
    run = begin(server, table(10, 20))
    tokens, saved = run.cost.tokens, run.cost.saved
    assert saved

    assert kinds(run) == [("preflight", 1), ("warm", 10), ("", 189)]
    assert tokens.cache_read == pytest.approx(18.9 * tokens.cache_write_1h, rel=0.01)
    assert saved.cache > 0
    assert run.cost.spent == pytest.approx(server.usage()["dollars"], rel=1e-9)
    assert run.counts == {"succeeded": 200}
    assert set(server.usage()["billed_by_digest"].values()) == {1}


def test_it_costs_a_fraction_of_what_it_does_without(server: Server) -> None:
    frame = table(10, 20)
    plain = begin(server, frame, cache=None).cost.spent
    marked = begin(server, frame, reuse=False).cost.spent
    assert plain
    assert marked

    assert marked < 0.4 * plain


def test_questions_of_one_document_travel_together(server: Server) -> None:
    run = begin(server, table(10, 20), chunk_size=50)

    assert [len(documents) <= 4 for documents in _documents(run)] == [True] * 4


def test_within_a_budget_they_are_in_random_order_and_it_is_kept(server: Server) -> None:
    run = begin(server, table(10, 20), budget=100.0, chunk_size=50)
    spent = run.cost.spent
    assert spent

    assert min(len(documents) for documents in _documents(run)) >= 7
    assert spent <= 100.0
    assert spent == pytest.approx(server.usage()["dollars"], rel=1e-9)


def test_with_and_without_marks_it_is_the_same_request(server: Server) -> None:
    frame = table(5, 30)
    begin(server, frame)
    again = begin(server, frame, cache=None)

    assert again.cost.spent == 0
    assert set(server.usage()["billed_by_digest"].values()) == {1}


def test_what_is_asked_again_of_another_model_is_what_a_call_of_it_asks(server: Server) -> None:
    frame = table(5, 30)
    run = begin(server, frame, retries=0, max_tokens=1)
    failed = run.counts["truncated"]
    run.retry(which="truncated", model="claude-opus-4-8", max_tokens=1_024).wait()
    asked = sum(server.usage()["billed_by_digest"].values())
    whole = begin(server, frame, model="claude-opus-4-8", cache=None)

    assert failed == 150
    assert sum(server.usage()["billed_by_digest"].values()) == asked
    assert whole.cost.spent == 0


@pytest.mark.parametrize(
    ("frame", "options"),
    [
        (table(10, 20, words=20), {}),  # too short for this model
        (table(200, 1), {}),  # no two alike
        (table(10, 20), {"cache": None}),
    ],
)
def test_where_it_does_not_pay_nothing_is_marked(server: Server, frame: Any, options: Any) -> None:
    run = begin(server, frame, **options)

    assert kinds(run) == [("preflight", 1), ("", 199)]
    assert (run.cost.tokens.cache_write_1h, run.cost.tokens.cache_read) == (0, 0)


def test_documents_with_few_questions_are_left_as_they_are(server: Server) -> None:
    frame = pl.concat([table(5, 30), table(60, 1, words=1_900)])
    run = begin(server, frame)

    assert kinds(run)[:2] == [("preflight", 1), ("warm", 5)]
    assert run.cost.tokens.cache_write_1h < 6 * 4_000


def test_by_hand_a_few_requests_are_marked_too(server: Server) -> None:
    run = begin(server, table(2, 3), cache="5m")

    assert run.cost.tokens.cache_write_5m > 0
    assert run.cost.tokens.cache_write_1h == 0


def test_marks_of_the_user_that_nobody_reads_are_told(server: Server) -> None:
    def ask(row: Any) -> Any:
        mark = {"type": "ephemeral"}
        document = {"type": "text", "text": row["document"], "cache_control": mark}
        return [document, {"type": "text", "text": row["question"]}]

    told = r"cache_control marks 60 prefixes in 60 requests: writing them costs \$0\.\d+ more than reading them saves"
    with pytest.warns(UserWarning, match=told):
        run = begin(server, table(60, 1), ask)
    begin(server, table(2, 40), ask)  # two documents that are read: nothing to tell

    assert run.cost.tokens.cache_write_5m > 0


def test_a_frame_that_has_grown_marks_only_what_its_new_rows_share(server: Server) -> None:
    """One new question for each document is read by nobody, however many there were before."""
    begin(server, table(30, 10))
    run = begin(server, table(30, 11))

    assert kinds(run)[-2:] == [("preflight", 1), ("", 29)] or kinds(run)[-1:] == [("", 30)]
    assert (run.cost.tokens.cache_write_1h, run.cost.tokens.cache_read) == (0, 0)


def test_what_counts_is_what_is_saved_and_not_how_many_requests_there_are(server: Server) -> None:
    few, many = begin(server, table(1, 8)), begin(server, table(1, 90, words=2_100))

    assert kinds(few) == [("", 8)]
    assert kinds(many) == [("preflight", 1), ("warm", 1), ("", 88)]
    assert (many.cost.hits or 0.0) > 0.9


def test_a_text_that_ends_like_a_block_breaks_nothing(server: Server) -> None:
    frame = table(1, 40).with_columns(question=pl.lit('list: {"a":1},{'))
    run = begin(server, frame, samples=3)

    assert run.counts == {"succeeded": 40}


@pytest.mark.parametrize("hits", [0.0, 0.3])
def test_a_budget_holds_where_the_cache_is_cold_after_the_pilot(monkeypatch: pytest.MonkeyPatch, hits: float) -> None:
    """Answers are like those to come; hits are not, they change with the hour."""
    calls = itertools.count()
    lucky = PromptCache._lucky
    monkeypatch.setattr(PromptCache, "_lucky", lambda *given: next(calls) < 600 or lucky(*given))
    frame: Any = pl.DataFrame({"text": [f"text {at}" for at in range(3_000)]})
    system = "Some fixed rule of labelling. " * 100
    with Server(engine=lambda _: "a", cache_hit=hits) as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        call: Any = {"model": OPUS, "max_tokens": 16, "system": system, "budget": 7.0, "progress": False}
        run = frame.claude.submit("{text}", backend=backend, **call)
        with contextlib.suppress(BudgetReached):
            run.wait()
        spent = float(server.usage()["dollars"])

    assert 3.0 < spent <= 7.0


def test_a_plan_shows_requests_as_they_are_asked(server: Server) -> None:
    backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
    plan = table(5, 30).claude.plan(ASK, model=OPUS, backend=backend)
    run = plan.submit().wait()

    assert "cache_control" not in repr(plan)
    assert plan.bytes == sum(chunk.bytes for chunk in run._ledger.chunks(run.id))


@pytest.mark.parametrize(
    ("content", "prefix"),
    [
        ("one text", None),
        ([{"type": "text", "text": "alone"}], None),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a"),
        ([{"text": "a", "type": "text"}, {"text": "b", "type": "text"}], "a"),
        ([{"type": "text", "text": '},{"'}, {"type": "text", "text": '},{"role"'}], '},{"'),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
            None,
        ),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "user", "content": "c"}], "a"),
        (
            [
                {"type": "image", "source": {"type": "url", "url": "x"}},
                {"type": "document", "content": [{"type": "text", "text": "p"}, {"type": "text", "text": "q"}]},
            ],
            None,
        ),
    ],
)
def test_the_mark_is_on_the_last_block_but_one_or_nowhere(content: Any, prefix: str | None) -> None:
    made = part(content)
    groups = Groups.of(Prefixes.of([made, made], 2, own), "1h", lambda which: (made for _ in which))
    cut = int(groups.prefixes.cuts[0])

    assert bool(groups) == (prefix is not None)
    if prefix is not None:
        assert prefix in made[:cut].decode().replace("\\", "")
        assert unmarked(made[:cut] + PART_MARKS[1] + made[cut:]) == made


def _documents(run: dfbatch.Run) -> list[set[int]]:
    """Which documents are in each chunk that nothing goes ahead of."""
    chunks = [chunk for chunk in run._ledger.chunks(run.id) if not chunk.kind]
    maps = [read_array(run._ledger.chunk_file(chunk.id, "map.npy"))["position"] for chunk in chunks]
    return [set(np.asarray(positions % 10).tolist()) for positions in maps]
