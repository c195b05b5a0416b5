"""What is known of models: every number has a source, what users say counts, and what a server says counts more."""

from __future__ import annotations

from typing import Any

import pytest

from dfbatch.errors import OptionError
from dfbatch.models import KINDS, LISTED, Models, relied_on, unlisted

BATCH_TABLE = {  # USD per million tokens in a batch, in / out: Anthropic's table of May 2026
    "claude-opus-4-7": (2.50, 12.50),
    "claude-opus-4-6": (2.50, 12.50),
    "claude-opus-4-5": (2.50, 12.50),
    "claude-opus-4-1": (7.50, 37.50),
    "claude-sonnet-4-6": (1.50, 7.50),
    "claude-sonnet-4-5": (1.50, 7.50),
    "claude-haiku-4-5": (0.50, 2.50),
    "claude-3-5-haiku": (0.40, 2.00),
}


@pytest.mark.parametrize(("name", "expected"), BATCH_TABLE.items())
def test_the_older_models_cost_what_the_table_of_batches_says(name: str, expected: tuple[float, float]) -> None:
    model = Models().find(name)
    assert model is not None

    assert (model.price.input * model.batch, model.price.output * model.batch) == pytest.approx(expected)


def test_every_model_says_where_and_when_it_was_read() -> None:
    assert [model.id for model in LISTED if "202" not in model.source] == []


def test_no_id_and_no_alias_means_two_models() -> None:
    names = [name for model in LISTED for name in {model.id, f"{model.id}-{model.dated}" if model.dated else model.id}]

    assert len(names) == len({*names})


@pytest.mark.parametrize("name", ["claude-haiku-4-5", "claude-haiku-4-5-20251001", "claude-haiku-4-5-20301231"])
def test_a_model_is_found_by_its_alias_and_by_any_dated_id(name: str) -> None:
    found = Models().find(name)

    assert found is not None
    assert found.id == "claude-haiku-4-5"


@pytest.mark.parametrize(
    "name", ["", "x", "claude-haiku-4", "claude-haiku-4-5-", "claude-haiku-4-5-2025100", "claude-haiku-4-5-2025100x"]
)
def test_what_is_not_listed_is_not_guessed(name: str) -> None:
    assert Models().find(name) is None


def test_users_add_models_and_replace_prices_and_what_they_leave_out_follows_the_rules() -> None:
    said = {
        "mine": {"input": 2, "output": 8, "batch": 1},
        "claude-haiku-4-5-20251001": {"input": 0.5, "output": 4, "cache_read": 0.01, "source": "our contract, 2026"},
    }
    models = Models.read(said)
    mine, haiku = models.find("mine"), models.find("claude-haiku-4-5")
    assert mine is not None
    assert haiku is not None

    assert (mine.price.cache_write_5m, mine.price.cache_write_1h, mine.price.cache_read) == (2.5, 4.0, 0.2)
    assert (mine.batch, mine.source, mine.most) == (1.0, "prices=", None)
    assert (haiku.price.input, haiku.price.cache_read, haiku.batch, haiku.most) == (0.5, 0.01, 0.5, 64_000)
    assert haiku.source == "our contract, 2026"
    assert Models().find("mine") is None


def test_a_price_of_the_user_has_no_long_context_tier_of_ours() -> None:
    found = Models.read({"claude-haiku-5-5": {"input": 1, "output": 1}}).find("claude-haiku-5-5")
    assert found is not None

    assert (found.above, found.long) == (None, None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"m": {"input": 1}}, "missing required field `output` (model 'm')"),
        ({"m": {"input": -1, "output": 1}}, "Expected `float` >= 0.0 - at `$.input` (model 'm')"),
        ({"m": {"input": "1", "output": 1}}, "got `str` - at `$.input` (model 'm')"),
        ({"m": {"input": 1, "output": 1, "cached": 1}}, "unknown field `cached` (model 'm')"),
        ({"m": {"input": 1, "output": 1, "batch": 0}}, "- at `$.batch` (model 'm')"),
        ({"m": 5}, "got `int` (model 'm')"),
        (5, "prices= must be a mapping, got int"),
    ],
)
def test_what_is_no_price_is_refused_with_its_place(said: Any, told: str) -> None:
    with pytest.raises(OptionError, match=r"Hint: .*claude-haiku-5-5") as caught:
        Models.read(said)

    assert told in str(caught.value)


def test_what_a_server_tells_of_a_model_counts_and_what_it_leaves_out_stays() -> None:
    known = Models().find("claude-haiku-4-5")
    assert known is not None
    info = {
        "max_tokens": 32_000,
        "capabilities": {
            "batch": {"supported": False},
            "thinking": {
                "supported": True,
                "types": {"adaptive": {"supported": True}, "enabled": {"supported": False}},
            },
        },
    }
    told = known.told(info)

    assert (told.most, told.context, told.batches, told.structured) == (32_000, 200_000, False, True)
    assert told.thinking == frozenset({"adaptive", "disabled"})
    assert known.told({}) == known


NO, YES = {"supported": False}, {"supported": True}


def thinks(**more: Any) -> dict[str, Any]:
    return {"capabilities": {"thinking": more}}


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (thinks(types={"adaptive": YES, "enabled": NO}), {"adaptive", "disabled", "between_tools"}),
        (thinks(types={"adaptive": True, "enabled": False}), {"adaptive", "disabled", "between_tools"}),
        (thinks(types={"of_tomorrow": YES}), {*KINDS, "of_tomorrow"}),
        (thinks(supported=False), {"disabled"}),
        (thinks(supported=False, types=dict.fromkeys(KINDS, NO)), {"disabled"}),
        (thinks(supported=True), None),
        (thinks(types={"adaptive": {}, "enabled": None, "disabled": "no"}), None),
        (thinks(types=["adaptive"]), None),
    ],
)
def test_only_what_is_refused_in_so_many_words_is_refused(info: dict[str, Any], expected: set[str] | None) -> None:
    assert unlisted("m").told(info).thinking == expected


@pytest.mark.parametrize(
    "info",
    [
        {"max_tokens": 0, "max_input_tokens": -1},
        {"max_tokens": "many", "max_input_tokens": True},
        {"max_tokens": None, "max_input_tokens": 1.5},
        {"capabilities": None},
        {"capabilities": ["batch"]},
        {"capabilities": {"batch": {}, "structured_outputs": None, "thinking": None}},
        {
            "capabilities": {
                "batch": {"supported": "no"},
                "structured_outputs": 0,
                "thinking": {"types": {"enabled": 0}},
            }
        },
    ],
)
def test_what_cannot_be_meant_is_not_heard(info: dict[str, Any]) -> None:
    assert unlisted("m").told(info) == unlisted("m")
    assert relied_on(info) == {"capabilities": {}}


@pytest.mark.parametrize("model", [unlisted("m"), *LISTED], ids=lambda model: model.id)
@pytest.mark.parametrize(
    "info",
    [
        {"max_tokens": 5, "max_input_tokens": 6, "id": "m", "seen": "sk-ant"},
        {"capabilities": {"batch": NO, "structured_outputs": YES, "pdf_input": NO}},
        thinks(supported=False),
        thinks(supported=True, types=dict.fromkeys(KINDS, NO) | {"adaptive": YES | {"seen": "sk-ant"}}),
        {},
    ],
)
def test_what_is_kept_tells_as_much_as_all_that_was_told(model: Any, info: dict[str, Any]) -> None:
    assert model.told(relied_on(info)) == model.told(info)
    assert "sk-ant" not in str(relied_on(info))
