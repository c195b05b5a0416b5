"""Models that retire, think unasked or take no temperature: told before a cent is spent, whatever the day is."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import pytest

import dfbatch
from dfbatch import Anthropic
from dfbatch.contradictions import Asked, for_another, retired, retiring, without_thinking
from dfbatch.emulator import Server
from dfbatch.errors import OptionError, RetirementWarning
from dfbatch.models import LISTED, Models, unlisted

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SHOWN = ["README.md", *(f"notebooks/{name}.ipynb" for name in ("01_first_labels", "02_label_a_table"))]
LASTS = date(2027, 12, 31)  # no model is shown whose retirement before that day is known
OPUS, SONNET = "claude-opus-4-5", "claude-sonnet-4-5"


class Calendar:
    """A clock that stands still on a day."""

    def __init__(self, day: str) -> None:
        self.day = day

    def now(self) -> float:
        return datetime.fromisoformat(self.day).replace(tzinfo=UTC).timestamp() + 3600


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(engine="sample") as serving:
        yield serving


@pytest.fixture
def silent() -> Iterator[Server]:
    """It tells nothing of its models."""
    with Server(engine="sample", faults=["500@model:times=9"]) as serving:
        yield serving


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say which day it is."""

    def day(text: str) -> None:
        calendar = Calendar(text)
        monkeypatch.setattr("dfbatch.run.clock.WallClock.now", lambda _: calendar.now())

    return day


def call(server: Server, **options: Any) -> dict[str, Any]:
    return {"backend": Anthropic(api_key="k", base_url=server.url), "progress": False, **options}


def frame(*texts: str) -> Any:
    return pl.DataFrame({"text": texts or ("a", "b")})


@pytest.mark.parametrize(
    ("today", "over"), [("2026-11-29", False), ("2026-11-30", False), ("2026-12-01", True), ("2030-01-01", True)]
)
def test_a_model_is_refused_from_the_day_after_its_last_one(today: str, *, over: bool) -> None:
    model = Models().find(SONNET)
    assert model is not None
    found = retired(Asked(SONNET, 100), model, date.fromisoformat(today))

    assert (found is not None) == over
    assert found is None or (found.hint, str(found.what)) == (
        'model="claude-sonnet-5-5"',
        "model='claude-sonnet-4-5' is retired since 2026-11-30: the API does not answer for it any more",
    )


@pytest.mark.parametrize(
    ("today", "told"), [("2026-11-22", False), ("2026-11-23", True), ("2027-01-22", True), ("2027-01-23", False)]
)
def test_sixty_days_ahead_it_is_told(today: str, *, told: bool) -> None:
    model = Models().find(OPUS)
    assert model is not None

    assert bool(retiring(model, date.fromisoformat(today))) == told


def test_every_retirement_has_its_source_and_names_a_model_that_lives() -> None:
    going = [model for model in LISTED if model.retires is not None]
    followers = [Models().find(model.successor) for model in going]

    assert [model.id for model in going if not model.retirement] == []
    assert all(after is not None and after.retires is None for after in followers)


def test_what_a_server_tells_of_a_models_life_counts_more() -> None:
    model = Models().find(SONNET)
    assert model is not None
    kept, moved = (
        model.told({"lifecycle": "active", "retires_at": None}),
        model.told({"retires_at": "2031-05-01T00:00"}),
    )

    assert (kept.retires, moved.retires, model.told({}).retires) == (None, date(2031, 5, 1), model.retires)
    assert unlisted("m").told({"lifecycle": "retired"}).is_retired(date(2026, 1, 1))


@pytest.mark.parametrize("texts", [("a",), tuple(map(str, range(30)))], ids=["one", "many"])
def test_a_retired_model_costs_nothing_and_names_the_one_that_follows(server: Server, texts: Any) -> None:
    with pytest.raises(dfbatch.DfbatchError) as caught:
        frame(*texts).claude.batch("{text}", model=SONNET, **call(server))

    assert "claude-sonnet-5-5" in str(caught.value)
    assert server.usage()["calls"].get("POST /v1/messages/batches", 0) == 0


def test_where_the_server_is_silent_our_list_counts(silent: Server) -> None:
    with pytest.raises(OptionError, match=r"is retired since 2026-11-30(.|\n)*Hint: model=\"claude-sonnet-5-5\""):
        frame().claude.batch("{text}", model=SONNET, **call(silent))


def test_a_call_of_a_model_that_retires_soon_warns_once(silent: Server, on: Any) -> None:
    on("2026-12-24")
    with pytest.warns(RetirementWarning, match=r"claude-opus-4-5 retires on 2027-01-22 (.|\n)*claude-opus-5-5") as told:
        frame().claude.submit("{text}", model=OPUS, **call(silent)).cancel()

    assert len(told) == 1


# ------------------------------------------------------------------ the default


def test_without_a_model_haiku_is_asked_and_does_not_think(server: Server) -> None:
    asked = frame().claude.plan("{text}", **call(server))

    assert asked.model == "claude-haiku-5-5"
    assert without_thinking({}, Models().find(asked.model)) == {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize(
    "params",
    [{"thinking": {"type": "adaptive"}}, {"output_config": {"effort": "xhigh"}}, {"output_config": {"effort": "max"}}],
)
def test_what_the_call_says_of_thinking_counts(params: dict[str, Any]) -> None:
    assert without_thinking(params, Models().find("claude-haiku-5-5")) == params


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-sonnet-5-5", {}),  # it thinks, or between tools alone
        ("claude-haiku-4-5", {"thinking": {"type": "disabled"}}),
        ("somebody-elses", {}),
    ],
)
def test_asked_of_another_model_what_we_said_of_thinking_goes_with_the_model(name: str, expected: Any) -> None:
    haiku, other = Models().find("claude-haiku-5-5"), Models().find(name)

    assert for_another({"thinking": {"type": "disabled"}}, haiku, other) == expected


def test_a_model_that_thinks_unasked_with_little_room_is_told(server: Server) -> None:
    few = {"model": "claude-opus-5-5", "max_tokens": 1999}
    noted = frame().claude.plan("{text}", **call(server, **few)).notes
    with pytest.warns(UserWarning, match="thinking counts as part of max_tokens=1999") as told:
        frame().claude.submit("{text}", **call(server, **few)).cancel()

    assert len(told) == 1
    assert [note for note in noted if "thinking counts" in note] != []
    assert "thinking counts" not in str(
        frame().claude.plan("{text}", **call(server, model="claude-opus-5-5", max_tokens=2000))
    )


# ------------------------------------------------------------------ cheaper, and refused


def test_a_plan_names_the_cheapest_model_that_takes_the_job_where_it_costs_less_than_half(server: Server) -> None:
    dear = frame().claude.plan("{text}", Literal["a", "b"], **call(server, model="claude-sonnet-4-6"))
    (line,) = [note for note in dear.notes if "takes the same job" in note]

    assert line.startswith('model="claude-haiku-5-5" takes the same job for about $')
    assert "same job" not in str(frame().claude.plan("{text}", Literal["a", "b"], **call(server)))


def test_a_model_that_does_not_take_the_job_is_not_named(server: Server) -> None:
    thinks = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    plan = frame().claude.plan("{text}", **call(server, model="claude-opus-4-6", max_tokens=4000, params=thinks))

    assert [note for note in plan.notes if note.startswith('model="claude-haiku-5-5"')] == []


@pytest.mark.parametrize("texts", [("a",), tuple(map(str, range(30)))], ids=["one", "many"])
@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_temperature_and_its_like_are_refused_before_sending(server: Server, name: str, texts: Any) -> None:
    value = 5 if name == "top_k" else 0.5

    with pytest.raises(OptionError, match=rf"params has {name}, which claude-haiku-5-5 does not take"):
        frame(*texts).claude.batch("{text}", params={name: value}, **call(server))


def test_their_defaults_pass_under_the_version_that_knows_them(server: Server) -> None:
    out = frame().claude.batch("{text}", params={"temperature": 1}, **call(server))

    assert out["answer"].null_count() == 0


def test_an_older_model_takes_a_temperature(server: Server) -> None:
    out = frame().claude.batch("{text}", model="claude-haiku-4-5", params={"temperature": 0.5}, **call(server))

    assert out["answer"].null_count() == 0


@pytest.mark.parametrize("texts", [("a",), tuple(map(str, range(30)))], ids=["one", "many"])
def test_citations_beside_a_schema_are_refused_before_sending(server: Server, texts: Any) -> None:
    def ask(row: Any) -> list[dict[str, Any]]:
        source = {"type": "text", "media_type": "text/plain", "data": row["text"]}
        return [
            {"type": "document", "source": source, "citations": {"enabled": True}},
            {"type": "text", "text": "Why?"},
        ]

    with pytest.raises(OptionError, match=r"citations with schema= are refused by the API \(row 0\)"):
        frame(*texts).claude.batch(ask, Literal["a", "b"], **call(server))
    assert frame(*texts).claude.batch(ask, **call(server))["answer"].null_count() == 0


def test_a_text_that_speaks_of_citations_is_no_citation(server: Server) -> None:
    def ask(row: Any) -> list[dict[str, Any]]:
        return [
            {"type": "text", "text": row["text"] + json.dumps({"citations": {"enabled": True}}, separators=(",", ":"))}
        ]

    assert frame().claude.batch(ask, Literal["a", "b"], **call(server))["answer"].null_count() == 0


def test_a_slip_in_the_models_name_beside_a_budget_is_told_as_a_slip(server: Server) -> None:
    with pytest.raises(OptionError, match=r'did you mean model="claude-haiku-5-5"'):
        frame().claude.batch("{text}", model="claude-haiku-55", budget=1.0, **call(server))


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({}, "from the schema"),  # Haiku 5.5, thinking disabled
        ({"model": "claude-opus-4-8"}, "from the schema"),  # it does not think unasked
        ({"params": {"thinking": {"type": "adaptive"}}}, "from max_tokens"),
        ({"model": "claude-opus-5"}, "from max_tokens"),  # it does
    ],
)
def test_a_schema_bounds_answers_where_nothing_is_thought_before(
    server: Server, options: dict[str, Any], how: str
) -> None:
    plan = frame().claude.plan("{text}", Literal["a", "b"], **call(server, max_tokens=4000, **options))

    assert plan.tokens_out.how == how


# ------------------------------------------------------------------ shown


def test_every_model_that_is_shown_lives() -> None:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in SHOWN]
    texts += [path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").glob("*.py"))]
    texts += [
        path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "dfbatch").rglob("*.py"))
        if path.name != "models.py" and "emulator" not in path.parts
    ]
    shown = {
        name
        for text in texts
        for name in re.findall(
            r"claude-(?:haiku|sonnet|opus|fable|mythos)-\d[\d-]*\d|claude-(?:haiku|sonnet|opus|fable)-\d", text
        )
    }
    found = {name: Models().find(name) for name in shown}

    assert "claude-haiku-5-5" in shown
    assert [name for name, model in found.items() if model is None or (model.retires or LASTS) < LASTS] == []
