"""Whose prices count: those of the call, then those of the user's file, then those that dfbatch knows.

The file is `prices.toml` in the ledger's folder (`DFBATCH_HOME`): a table a model, USD per million tokens through
`/v1/messages`. It is read again for each run, so that a price that was unknown can be said later.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Final

from dfbatch.errors import OptionError
from dfbatch.ledger.files import translated
from dfbatch.models import Models

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE: Final = "prices.toml"


def known(folder: Path, said: Mapping[str, Any]) -> Models:
    """The models with the prices that hold for a call that says these itself."""
    path = folder / FILE
    models = Models()
    if path.is_file():
        models = models.overlaid(_read(path), source=FILE)
    return models.overlaid(said, source="prices=")


def _read(path: Path) -> dict[str, Any]:
    try:
        with translated(path):
            return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(
            f"{FILE} cannot be read: {error}", hint=f'["claude-haiku-5-5"]\\ninput = 0.1\\noutput = 0.5 - in {path}'
        ) from error
