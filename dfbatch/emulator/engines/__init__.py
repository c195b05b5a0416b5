"""Who answers: one Protocol, and the way from a name to an engine.

sample     made-up answers that fit the schema, at full speed, the same for the same request and seed
smollm2    a small language model, or any other GGUF file, through llama.cpp
function   a Python function of the user's
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dfbatch.emulator.schedule import Law

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.emulator.answers import Answer
    from dfbatch.emulator.asks import Ask

DEFAULT_OUTPUT = "lognormal:40:0.6"


class Engine(Protocol):
    """Answers valid requests. `answer` may be called from several threads; an ApiError gives an errored line."""

    name: str
    loaded: bool  # the first answer will not wait for weights
    instant: bool  # answers take no time worth a mention, so the timetable alone says what was done by when

    @property
    def model_digest(self) -> str | None:
        """sha256 of the weights, for engines that have some."""

    def answer(self, ask: Ask) -> Answer:
        """The answer to one request."""

    def close(self) -> None:
        """Give back what it holds."""


def open_engine(
    engine: str | Path | Callable[[dict[str, Any]], Any],
    *,
    name: str | None = None,
    model_file: Path | None = None,
    seed: int = 0,
    output_law: str = DEFAULT_OUTPUT,
    context: int = 4096,
) -> Engine:
    """`sample`, `smollm2`, the path of a GGUF file, or a function of params."""
    if callable(engine):
        from dfbatch.emulator.engines.function import FunctionEngine

        return FunctionEngine(engine, name=name)
    if engine == "sample":
        from dfbatch.emulator.engines.sample import SampleEngine

        return SampleEngine(seed=seed, output=Law.parse(output_law))
    if engine == "smollm2" or model_file or str(engine).endswith(".gguf"):
        from dfbatch.emulator.engines.smollm2 import ModelEngine

        path = model_file or (Path(engine) if engine != "smollm2" else None)
        return ModelEngine(path, name=name, seed=seed, context=context)
    raise ValueError(
        f"unknown engine {engine!r}. Known are 'sample', 'smollm2', the path of a .gguf file, and a function. "
        "Hint: dfbatch.emulator.Server(engine='sample')"
    )
