"""For users' own tests: answers without a network bill, from an emulator in this process, over real HTTP.

`Emulator` makes a server the default backend of its block; `answers` makes a function answer. Both use a ledger of
their own, so that tests and real runs never mix. Both need the extra `dfbatch[testing]`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from typing import TYPE_CHECKING, Any, Final, Self

from dfbatch.backends import choose
from dfbatch.backends.anthropic import Anthropic
from dfbatch.errors import PackageMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dfbatch.emulator.answers import Answer
    from dfbatch.emulator.asks import Ask
    from dfbatch.emulator.engines import Engine
    from dfbatch.emulator.server import Server


OF_THE_TEST: Final = "the answers of this test"  # who answers, where that is shown: "…, not Claude"


class Emulator:
    """An emulator of the Message Batches API in this process; in its block it is the default backend.

    Takes what `dfbatch.emulator.Server` takes. `.requests` are the parameters of every request that was answered, by
    whichever engine; `.url`, `.usage()` (what it would have billed) and the rest are the server's.

    >>> import pandas as pd
    >>> with Emulator(engine="sample") as emulator:
    ...     out = pd.DataFrame({"text": ["a", "b"]}).claude.batch("Say {text}", progress=False)
    >>> len(out["answer"]), len(emulator.requests)
    (2, 2)
    """

    def __init__(self, engine: Any = "sample", **settings: Any) -> None:
        self._settings = {"engine": engine, **settings}
        self._stack = contextlib.ExitStack()
        self.server: Server | None = None
        self.requests: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        try:
            from dfbatch.emulator import Server
        except ImportError as error:
            raise PackageMissing(
                f"the emulator is not installed: {error}", hint='pip install "dfbatch[testing]"'
            ) from error
        self._check_engine()
        self.requests = []
        self.server = Server(**self._settings)
        self.server.engine = _Recorded(self.server.engine, self.requests)
        self._stack.enter_context(self.server)
        self._stack.enter_context(_own_ledger())  # left first: what is under way ends while the server is there
        backend = Anthropic(api_key="emulator", base_url=self.server.url)
        choose.push_default(backend)
        self._stack.callback(choose.pop_default, backend)
        return self

    def _check_engine(self) -> None:
        """A language model needs more than the emulator does; other engines do not."""
        engine = self._settings["engine"]
        if isinstance(engine, str) and engine != "sample" and importlib.util.find_spec("xllamacpp") is None:
            raise PackageMissing(
                f"engine={engine!r} needs the package 'xllamacpp', which is not installed",
                hint='pip install "dfbatch[local]", or engine="sample" for made-up answers',
            )

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or self.server is None:
            raise AttributeError(name)
        return getattr(self.server, name)


class _Recorded:
    """An engine, and what it is asked."""

    def __init__(self, engine: Engine, requests: list[dict[str, Any]]) -> None:
        self._engine = engine
        self._requests = requests

    def answer(self, ask: Ask) -> Answer:
        """What the engine answers."""
        self._requests.append(ask.params)
        return self._engine.answer(ask)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@contextlib.contextmanager
def answers(given: Mapping[str, Any] | Callable[[dict[str, Any]], Any]) -> Iterator[Emulator]:
    """Answer requests with a function of their parameters, or with a mapping from a word of the prompt to its answer.

    A text is the answer as it is; anything else becomes JSON. Where the schema is a scalar one, the bare value will do.
    The block's requests are in `.requests`.

    >>> import pandas as pd
    >>> with answers({"goal": "sport", "chip": "tech"}) as fake:
    ...     out = pd.DataFrame({"text": ["A goal!", "A chip"]}).claude.batch("Topic: {text}", progress=False)
    >>> out["answer"].tolist(), len(fake.requests)
    (['sport', 'tech'], 2)
    """
    answer = given if callable(given) else _looked_up(given)

    def fitting(params: dict[str, Any]) -> Any:
        return _wrapped(params, answer(params))

    fitting.__name__ = OF_THE_TEST
    with Emulator(engine=fitting) as emulator:
        yield emulator


def _wrapped(params: dict[str, Any], answer: Any) -> Any:
    """A bare value for a scalar schema as the model would write it: an object with the one property `answer`."""
    if hasattr(answer, "model_dump"):
        answer = answer.model_dump(mode="json")
    schema = params.get("output_config", {}).get("format", {}).get("schema", {})
    scalar = set(schema.get("properties", ())) == {"answer"}
    return {"answer": answer} if scalar and not (isinstance(answer, dict) and set(answer) == {"answer"}) else answer


def _looked_up(given: Mapping[str, Any]) -> Callable[[dict[str, Any]], Any]:
    def answer(params: dict[str, Any]) -> Any:
        text = str(params["messages"][-1]["content"])
        for word, said in given.items():
            if word in text:
                return said
        raise LookupError(f"no answer was given for {text[:80]!r}")

    return answer


@contextlib.contextmanager
def _own_ledger() -> Iterator[None]:
    """A ledger that is gone afterwards."""
    from dfbatch.run import close_ledgers

    before = os.environ.get("DFBATCH_HOME")
    with tempfile.TemporaryDirectory(prefix="dfbatch-") as folder:
        os.environ["DFBATCH_HOME"] = folder
        try:
            yield
        finally:
            close_ledgers()
            if before is None:
                del os.environ["DFBATCH_HOME"]
            else:
                os.environ["DFBATCH_HOME"] = before
