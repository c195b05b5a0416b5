"""A plan says what a run will ask and cost, sends nothing that costs, leaves nothing behind, and holds submit to it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import ApiError, InputError, NotFound, PlanChanged
from dfbatch.models import Models
from dfbatch.pricing import Tokens
from dfbatch.pricing import cost as priced

from .oracle import Oracle
from .sites import KEY, Emulated, Plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    New = Callable[[dict[str, Any]], Any]

HAIKU = Models().find("claude-haiku-4-5")
CLOSED = "http://127.0.0.1:9"  # the discard port: nobody listens
WORDS = ["alpha", "of", "the", "market", "über", "goal", "東京"]

pytestmark = pytest.mark.usefixtures("haiku_4_5")


def texts(seed: int, count: int) -> list[str]:
    """Texts of varied lengths, in several scripts."""
    chance = random.Random(seed)
    sizes = [int(chance.lognormvariate(3, 1)) + 1 for _ in range(count)]
    return [" ".join([*chance.choices(WORDS, k=size), str(at)]) for at, size in enumerate(sizes)]


@pytest.fixture
def server() -> Iterator[Server]:
    """Made-up answers, and a bill of its own."""
    with Emulated(engine="sample") as server:
        yield server


@pytest.fixture
def sampled(server: Server) -> dfbatch.Anthropic:
    """The backend that asks it."""
    return dfbatch.Anthropic(api_key=KEY, base_url=server.url)


def left(home: Path) -> list[str]:
    """The files of the ledger, but for the database's own, and what the server tells of models."""
    found = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    return [name for name in found if not name.startswith(("ledger.sqlite", "models"))]


def test_a_plan_costs_nothing_and_leaves_nothing_behind(
    new: New, server: Server, sampled: dfbatch.Anthropic, ledger_home: Path
) -> None:
    frame = new({"text": texts(0, 100)})
    assert dfbatch.runs() == []
    plan = frame.claude.plan("Sum up: {text}", backend=sampled)

    assert (server.usage()["requests"], server.usage()["dollars"]) == (0, 0)
    assert server.usage()["calls"] == {"POST /v1/messages/count_tokens": 20, "GET /v1/models/{id}": 1}
    assert dfbatch.runs() == []
    assert left(ledger_home) in ([], ["runs"], ["chunks", "runs"])
    assert plan.tokens_in.how == "count_tokens of 20 requests"


def test_a_plan_leaves_earlier_runs_as_they_were(server: Server, sampled: dfbatch.Anthropic, ledger_home: Path) -> None:
    frame: Any = pl.DataFrame({"text": texts(0, 40)})
    frame.head(10).claude.batch("{text}", backend=sampled, progress=False)
    before = left(ledger_home)
    plan = frame.claude.plan("{text}", backend=sampled)

    assert left(ledger_home) == before
    assert dfbatch.last_run().counts == {"succeeded": 10}
    assert (plan.reused, plan.to_send) == (10, 30)


def test_counts_are_those_of_the_run(server: Server, sampled: dfbatch.Anthropic, capsys: Any) -> None:
    cells: list[Any] = [*texts(1, 80), *texts(1, 80)[:15], None, ""]
    frame: Any = pl.DataFrame({"text": cells})
    frame.head(30).claude.batch("{text}", backend=sampled, progress=False)
    asked = sum(server.usage()["billed_by_digest"].values())
    plan = frame.claude.plan("{text}", backend=sampled, chunk_size=20, progress=False)
    run = plan.submit().wait()
    own = [chunk for chunk in run._ledger.chunks(run.id) if chunk.run == run.id]

    assert (plan.rows, plan.skipped, plan.requests, plan.reused, plan.to_send) == (97, 2, 80, 30, 50)
    assert sum(server.usage()["billed_by_digest"].values()) - asked == plan.to_send
    assert (plan.chunks, plan.to_send) == (len(own), sum(chunk.requests for chunk in own))
    assert plan.bytes == sum(chunk.bytes for chunk in own)
    assert run.counts == {"succeeded": 95, "skipped": 2}
    assert f"run {run.id}: 97 rows, 50 requests to send" in capsys.readouterr().out
    assert dfbatch.last_run().id == run.id


@pytest.mark.parametrize("samples", [1, 3])
def test_the_same_job_costs_twice_as_much_by_ordinary_calls_and_more_without_dedupe(
    sampled: dfbatch.Anthropic, samples: int
) -> None:
    frame: Any = pl.DataFrame({"text": texts(2, 20) * 3})
    plan = frame.claude.plan("{text}", backend=sampled, samples=samples, preflight=False)

    assert plan.requests == 20 * samples
    assert plan.dollars
    assert plan.sync == pytest.approx(2 * plan.dollars.likely)
    assert plan.without_dedupe == pytest.approx(3 * plan.dollars.likely)


def test_where_no_rows_are_equal_dedupe_saves_nothing_though_one_goes_ahead_at_the_full_price(
    sampled: dfbatch.Anthropic,
) -> None:
    frame: Any = pl.DataFrame({"text": texts(2, 30)})
    plan = frame.claude.plan("{text}", backend=sampled)

    assert plan.without_dedupe == pytest.approx(plan.dollars.likely)


def test_without_a_network_tokens_are_guessed_from_characters_and_it_says_so(new: New) -> None:
    backend = dfbatch.Anthropic(api_key=KEY, base_url=CLOSED)
    plan = new({"text": texts(3, 50)}).claude.plan("Topic: {text}", Literal["a", "b"], backend=backend)

    assert plan.tokens_in.how == "from characters"
    assert any(note.startswith("tokens in are guessed, not counted: ") for note in plan.notes)
    assert plan.tokens_out.how == "from the schema"
    assert plan.dollars
    assert 0 < plan.dollars.low < plan.dollars.likely < plan.dollars.high
    assert dfbatch.runs() == []


def test_without_a_key_a_plan_works_and_names_what_is_missing() -> None:
    frame: Any = pd.DataFrame({"text": ["a", "b"]})
    plan = frame.claude.plan("Say {text}")

    assert plan.first == ("Say a", "Say b")
    assert not plan.as_if
    assert "no API key" in plan.notes[0]


def test_a_server_that_counts_nothing_is_as_good_as_none() -> None:
    with Plain(Oracle().result) as site:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
        frame: Any = pl.DataFrame({"text": ["a"]})
        plan = frame.claude.plan("{text}", backend=backend)

        assert plan.tokens_in.how == "from characters"
        assert plan.notes[0].startswith("tokens in are guessed")
        assert site.calls("messages") == len(site.made()) == 0


@pytest.mark.parametrize("fault", ["429", "529", "401", "reset"])
def test_a_server_in_trouble_is_named_and_does_without(server: Any, sampled: dfbatch.Anthropic, fault: str) -> None:
    server.house.faults.arm([f"{fault}@*"])
    frame: Any = pl.DataFrame({"text": ["a"]})
    plan = frame.claude.plan("{text}", backend=sampled)

    assert plan.tokens_in.how == "from characters"
    assert plan.notes[0].startswith("tokens in are guessed, not counted: ")


def test_a_model_that_is_not_there_is_told_at_once(server: Server, sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": ["a"]})
    with pytest.raises(NotFound, match="claude-typo-9") as caught:
        frame.claude.plan("{text}", model="claude-typo-9", backend=sampled)

    assert isinstance(caught.value, ApiError)
    assert dfbatch.runs() == []


@pytest.mark.parametrize("offline", [False, True], ids=["counted", "from characters"])
@pytest.mark.parametrize("schema", [None, Literal["sport", "tech"]], ids=["text", "schema"])
def test_tokens_in_hold_what_is_billed(server: Any, sampled: dfbatch.Anthropic, offline: bool, schema: Any) -> None:  # noqa: FBT001 - a parameter
    frame: Any = pl.DataFrame({"text": texts(4, 300)})
    call: Any = {"schema": schema, "backend": sampled, "system": "Be brief. " * 50, "progress": False}
    if offline:
        server.house.faults.arm(["reset@count_tokens"])
    plan = frame.claude.plan("Topic: {text}", **call)
    run = frame.claude.submit("Topic: {text}", **call).wait()

    assert plan.tokens_in.how == ("from characters" if offline else "count_tokens of 20 requests")
    assert plan.tokens_in.low <= run.cost.tokens.input <= plan.tokens_in.high
    if not offline:
        assert plan.tokens_in.likely == pytest.approx(run.cost.tokens.input, rel=0.05)


def test_a_history_of_the_same_prompt_counts_and_that_of_another_does_not(sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": texts(5, 60)})
    frame.head(15).claude.batch("One: {text}", backend=sampled, progress=False)

    assert frame.claude.plan("One: {text}", backend=sampled).tokens_out.how == "history of 15 answers"
    assert frame.claude.plan("Two: {text}", backend=sampled).tokens_out.how == "from max_tokens"
    assert frame.claude.plan("One: {text}", system="x", backend=sampled).tokens_out.how == "from max_tokens"


def test_a_preview_is_a_history(sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": texts(6, 60)})
    wide = frame.claude.plan("{text}", backend=sampled)
    frame.claude.preview("{text}", rows=20, backend=sampled, progress=False)
    plan = frame.claude.plan("{text}", backend=sampled)

    assert any("a preview" in note for note in wide.notes)
    assert (plan.tokens_out.how, plan.to_send) == ("history of 20 answers", 40)
    assert not any("is not known yet" in note for note in plan.notes)
    assert wide.dollars
    assert plan.dollars
    assert plan.dollars.high - plan.dollars.low < wide.dollars.high - wide.dollars.low


@pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")
@pytest.mark.parametrize("count", [12, pytest.param(60, marks=pytest.mark.full)])
def test_with_a_history_of_forty_answers_the_range_covers_the_true_cost(count: int) -> None:
    covered = 0
    for seed in range(count):
        with Server(engine="sample", seed=seed, output_law="lognormal:40:1") as server:
            backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
            frame: Any = pl.DataFrame({"text": [f"{seed} {text}" for text in texts(seed, 200)]})
            call: Any = {"backend": backend, "progress": False, "retries": 0}
            frame.head(40).claude.batch("Topic: {text}", **call)
            before = server.usage()["dollars"]
            plan = frame.claude.plan("Topic: {text}", **call)
            frame.claude.batch("Topic: {text}", **call)
            assert plan.dollars
            covered += plan.dollars.low <= server.usage()["dollars"] - before <= plan.dollars.high

    assert covered >= 5 / 6 * count


def test_a_second_server_bills_what_was_planned() -> None:
    frame: Any = pl.DataFrame({"text": [f"text {at}" for at in range(30)]})
    with Plain(Oracle().result) as site:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
        call: Any = {"schema": Literal["x", "y"], "backend": backend, "progress": False, "preflight": False}
        frame.head(20).claude.batch("{text}", **call)
        plan = frame.claude.plan("{text}", **call)
        run = plan.submit().wait()

        assert plan.tokens_out.likely == run.cost.tokens.output == 50
        assert run.cost.spent == pytest.approx(priced(HAIKU, Tokens(100, 50)))
        assert sum(site.billed.values()) == 30
        assert not plan.as_if


def test_submit_refuses_when_a_cell_was_edited_and_nothing_is_billed(
    server: Server, sampled: dfbatch.Anthropic
) -> None:
    frame: Any = pd.DataFrame({"text": texts(7, 30)})
    plan = frame.claude.plan("{text}", backend=sampled, progress=False)
    frame.loc[17, "text"] = "edited"
    with pytest.raises(PlanChanged) as caught:
        plan.submit()

    assert str(caught.value) == (
        "this is not what was planned: the frame or the prompt function has changed since\n"
        "nothing was sent\n"
        "Hint: plan again: df.claude.plan(…)"
    )
    assert isinstance(caught.value, InputError)
    assert server.usage()["requests"] == 0
    assert set(server.usage()["calls"]) == {"POST /v1/messages/count_tokens", "GET /v1/models/{id}"}
    assert dfbatch.runs() == []
    frame.loc[17, "text"] = texts(7, 30)[17]
    assert plan.submit().wait().counts == {"succeeded": 30}


def test_submit_goes_on_where_rows_have_only_changed_their_order(sampled: dfbatch.Anthropic) -> None:
    frame: Any = pd.DataFrame({"text": ["a", "b", "c"]})
    plan = frame.claude.plan("{text}", backend=sampled, progress=False)
    frame.loc[:, "text"] = ["c", "a", "b"]

    assert plan.submit().wait().result()["text"].tolist() == ["c", "a", "b"]


def test_a_plan_submitted_twice_is_billed_once(server: Server, sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": texts(8, 10)})
    plan = frame.claude.plan("{text}", backend=sampled, progress=False)
    first, second = plan.submit().wait(), plan.submit().wait()

    assert first.result().equals(second.result())
    assert set(server.usage()["billed_by_digest"].values()) == {1}


def test_where_all_is_answered_the_plan_is_free(server: Server, sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": texts(9, 10)})
    frame.claude.batch("{text}", backend=sampled, progress=False)
    plan = frame.claude.plan("{text}", backend=sampled)

    assert (plan.to_send, plan.chunks, plan.bytes, plan.reused, plan.first) == (0, 0, 0, 10, ())
    assert plan.dollars
    assert plan.dollars.high == plan.sync == plan.without_dedupe == 0
    assert "POST /v1/messages/count_tokens" not in server.usage()["calls"]


@pytest.mark.parametrize("frame", [pl.DataFrame({"text": []}, schema={"text": pl.String}), pd.DataFrame({"text": []})])
def test_an_empty_frame_has_an_empty_plan(frame: Any) -> None:
    plan = frame.claude.plan("{text}")

    assert (plan.rows, plan.requests, plan.to_send, plan.notes) == (0, 0, 0, ())
    assert repr(plan)


def test_a_changed_call_says_why_nothing_is_reused(sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": texts(10, 5)})
    run = frame.claude.submit("{text}", backend=sampled, progress=False).wait()
    plan = frame.claude.plan("{text}", system="Be brief.", backend=sampled)

    assert plan.notes[0] == f"run {run.id} on these rows is not reused: system none → 'Be brief.'"


def test_reuse_false_plans_to_ask_again(sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": texts(11, 5)})
    frame.claude.batch("{text}", backend=sampled, progress=False)

    assert frame.claude.plan("{text}", reuse=False, backend=sampled).to_send == 5


def test_prices_of_ones_own_and_none_at_all(sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": ["a" * 4_000]})
    unpriced = frame.claude.plan("{text}", model="my-model")
    said = frame.claude.plan("{text}", model="my-model", prices={"my-model": {"input": 1.0, "output": 0.0}})

    assert (unpriced.dollars, unpriced.sync, unpriced.without_dedupe) == (None, None, None)
    assert "unknown" in repr(unpriced)
    assert said.sync == pytest.approx(1e-6 * said.tokens_in.likely)


def test_a_series_can_be_planned_and_submitted(server: Server, sampled: dfbatch.Anthropic) -> None:
    series: Any = pd.Series(["a", "b"], index=[5, 6])
    plan = series.claude.plan("Say {}", backend=sampled, progress=False)

    assert plan.submit().result().index.tolist() == [5, 6]


def test_turns_and_blocks_are_shown_as_json(sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": ["a"]})
    turns = [
        {"role": "user", "content": "{text}?"},
        {"role": "assistant", "content": "Which?"},
        {"role": "user", "content": "That."},
    ]

    assert frame.claude.plan(turns, backend=sampled).first[0].startswith('[{"role":"user","content":"a?"}')


def test_a_plan_does_not_take_what_a_dead_process_left(sampled: dfbatch.Anthropic, server: Any) -> None:
    frame: Any = pl.DataFrame({"text": texts(12, 5)})
    server.cut(down=True)
    with pytest.raises(ApiError):
        frame.claude.submit("{text}", backend=sampled, progress=False)
    server.cut(down=False)
    run = dfbatch.last_run()
    before = run._ledger.chunks(run.id)
    plan = frame.claude.plan("{text}", backend=sampled)

    assert plan.to_send == 5
    assert run._ledger.chunks(run.id) == before
    assert run.resume().wait().counts == {"succeeded": 5}


def test_newer_models_make_more_tokens_of_a_text() -> None:
    frame: Any = pl.DataFrame({"text": ["a" * 4_000, "b" * 4_000]})
    old, new = (frame.claude.plan("{text}", model=f"claude-sonnet-{name}").tokens_in for name in ("4-6", "5"))

    assert new.likely == pytest.approx(1.3 * old.likely, rel=0.01)


def test_the_first_request_that_goes_ahead_is_planned_at_the_full_price(sampled: dfbatch.Anthropic) -> None:
    frame: Any = pl.DataFrame({"text": [f"text {at:02}" for at in range(25)]})
    led, whole = (frame.claude.plan("{text}", backend=sampled, preflight=ahead).dollars for ahead in (True, False))

    assert led
    assert whole
    assert led.likely == pytest.approx(whole.likely * 26 / 25)
