"""Which backend a call means, and how one is made again from what the ledger keeps of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dfbatch.backends.anthropic import Anthropic
from dfbatch.backends.local import Local
from dfbatch.errors import OptionError

if TYPE_CHECKING:
    from dfbatch.backends import Backend

_defaults: list[Backend] = []  # the innermost `with Emulator():` comes last


def push_default(backend: Backend) -> None:
    """Make this the backend of calls that name none."""
    _defaults.append(backend)


def pop_default(backend: Backend) -> None:
    """Take it back."""
    _defaults.remove(backend)


def choose(named: Any) -> Backend:
    """The backend that was named, by object or by word; else `DFBATCH_BACKEND`; else the Anthropic API.

    Never a silent fallback: without a key, `Anthropic` says so before anything is sent.
    """
    if named is None:
        if _defaults:
            return _defaults[-1]
        named = os.environ.get("DFBATCH_BACKEND") or "anthropic"
    if named == "anthropic":
        return Anthropic()
    if named == "local":
        return Local(os.environ.get("DFBATCH_ENGINE") or "smollm2")  # type: ignore[arg-type]  # Local checks it
    if isinstance(named, Anthropic):
        return named
    raise OptionError(f"backend={named!r}", hint='"anthropic", "local", dfbatch.Anthropic(…) or dfbatch.Local(…)')


def revive(recipe: dict[str, Any]) -> Backend:
    """A backend as it was; its key is read from the environment again."""
    if recipe.get("kind") == "local":
        return Local(recipe["engine"], model_file=recipe["model_file"], seed=recipe["seed"])
    for backend in reversed(_defaults):
        if backend.recipe == recipe:
            return backend
    return Anthropic(base_url=recipe.get("base_url"), version=recipe["version"], auth=recipe["auth"])
