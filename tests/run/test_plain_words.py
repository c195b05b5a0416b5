"""Slips that a newcomer made, and what was said then: each is told with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import dfbatch
from dfbatch.errors import OptionError, PromptError, SchemaError
from dfbatch.testing import Emulator, answers

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS: Any = pl.DataFrame({"text": ["a", "b"]})


def test_a_run_of_a_block_that_is_closed_still_prints() -> None:
    with answers(lambda _: "x"):
        run = TEXTS.claude.submit("{text}", progress=False).wait()

    assert repr(run).startswith(f"<Run {run.id} · ")
    assert "closed" in repr(run)


def test_waiting_until_something_unknown_is_refused() -> None:
    with answers(lambda _: "x"):
        run = TEXTS.claude.submit("{text}", progress=False)
        until: Any = "snt"
        with pytest.raises(OptionError, match="until='snt'\nHint: one of 'done', 'sent'"):
            run.wait(until=until)
        run.wait()


@pytest.mark.parametrize("schema", [{"label": str}, {"label": "str"}, {"label": {"type": "string"}}])
def test_a_dict_that_is_no_json_schema_is_said_to_be_read_as_one(schema: Any) -> None:
    with Emulator(), pytest.raises(SchemaError, match=r"read as a JSON schema(.|\n)*Hint: .*TypedDict or a pydantic"):
        TEXTS.claude.plan("{text}", schema)


def test_a_picture_by_its_path_is_read_as_bytes_not_as_text(new: Callable[[dict[str, Any]], Any]) -> None:
    cells = [Path("x.png")]
    frame = new({"photo": pl.Series(cells, dtype=pl.Object) if new is pl.DataFrame else cells})
    with Emulator(), pytest.raises(PromptError, match=r"base64\.b64encode\(row\['photo'\]\.read_bytes\(\)\)"):
        frame.claude.plan("{photo}")


def test_temperature_is_not_sent_into_a_second_refusal() -> None:
    with Emulator(), pytest.raises(OptionError, match=r"Claude 4\.7 and later take no temperature"):
        dfbatch.plan(TEXTS, "{text}", temperature=0)
