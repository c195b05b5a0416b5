"""The last rows through `/v1/messages`: at once, at the full price, and what a kill in flight leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch.errors import OptionError
from dfbatch.models import Models
from dfbatch.pricing import Tokens
from dfbatch.pricing import cost as priced
from dfbatch.run.collect import IN_FLIGHT

from .hours import Hours
from .oracle import Oracle
from .sites import KEY, Emulated, Plain, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers
Answer = Literal["x", "y"]
ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
HAIKU = Models().find("claude-haiku-4-5")
OTHER = "import sys, dfbatch; dfbatch.open(sys.argv[1]).retry('refused', via='now').wait()"

pytestmark = [
    pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning"),
    pytest.mark.usefixtures("haiku_4_5"),
]


@pytest.fixture
def oracle() -> Oracle:
    return Oracle({"a": ["refused", "fine"], "b": ["refused", "fine"]})


@pytest.fixture(params=["emulator", "plain"])
def site(request: pytest.FixtureRequest, oracle: Oracle) -> Iterator[Site]:
    """Each server."""
    with Emulated(engine=oracle.engine) if request.param == "emulator" else Plain(oracle.result) as server:
        yield server


@pytest.fixture
def alone(oracle: Oracle) -> Iterator[Plain]:
    with Plain(oracle.result) as server:
        yield server


@pytest.fixture
def hours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Hours:
    """What runs go by."""
    clock = Hours(request.getfixturevalue("site" if "site" in request.fixturenames else "alone"))
    monkeypatch.setattr("dfbatch.run.clock.wall", clock)
    return clock


def refused(site: Site, texts: str = "abc", **more: Any) -> Any:
    """A run in which some rows were refused."""
    backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
    frame = Polars({"text": [*texts]})
    return frame.claude.submit("{text}", Answer, backend=backend, progress=False, **more).wait()


def dollars(site: Site) -> float:
    """What the server billed: direct calls are twice as dear."""
    if isinstance(site, Emulated):
        return float(site.usage()["dollars"])
    assert isinstance(site, Plain)
    batched, direct = (Tokens(10 * count, 5 * count) for count in (site.billed.total(), site.direct.total()))
    return (priced(HAIKU, batched) or 0) + (priced(HAIKU, direct, batch=False) or 0)


def test_rows_are_answered_at_once_and_cost_the_full_price(site: Site, hours: Hours) -> None:
    run = refused(site)
    before = run.cost.spent
    assert run.counts == {"refused": 2, "succeeded": 1}
    run.retry("refused", via="now").wait()

    assert run.counts == {"succeeded": 3}
    assert run.answers()["answer"].to_list() == ["x"] * 3
    assert (site.calls("messages"), len(site.made())) == (2, 1)
    assert run.cost.spent == pytest.approx(dollars(site))
    assert run.cost.spent > before
    assert dfbatch.open(run.id).cost.spent == pytest.approx(dollars(site))


def test_another_model_and_more_tokens_can_be_asked_at_once(site: Site, hours: Hours, oracle: Oracle) -> None:
    run = refused(site)
    run.retry("refused", via="now", model="claude-haiku-4-5-20251001", max_tokens=77).wait()

    asked = [(params["model"], params["max_tokens"]) for params in oracle.asked[3:]]
    assert asked == [("claude-haiku-4-5-20251001", 77)] * 2
    assert run.counts == {"succeeded": 3}


def test_what_was_answered_at_once_answers_the_cell_again(site: Site, hours: Hours, oracle: Oracle) -> None:
    refused(site).retry("refused", via="now").wait()
    asked = len(oracle.asked)

    assert refused(site).counts == {"succeeded": 3}
    assert len(oracle.asked) == asked


def test_no_more_than_two_hundred_at_once(alone: Plain, hours: Hours, oracle: Oracle) -> None:
    texts = [chr(0x4E00 + at) for at in range(201)]
    oracle.script = {text: ["refused", "fine"] for text in texts}
    run = refused(alone, "".join(texts), preflight=False)
    with pytest.raises(OptionError) as caught:
        run.retry("refused", via="now")

    assert str(caught.value) == (
        "201 requests are too many for via='now', which takes 200\n"
        "nothing was sent\n"
        'Hint: via="batch" asks them at half the price'
    )
    assert (alone.calls("messages"), len(alone.made())) == (0, 1)
    assert run.retry("refused").wait().counts == {"succeeded": 201}


@pytest.mark.parametrize(
    "fault", ["429@messages:times=3,retry_after=20", "529@messages:times=3", "reset@messages:times=1"]
)
def test_what_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch, oracle: Oracle, fault: str) -> None:
    """A reset before the whole request was taken is certain: nothing was answered."""
    with Emulated(engine=oracle.engine) as site:
        monkeypatch.setattr("dfbatch.run.clock.wall", Hours(site))
        run = refused(site)
        site.house.faults.arm([fault])
        run.retry("refused", via="now").wait()

        assert run.counts in ({"succeeded": 3}, {"succeeded": 2, "missing": 1})
        assert ("reset" in fault) >= ("missing" in run.counts)
        assert run.cost.spent == pytest.approx(dollars(site))


def test_what_fails_at_once_too_says_why_and_is_not_asked_for_ever(alone: Plain, hours: Hours, oracle: Oracle) -> None:
    oracle.script = {"a": ["refused", "invalid_request_error"], "b": ["refused", "overloaded_error"]}
    run = refused(alone, retries=0)
    run.retry("refused", via="now").wait()

    assert run.counts == {"errored": 2, "succeeded": 1}
    assert run.answers()["error"].to_list() == [
        "invalid_request_error: the API said 400 invalid_request_error: no",
        "overloaded_error: the API said 529 overloaded_error: no",
        None,
    ]
    assert [oracle.texts().count(text) for text in "ab"] == [2, 4]


def test_a_reply_that_is_lost_leaves_the_row_missing_and_says_that_it_may_be_billed(
    alone: Plain, hours: Hours, oracle: Oracle
) -> None:
    run = refused(alone)
    alone.quiet = 1
    run.retry("refused", via="now").wait()

    assert run.counts == {"succeeded": 2, "missing": 1}
    assert IN_FLIGHT in run.answers()["error"].to_list()
    assert alone.calls("messages") == 2
    assert run.retry("missing").wait().counts == {"succeeded": 3}


def test_canceling_stops_what_was_not_asked_yet(alone: Plain, hours: Hours, oracle: Oracle) -> None:
    """Four are under way at one time, and are answered; the others are canceled."""
    texts = [chr(0x4E00 + at) for at in range(20)]
    oracle.script = {text: ["refused", "fine"] for text in texts}
    run = refused(alone, "".join(texts))
    alone.gates["reply"].close()
    run.retry("refused", via="now")
    assert alone.gates["reply"].arrived.wait(10)
    run.cancel()
    alone.gates["reply"].open.set()
    run.wait()

    assert run.status == "canceled"
    assert run.counts["succeeded"] <= 4
    assert run.counts["canceled"] + run.counts["succeeded"] == 20
    assert alone.calls("messages") <= 4


def test_killed_in_flight_what_came_is_kept_and_the_rest_is_missing(
    alone: Plain, hours: Hours, oracle: Oracle, ledger_home: Path
) -> None:
    """Three answers are on disk when the process dies, and one is on its way."""
    oracle.script = {text: ["refused", "fine"] for text in "abcd"}
    run = refused(alone, "abcde")
    alone.held = {"d"}
    alone.gates["reply"].close()
    environment = {**os.environ, "ANTHROPIC_API_KEY": KEY, "DFBATCH_HOME": str(ledger_home)}
    with subprocess.Popen([sys.executable, "-c", OTHER, run.id], env=environment, cwd=ROOT) as other:
        assert alone.gates["reply"].arrived.wait(PATIENCE)
        while sum(path.read_bytes().count(b"\n") for path in ledger_home.rglob("*.now")) < 3:
            threading.Event().wait(0.01)
        other.kill()
    assert other.returncode == -signal.SIGKILL
    alone.gates["reply"].open.set()
    opened = dfbatch.open(run.id, backend=dfbatch.Anthropic(api_key=KEY, base_url=alone.url))

    assert opened.resume().wait().counts == {"succeeded": 4, "missing": 1}
    assert opened.failures()["error"].to_list() == [IN_FLIGHT]
    assert opened.resume().wait().cost.tokens.output == 5 * 8
    assert (alone.calls("messages"), len(alone.made())) == (4, 1)


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_where_the_answers_get_their_name(alone: Plain, hours: Hours, oracle: Oracle, when: str) -> None:
    """The two steps of the end, a rename and a note, told apart by what is on disk: no answer is lost."""
    run = refused(alone)
    run.retry("refused", via="now").wait()
    (chunk,) = [chunk for chunk in run._ledger.chunks(run.id) if chunk.kind == "now"]
    answers = run._ledger.chunk_file(chunk.id, "jsonl")
    run._ledger.note(chunk.id, state="submitting")
    if when == "before":
        answers.rename(answers.with_suffix(".now"))
    opened = dfbatch.open(run.id, backend=dfbatch.Anthropic(api_key=KEY, base_url=alone.url))

    assert opened.resume().wait().counts == {"succeeded": 3}
    assert alone.calls("messages") == 2
