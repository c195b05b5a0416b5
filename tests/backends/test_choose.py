"""Which backend a call means: never a silent fallback."""

from __future__ import annotations

import pytest

from dfbatch.backends.anthropic import Anthropic
from dfbatch.backends.choose import choose, pop_default, push_default, revive
from dfbatch.backends.local import Local
from dfbatch.errors import OptionError


def test_the_api_is_meant_where_nothing_is_said() -> None:
    assert repr(choose(None)) == "Anthropic(base_url='https://api.anthropic.com')"


def test_the_environment_names_backend_and_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFBATCH_BACKEND", "local")
    assert repr(choose(None)) == "Local(engine='smollm2')"
    monkeypatch.setenv("DFBATCH_ENGINE", "sample")
    assert repr(choose(None)) == "Local(engine='sample')"
    assert repr(choose("anthropic")) == "Anthropic(base_url='https://api.anthropic.com')"


def test_a_backend_that_is_given_is_the_one() -> None:
    given = Local("sample", seed=3)

    assert choose(given) is given


def test_the_innermost_default_is_meant_until_it_is_taken_back() -> None:
    outer, inner = Anthropic(api_key="a"), Anthropic(api_key="b")
    push_default(outer)
    push_default(inner)
    assert choose(None) is inner
    pop_default(inner)
    assert choose(None) is outer
    pop_default(outer)

    assert choose(None) is not outer


@pytest.mark.parametrize("named", ["claude", 3, Anthropic])
def test_any_other_word_is_refused_with_the_four_that_work(named: object) -> None:
    with pytest.raises(OptionError) as caught:
        choose(named)

    assert str(caught.value) == (
        f'backend={named!r}\nHint: "anthropic", "local", dfbatch.Anthropic(…) or dfbatch.Local(…)'
    )


@pytest.mark.parametrize(
    "backend",
    [
        Anthropic(api_key="sk-1", base_url="http://127.0.0.1:9/x", auth="bearer", version="2026-10-21"),
        Local("sample", seed=4),
        Local("smollm2", model_file="/some/model.gguf"),
    ],
)
def test_a_recipe_makes_the_same_backend_again_without_its_key(backend: Anthropic) -> None:
    again = revive(backend.recipe)

    assert (repr(again), again.recipe) == (repr(backend), backend.recipe)
    assert "sk-1" not in str(backend.recipe)
