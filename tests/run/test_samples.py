"""Several answers a row: asked once each, counted column by column, and told one by one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator

import dfbatch
from dfbatch import run as run_layer
from dfbatch import schemas
from dfbatch.emulator import Server
from dfbatch.errors import ColumnClash, OptionError, RowsFailedWarning
from dfbatch.requests import NONCE_WIDTH, POSITION_WIDTH, REQUEST
from dfbatch.results import CODE, OUTCOMES, PENDING, SUCCEEDED
from dfbatch.run.sheet import Sheet
from dfbatch.run.votes import elect, every, standing

from .conftest import KEY
from .plain_server import PlainServer, succeeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

TEXTS = ["a", "b", "a", None, "c"]
X, Y, Z = (succeeded(text) for text in "xyz")
ERROR = {"type": "errored", "error": {"type": "error", "error": {"type": "api_error", "message": "oh"}}}
EXPIRED = {"type": "expired"}
REFUSED = succeeded("no", stop_reason="refusal")


class Verdict(BaseModel):
    topic: str
    score: float


@pytest.fixture
def ask(new: Any, claude: dfbatch.Anthropic) -> Callable[..., Any]:
    """A run of three samples a row in each library, without tries of its own."""

    def begin(texts: Sequence[Any] = TEXTS, schema: Any = None, **options: Any) -> Any:
        asked: dict[str, Any] = {"samples": 3, "retries": 0, "backend": claude, "progress": False} | options
        return new({"text": texts, "id": range(len(texts))}).claude.submit("{text}", schema, **asked)

    return begin


@pytest.fixture
def says(plain: PlainServer) -> Callable[..., None]:
    """Let the server answer each text with these results, sample by sample."""

    def tell(rows: int = len(TEXTS), **script: Sequence[dict[str, Any]]) -> None:
        def result(line: bytes) -> bytes:
            made = json.loads(line)
            text = made["result"]["message"]["content"][0]["text"].removeprefix("answer to ")
            position = int(made["custom_id"][NONCE_WIDTH : NONCE_WIDTH + POSITION_WIDTH])
            return json.dumps(made | {"result": script[text][position // rows]}).encode()

        plain.lines = lambda lines: b"\n".join(map(result, lines))

    return tell


def cells(frame: Any, name: str) -> list[Any]:
    """A column's cells, None where missing."""
    return [None if pd.isna(cell) else cell for cell in frame[name]]


# ------------------------------------------------------------------------ asking


def test_a_prompt_answered_once_is_the_first_sample_and_only_two_more_are_sent(ask: Any, plain: PlainServer) -> None:
    ask(samples=1).wait()
    first = plain.asked.total()
    run = ask().wait()

    assert (first, plain.asked.total()) == (3, 9)
    assert set(plain.billed.values()) == {3}
    assert run.cost.tokens.output == 6 * 5
    assert cells(run.result(), "answer") == ["answer to a", "answer to b", "answer to a", None, "answer to c"]


def test_the_same_samples_are_never_paid_again_and_more_of_them_send_the_difference(
    ask: Any, plain: PlainServer
) -> None:
    for samples, total in [(3, 9), (3, 9), (2, 9), (1, 9), (5, 15)]:
        ask(samples=samples).wait()

        assert plain.asked.total() == total


def test_rows_asked_one_by_one_are_samples_of_a_later_run(ask: Any, plain: PlainServer) -> None:
    ask(["a", "a"], samples=1, dedupe=False).wait()
    ask(["a"]).wait()

    assert plain.asked.total() == 3


def test_asking_again_without_reuse_pays_for_every_sample(ask: Any, plain: PlainServer) -> None:
    ask(["a", "b"]).wait()
    ask(["a", "b"], reuse=False).wait()

    assert sorted(plain.billed.values()) == [6, 6]


def test_the_announcement_and_the_forecast_count_every_sample(ask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    once, often = ask(samples=1, reuse=False), ask(reuse=False)
    said = capsys.readouterr().out

    assert f"run {often.id}: 5 rows, 9 requests to send" in said
    assert often.forecast.high == pytest.approx(3 * once.forecast.high, rel=0.01)
    once.wait()
    assert often.wait().counts == {"succeeded": 4, "skipped": 1}


def test_one_sample_adds_nothing(ask: Any, plain: PlainServer) -> None:
    run = ask(samples=1)

    assert list(run.result().columns) == ["text", "id", "answer"]
    assert run.columns == ["answer"]
    assert list(run.samples()["sample"]) == [0] * 5
    assert plain.asked.total() == 3


def test_a_frame_without_rows_has_no_samples(ask: Any) -> None:
    run = ask([None, None])

    assert cells(run.result(), "claude_agreement") == [None, None]
    assert run.counts == {"skipped": 2}
    assert len(run.samples()) == 6
    assert run.objects() == [None, None]
    assert list(ask([]).result().columns) == ["text", "id", "answer", "claude_agreement"]


# ------------------------------------------------------------------------ voting


def test_the_answer_most_samples_gave_is_the_rows_and_with_ties_the_earliest(ask: Any, says: Any) -> None:
    says(a=[X, X, X], b=[X, Y, Y], c=[Y, Z, X])
    out = ask().result()

    assert list(out.columns) == ["text", "id", "answer", "claude_agreement"]
    assert cells(out, "answer") == ["x", "y", "x", None, "y"]
    assert cells(out, "claude_agreement") == [1, 2 / 3, 1, None, 1 / 3]
    assert str(out["claude_agreement"].dtype) == "Float64"


def test_two_pairs_are_a_tie_too(ask: Any, says: Any) -> None:
    says(rows=1, a=[Z, X, Y, Y, X])
    out = ask(["a"], samples=5).result()

    assert (cells(out, "answer"), cells(out, "claude_agreement")) == (["x"], [2 / 5])


def test_an_engine_that_draws_agrees_with_itself_two_times_of_three(new: Any) -> None:
    said: Counter[str] = Counter()

    def draw(params: dict[str, Any]) -> str:
        text = params["messages"][-1]["content"]
        said[text] += 1
        return "odd" if said[text] == 2 else "even"

    with Server(engine=draw) as server:
        backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
        out = new({"text": ["a", "b"]}).claude.batch("{text}", samples=3, backend=backend, progress=False)

    assert (cells(out, "answer"), cells(out, "claude_agreement")) == (["even"] * 2, [2 / 3] * 2)
    assert said == {"a": 3, "b": 3}


def test_failed_samples_count_against_the_answer_and_a_row_fails_where_all_do(ask: Any, says: Any) -> None:
    says(a=[ERROR, Y, Y], b=[EXPIRED, ERROR, REFUSED], c=[ERROR, ERROR, X])
    run = ask(include=["status", "error"])
    with pytest.warns(RowsFailedWarning, match=f"1 of 5 rows of run {run.id} have no answer: 1 expired"):
        out = run.result()

    assert cells(out, "answer") == ["y", None, "y", None, "x"]
    assert cells(out, "claude_agreement") == [2 / 3, None, 2 / 3, None, 1 / 3]
    assert cells(out, "claude_status") == ["succeeded", "expired", "succeeded", "skipped", "succeeded"]
    assert cells(out, "claude_error") == [None, "expired before it was processed", None, None, None]
    assert run.counts == {"succeeded": 3, "expired": 1, "skipped": 1}
    assert [list(run.failures()[name]) for name in ("row", "status")] == [[1, 3], ["expired", "skipped"]]


def test_every_column_has_the_value_that_most_samples_gave(ask: Any, says: Any) -> None:
    one, two, three = (
        succeeded(json.dumps({"topic": topic, "score": score}))
        for topic, score in [("tech", 2), ("sport", 1), ("sport", 2)]
    )
    spelled = succeeded('{ "score": 2.0, "topic": "sport" }')
    says(a=[one, two, three], b=[one, three, spelled], c=[two, two, one])
    run = ask(schema=Verdict)
    out = run.result()

    assert cells(out, "topic") == ["sport", "sport", "sport", None, "sport"]
    assert cells(out, "score") == [2, 2, 2, None, 1]
    assert cells(out, "claude_agreement") == [2 / 3, 2 / 3, 2 / 3, None, 2 / 3]
    assert [repr(one) for one in run.objects()][1:4] == [
        "Verdict(topic='sport', score=2.0)",
        "Verdict(topic='sport', score=2.0)",
        "None",
    ]
    packed = ask(schema=Verdict, unpack=False).result()
    assert list(packed["answer"])[1] == {"topic": "sport", "score": 2}
    assert list(packed["claude_agreement"])[1] == 2 / 3


def told(**values: Any) -> dict[str, Any]:
    return succeeded(json.dumps(values))


class Labelled(BaseModel):
    topic: Literal["sport", "tech", "other"]
    urgent: bool | None
    stars: Literal[1, 2, 3]
    why: str


def labelled(*told_by_sample: tuple[str, bool | None, int, str]) -> list[dict[str, Any]]:
    names = ("topic", "urgent", "stars", "why")
    return [told(**dict(zip(names, values, strict=True))) for values in told_by_sample]


@pytest.mark.parametrize(
    ("samples", "row", "agreement"),
    [  # free text never agrees, and does not count; the reason is of a sample with the row's label
        ([("tech", True, 1, "a"), ("sport", True, 1, "b"), ("sport", True, 1, "c")], ("sport", True, 1, "b"), 2 / 3),
        ([("tech", True, 1, "a"), ("tech", True, 1, "b"), ("tech", True, 1, "c")], ("tech", True, 1, "a"), 1),
        # the least sure of several closed columns
        ([("tech", True, 1, "a"), ("tech", True, 2, "b"), ("tech", False, 3, "b")], ("tech", True, 1, "b"), 1 / 3),
        # each column has its own majority, though no sample gave all three
        ([("tech", True, 1, "a"), ("tech", None, 2, "b"), ("other", True, 2, "c")], ("tech", True, 2, "a"), 2 / 3),
        # with a tie, the sample that agrees best with the others elsewhere
        ([("other", True, 1, "a"), ("tech", False, 2, "b"), ("sport", False, 2, "c")], ("tech", False, 2, "b"), 1 / 3),
    ],
)
def test_labels_are_voted_each_by_itself_and_agreement_is_that_of_labels(
    ask: Any, says: Any, samples: list[Any], row: tuple[Any, ...], agreement: float
) -> None:
    says(rows=1, a=labelled(*samples))
    run = ask(["a"], schema=Labelled)
    out = run.result()

    assert [cells(out, name)[0] for name in ("topic", "urgent", "stars", "why")] == list(row)
    assert cells(out, "claude_agreement") == [agreement]
    assert run.objects() == [Labelled(**dict(zip(("topic", "urgent", "stars", "why"), row, strict=True)))]
    shares = run.shares()
    assert dict(zip(shares["label"], shares["rows"], strict=True))[row[0]] == 1


def test_lists_and_objects_of_labels_are_labels_too(ask: Any, says: Any) -> None:
    class Inner(BaseModel):
        ok: bool

    class Tagged(BaseModel):
        tags: list[Literal["a", "b"]]
        inner: Inner
        why: str

    made = [
        told(tags=tags, inner={"ok": ok}, why=why) for tags, ok, why in [("b", 1, "x"), ("a", 0, "y"), ("a", 0, "z")]
    ]
    for one in made:
        text = json.loads(one["message"]["content"][0]["text"])
        text |= {"tags": [text["tags"]], "inner": {"ok": bool(text["inner"]["ok"])}}
        one["message"]["content"][0]["text"] = json.dumps(text)
    says(rows=1, a=made)
    out = ask(["a"], schema=Tagged, unpack=False).result()

    assert next(iter(out["answer"])) == {"tags": ["a"], "inner": {"ok": False}, "why": "y"}
    assert cells(out, "claude_agreement") == [2 / 3]


def test_what_the_samples_come_to_is_an_object_even_where_a_check_refuses_the_mixture(ask: Any, says: Any) -> None:
    class Checked(BaseModel):
        topic: Literal["x", "y"]
        number: Literal[1, 2]

        @model_validator(mode="after")
        def together(self) -> Self:
            if (self.topic, self.number) == ("y", 2):
                raise ValueError("y has no 2")
            return self

    says(
        rows=1,
        a=[
            told(topic="x", number=2),
            told(topic="y", number=1),
            told(topic="y", number=1),
            ERROR,
            told(topic="x", number=2),
            told(topic="y", number=1),
            told(topic="x", number=2),
        ],
    )
    run = ask(["a"], samples=7, schema=Checked).wait()

    assert run.objects() == [Checked(topic="x", number=2)]


def test_what_include_adds_is_of_the_sample_that_stands_for_the_row(ask: Any, says: Any) -> None:
    long = succeeded("y", usage={"input_tokens": 1, "output_tokens": 99})
    says(rows=1, a=[X, long, long])
    run = ask(["a"], include=["message", "output_tokens", "custom_id"], into="topic")
    out = run.result()

    assert run.columns == ["topic", "topic_agreement", "topic_message", "topic_output_tokens", "topic_custom_id"]
    assert list(out["topic_output_tokens"]) == [99]
    assert next(iter(out["topic_custom_id"]))[NONCE_WIDTH : NONCE_WIDTH + POSITION_WIDTH] == "0000000001"
    assert repr(run.show(0)).splitlines()[-3:] == ["answered: y", "topic: 'y'", f"topic_agreement: {2 / 3}"]
    assert run.cost.tokens.output == 5 + 99 + 99


# ------------------------------------------------------------------ where answers are


def test_samples_are_told_one_a_line_in_the_order_of_rows(ask: Any, says: Any) -> None:
    says(rows=3, a=[ERROR, Y, Y], b=[X, REFUSED, X])
    told = ask(["b", None, "a"], key="id", into="topic").wait().samples()

    assert list(told.columns) == ["row", "sample", "id", "topic", "status", "error"]
    assert list(told["row"]) == list(told["id"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(told["sample"]) == [0, 1, 2] * 3
    assert cells(told, "topic") == ["x", None, "x", None, None, None, None, "y", "y"]
    assert list(told["status"]) == [
        *("succeeded", "refused", "succeeded"),
        *["skipped"] * 3,
        *("errored", "succeeded", "succeeded"),
    ]
    assert cells(told, "error") == [
        *(None, "the model refused to answer", None),
        *["null in column 'text'"] * 3,
        *("api_error: oh", None, None),
    ]


def test_answers_and_samples_come_in_either_library(ask: Any) -> None:
    run = ask().wait()

    assert isinstance(run.samples("polars"), pl.DataFrame)
    assert isinstance(run.samples("pandas"), pd.DataFrame)
    assert list(run.answers("pandas").columns) == ["row", "answer", "claude_agreement", "status", "error"]


def test_the_cell_again_replaces_the_answer_and_its_agreement(ask: Any, says: Any, claude: Any) -> None:
    says(a=[X, X, X], b=[X, Y, Y], c=[Y, Z, X])
    cell = {"samples": 3, "backend": claude, "progress": False}
    once = ask().result()
    twice = once.claude.batch("{text}", **cell)
    by_hand = pl.lit(0.5).alias("claude_agreement")
    edited: Any = once.with_columns(by_hand) if isinstance(once, pl.DataFrame) else once.assign(claude_agreement=0.5)

    assert list(twice.columns) == list(once.columns)
    assert cells(twice, "claude_agreement") == cells(once, "claude_agreement")
    with pytest.raises(ColumnClash, match="columns in the way: 'claude_agreement'"):
        edited.claude.batch("{text}", **cell)


def test_a_join_lays_answers_and_agreement_onto_any_rows(ask: Any, says: Any, new: Any) -> None:
    says(a=[X, X, X], b=[X, Y, Y], c=[Y, Z, X])
    run = ask()
    with pytest.warns(UserWarning, match="1 of 4 rows are not in run"):
        out = run.join(new({"text": ["c", "b", "c", "new"]}))

    assert cells(out, "answer") == ["y", "y", "y", None]
    assert cells(out, "claude_agreement") == [1 / 3, 2 / 3, 1 / 3, None]


def test_a_series_becomes_a_series_of_structs(new: Any, says: Any, claude: Any) -> None:
    says(rows=2, a=[X, X, X], b=[X, Y, Y])
    out = new({"text": ["a", "b"]})["text"].claude.batch("{}", samples=3, backend=claude, progress=False)

    assert list(out) == [
        {"answer": "x", "claude_agreement": 1},
        {"answer": "y", "claude_agreement": 2 / 3},
    ]


def test_another_process_finds_the_same_votes(ask: Any, says: Any, tmp_path: Path) -> None:
    says(a=[X, X, X], b=[X, Y, Y], c=[Y, Z, X])
    run = ask().wait()
    file = run.export(tmp_path / "samples.run")
    run_layer.close_ledgers()
    code = """
import sys, dfbatch
for name in sys.argv[1:]:
    run = dfbatch.open(name)
    for frame in (run.answers("polars"), run.answers("polars", wait=False), run.samples("polars")):
        print(list(frame["answer"]), run.counts)
    print(run.answers("polars")["claude_agreement"].round(2).to_list())
"""
    command = [sys.executable, "-c", code, run.id, str(file)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    counts = "{'succeeded': 4, 'skipped': 1}"
    assert (
        told.splitlines()
        == [
            f"['x', 'y', 'x', None, 'y'] {counts}",
            f"['x', 'y', 'x', None, 'y'] {counts}",
            f"{['x'] * 3 + ['x', 'y', 'y'] + ['x'] * 3 + [None] * 3 + ['y', 'z', 'x']} {counts}",
            "[1.0, 0.67, 1.0, None, 0.33]",
        ]
        * 2
    )


def test_a_batch_adopted_without_its_ledger_brings_every_sample_back(
    ask: Any, says: Any, new: Any, claude: Any
) -> None:
    says(a=[X, X, X], b=[X, Y, Y], c=[Y, Z, X])
    run = ask().wait()
    batch_id = run.snapshot().batches[0].batch_id
    run.forget()
    back = dfbatch.adopt(batch_id, new({"text": TEXTS}), "{text}", samples=3, backend=claude, progress=False)

    assert cells(back.result(), "claude_agreement") == [1, 2 / 3, 1, None, 1 / 3]


# ------------------------------------------------------------------------- tries


def test_a_retry_asks_the_failed_samples_alone(ask: Any, says: Any, plain: PlainServer) -> None:
    says(rows=1, a=[X, ERROR, X])
    run = ask(["a"]).wait()
    before = cells(run.partial(), "claude_agreement")
    says(rows=1, a=[Y, X, Y])
    run.retry().wait()

    assert (before, cells(run.partial(), "claude_agreement")) == ([2 / 3], [1])
    assert plain.asked.total() == 4


def test_automatic_tries_are_of_single_samples(ask: Any, plain: PlainServer, says: Any) -> None:
    says(rows=1, a=[X, X, succeeded("cut", stop_reason="max_tokens")])
    lines, seen = plain.lines, []

    def later(made: list[bytes]) -> bytes:
        seen.append(len(made))
        if len(seen) == 1:
            return lines(made)
        return b"\n".join(json.dumps(json.loads(line) | {"result": Y}).encode() for line in made)

    plain.lines = later
    run = ask(["a"], retries=2).wait()

    assert seen == [3, 1]
    assert list(run.samples()["answer"]) == ["x", "x", "y"]


def test_samples_asked_of_another_model_are_laid_and_stay_apart(ask: Any, plain: PlainServer, says: Any) -> None:
    says(a=[ERROR, ERROR, ERROR], b=[X, X, X], c=[X, ERROR, ERROR])
    run = ask().wait()
    says(a=[X, Y, Y], b=[Z, Z, Z], c=[Z, X, Y])
    run.retry(model="claude-sonnet-5-5").wait()

    assert cells(run.partial(), "answer") == ["y", "x", "y", None, "x"]
    assert cells(run.partial(), "claude_agreement") == [2 / 3, 1, 2 / 3, None, 2 / 3]
    asked = [item["params"]["model"] for held in plain.requests.values() for item in held]
    assert Counter(asked) == {"claude-haiku-5-5": 9, "claude-sonnet-5-5": 5}
    run_layer.close_ledgers()
    assert cells(dfbatch.open(run.id).answers(), "answer") == ["y", "x", "y", None, "x"]


def test_a_name_used_twice_is_refused_before_anything_is_sent(ask: Any, plain: PlainServer) -> None:
    fields = {"agreement": {"type": "boolean"}}
    schema = {"type": "object", "properties": fields, "required": ["agreement"], "additionalProperties": False}
    with pytest.raises(OptionError) as caught:
        ask(schema=schema, into="topic")

    assert str(caught.value).startswith("two columns would be called 'topic_agreement'\nHint: ")
    assert plain.batches == {}


# -------------------------------------------------------------------- votes alone

answer = st.tuples(st.sampled_from(OUTCOMES[:4]), st.sampled_from([None, "x", "y", "z"]), st.sampled_from([1.5, None]))


@st.composite
def polls(draw: st.DrawFn) -> tuple[int, list[list[tuple[Any, ...]]], list[int]]:
    samples, size = draw(st.integers(1, 5)), draw(st.integers(0, 4))
    rows = [[draw(answer) for _ in range(samples)] for _ in range(size)]
    return samples, rows, draw(st.lists(st.integers(-1, size - 1), max_size=8))


def sheet_of(samples: int, rows: list[list[tuple[Any, ...]]]) -> Sheet:
    """What a run knows that asked these and was told these."""
    told = [row[sample] for sample in range(samples) for row in rows]
    sheet = Sheet(np.zeros(len(told), REQUEST), schemas.read(Verdict))
    sheet.found["outcome"] = [CODE[outcome] for outcome, *_ in told]
    for builder, values in zip(sheet._builders, zip(*(values for _, *values in told), strict=True), strict=False):
        builder.put(range(len(told)), values)
    return sheet


def counted(row: list[tuple[Any, ...]]) -> tuple[int, float, list[int]]:
    """By hand: the sample that stands for a row, the votes of its least sure column, and the sample of each column."""
    outcomes = [told[0] for told in row]
    good = [at for at, outcome in enumerate(outcomes) if outcome == "succeeded"]
    if not good:
        stands = outcomes.index("pending") if "pending" in outcomes else 0
        return stands, 0, [stands, stands]
    counts = [Counter(row[at][column] for at in good) for column in (1, 2)]
    stands = max(good, key=lambda at: (sum(votes[row[at][1 + nth]] for nth, votes in enumerate(counts)), -at))
    winners = []
    for nth, votes in enumerate(counts):
        best = [at for at in good if votes[row[at][1 + nth]] == max(votes.values())]
        winners.append(stands if stands in best else best[0])
    return stands, min(max(votes.values()) for votes in counts), winners


@settings(deadline=None)
@given(polls())
def test_votes_are_what_counting_by_hand_finds(poll: tuple[int, list[list[tuple[Any, ...]]], list[int]]) -> None:
    samples, rows, asked = poll
    sheet, take = sheet_of(samples, rows), np.array(asked, np.int64)
    chosen, share, takes = elect(sheet, samples, take)
    by_hand = [counted(rows[row]) if row >= 0 else (-1, 0, [-1, -1]) for row in asked]
    stands = standing(sheet, samples, take)

    def placed(sample: int, row: int) -> int:
        return sample * len(rows) + row if row >= 0 else -1

    assert share.tolist() == [votes / samples for _, votes, _ in by_hand]
    if samples > 1:
        assert chosen.tolist() == [placed(sample, row) for row, (sample, _, _) in zip(asked, by_hand, strict=True)]
        for nth, each in enumerate(takes):
            winners = [placed(winner[nth], row) for row, (_, _, winner) in zip(asked, by_hand, strict=True)]
            assert each.tolist() == winners
        assert elect(sheet, samples, chosen).take.tolist() == chosen.tolist()
    assert sheet.outcomes(stands).tolist() == sheet.outcomes(chosen).tolist()
    for row, outcome in zip(asked, sheet.outcomes(stands).tolist(), strict=True):
        if row >= 0:
            known = [CODE[told] for told, *_ in rows[row]]
            expected = SUCCEEDED if SUCCEEDED in known else PENDING if PENDING in known else known[0]
            assert outcome == expected
    wide = every(sheet, samples, take).tolist()
    assert wide == [row + s * len(rows) if row >= 0 else -1 for row in asked for s in range(samples)]
