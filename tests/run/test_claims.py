"""Equal requests are paid once: within a run, across runs, kernels and processes; and never taken for unequal ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import RowsFailedWarning

from .plain_server import PlainServer, always, succeeded

if TYPE_CHECKING:
    from collections.abc import Sequence

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


class Asker:
    """Asks one server, without tries of its own, and tells how many requests each call paid for."""

    def __init__(self, plain: PlainServer, backend: dfbatch.Anthropic) -> None:
        self._plain = plain
        self._backend = backend

    def __call__(self, texts: Sequence[str], prompt: Any = "{text}", schema: Any = None, **options: Any) -> int:
        before = self._plain.asked.total()
        frame = Polars({"text": texts})
        self.out = frame.claude.batch(prompt, schema, backend=self._backend, progress=False, retries=0, **options)
        return self._plain.asked.total() - before


@pytest.fixture
def ask(plain: PlainServer, claude: dfbatch.Anthropic) -> Asker:
    return Asker(plain, claude)


def test_equal_rows_are_asked_once(ask: Asker) -> None:
    assert ask(["a", "b", "a", "a"]) == 2
    assert ask.out["answer"].to_list() == ["answer to a", "answer to b", "answer to a", "answer to a"]


def test_a_later_run_takes_what_an_earlier_one_paid_for(ask: Asker) -> None:
    assert [ask(["a", "b"]), ask(["b", "a", "b"]), ask(["b", "c"]), ask(["a", "b", "c", "d"])] == [2, 0, 1, 1]
    assert ask.out["answer"].to_list() == [f"answer to {text}" for text in "abcd"]


@pytest.mark.parametrize(
    "other",
    [
        {"system": "Be brief."},
        {"model": "claude-sonnet-4-6"},
        {"schema": str},
        {"params": {"stop_sequences": ["."]}},
        {"betas": ("some-beta",)},
        {"prompt": "{text} "},
        {
            "prompt": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": "{text}"},
            ]
        },
        {"examples": [("x", "y")]},
    ],
    ids=str,
)
def test_what_asks_something_else_is_asked_again(ask: Asker, other: dict[str, Any]) -> None:
    assert (ask(["a"]), ask(["a"], **other)) == (1, 1)


def test_the_order_of_betas_and_params_does_not_matter(ask: Asker) -> None:
    first = ask(["a"], betas=("one", "two"), params={"metadata": {"user_id": "u"}, "stop_sequences": ["."]})

    assert first == 1
    assert ask(["a"], betas=("two", "one"), params={"stop_sequences": ["."], "metadata": {"user_id": "u"}}) == 0


def test_a_different_key_is_the_same_asker_and_a_different_server_is_not(ask: Asker, plain: PlainServer) -> None:
    ask(["a"])

    assert Asker(plain, dfbatch.Anthropic(api_key="another", base_url=plain.url))(["a"]) == 0
    with PlainServer() as elsewhere:
        assert Asker(elsewhere, dfbatch.Anthropic(api_key="k", base_url=elsewhere.url))(["a"]) == 1


def test_reuse_false_asks_again_and_pays(ask: Asker, plain: PlainServer) -> None:
    assert [ask(["a", "a", "b"]), ask(["a", "a", "b"], reuse=False)] == [2, 2]
    assert sorted(plain.billed.values()) == [2, 2]


def test_dedupe_false_asks_every_row(ask: Asker, plain: PlainServer) -> None:
    assert ask(["a", "a", "b", "a"], dedupe=False) == 4
    assert sorted(plain.billed.values()) == [1, 3]
    assert ask.out["answer"].to_list() == [f"answer to {text}" for text in "aaba"]
    assert ask(["a", "a", "b", "a"], dedupe=False) == 0
    assert ask(["a", "b"]) == 0
    assert ask(["a"] * 4, dedupe=False) == 1


@pytest.mark.parametrize(("first", "then", "paid"), [(100, 50, 0), (100, 5, 0), (100, 4, 1), (50, 100, 0)])
def test_a_whole_answer_serves_every_limit_it_fits(ask: Asker, first: int, then: int, paid: int) -> None:
    """The server says five tokens for every answer."""
    ask(["a"], max_tokens=first)

    assert ask(["a"], max_tokens=then) == paid


@pytest.mark.parametrize(("then", "paid"), [(100, 0), (50, 0), (101, 1)])
def test_a_cut_answer_serves_whoever_asks_no_more(ask: Asker, plain: PlainServer, then: int, paid: int) -> None:
    plain.result = always(succeeded("cut", stop_reason="max_tokens"))
    ask(["a"], max_tokens=100)

    assert ask(["a"], max_tokens=then) == paid


@pytest.mark.parametrize(
    ("result", "again"),
    [
        (succeeded("no", stop_reason="refusal"), 0),
        (succeeded("cut", stop_reason="max_tokens"), 0),
        (succeeded("neither"), 0),
        ({"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "oh"}}}, 1),
        ({"type": "expired"}, 1),
        ({"type": "canceled"}, 1),
        ({"type": "of a later year"}, 1),
    ],
    ids=["refused", "truncated", "invalid", "errored", "expired", "canceled", "unknown"],
)
def test_what_was_paid_for_is_final_and_the_rest_is_asked_again(
    ask: Asker, plain: PlainServer, result: dict[str, Any], again: int
) -> None:
    plain.result = always(result)
    ask(["a"], schema=Literal["x", "y"])
    plain.result = always(succeeded('{"answer": "x"}'))

    assert ask(["a"], schema=Literal["x", "y"]) == again
    assert ask.out["answer"].to_list() == (["x"] if again else [None])


def test_the_newer_of_two_answers_is_taken_where_the_older_failed(ask: Asker, plain: PlainServer) -> None:
    plain.result = always({"type": "expired"})
    ask(["a", "b"])
    plain.result = always(succeeded("good"))
    ask(["a"])

    assert ask(["a", "b"]) == 1
    assert ask.out["answer"].to_list() == ["good", "good"]
    assert ask(["b", "a"]) == 0


def test_answers_of_one_engine_never_serve_another() -> None:
    """Not even at the same address: an emulator says who it is."""
    frame = Polars({"text": ["a"]})
    with Server(engine=always("one"), engine_name="one") as server:
        port = int(server.url.rpartition(":")[2])
        ask = {"prompt": "{text}", "progress": False}
        one = frame.claude.batch(backend=dfbatch.Anthropic(api_key="k", base_url=server.url), **ask)
    with Server(engine=always("two"), engine_name="two", port=port) as server:
        two = frame.claude.batch(backend=dfbatch.Anthropic(api_key="k", base_url=server.url), **ask)

    assert (one["answer"].item(), two["answer"].item()) == ("one", "two")


def test_an_emulator_with_another_seed_is_asked_again() -> None:
    frame = Polars({"text": ["a"]})
    with Server(seed=1) as server:
        port = int(server.url.rpartition(":")[2])
        frame.claude.batch("{text}", backend=dfbatch.Anthropic(api_key="k", base_url=server.url), progress=False)
    with Server(seed=2, port=port) as server:
        frame.claude.batch("{text}", backend=dfbatch.Anthropic(api_key="k", base_url=server.url), progress=False)

        assert sum(server.usage()["billed_by_digest"].values()) == 1


def test_two_runs_at_once_in_one_process_share_what_is_under_way(
    ask: Asker, plain: PlainServer, claude: dfbatch.Anthropic
) -> None:
    plain.ending.clear()
    frames = [Polars({"text": list(texts)}) for texts in ("abcd", "cdef", "aaff")]
    runs = [frame.claude.submit("{text}", backend=claude, progress=False) for frame in frames]
    plain.ending.set()

    for frame, run in zip(frames, runs, strict=True):
        assert run.result()["answer"].to_list() == [f"answer to {text}" for text in frame["text"]]
    assert (plain.asked.total(), set(plain.billed.values())) == (6, {1})
    assert [run.cost.tokens.output for run in runs] == [20, 10, 0]


def test_a_run_that_drew_on_a_failed_one_asks_again_by_itself(plain: PlainServer, claude: dfbatch.Anthropic) -> None:
    """What it waited for was never answered: it is not left without."""
    plain.ending.clear()
    frame = Polars({"text": ["a", "b"]})
    first = frame.claude.submit("{text}", backend=claude, progress=False, retries=0)
    second = frame.claude.submit("{text}", backend=claude, progress=False)
    expired = {item["custom_id"] for item in next(iter(plain.requests.values()))}
    plain.result = always({"type": "expired"})
    plain.gates["create"].close()
    plain.ending.set()
    assert plain.gates["create"].arrived.wait(20)
    plain.result = always(succeeded("second"))
    plain.gates["create"].open.set()

    assert second.result()["answer"].to_list() == ["second", "second"]
    with pytest.warns(RowsFailedWarning, match="2 expired"):
        assert first.result()["answer"].to_list() == [None, None]
    assert len(expired) == 2
