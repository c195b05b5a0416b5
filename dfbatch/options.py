"""Everything a call can say, checked once. What each option does to a run is decided where it is used."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from dfbatch.errors import OptionError
from dfbatch.models import Models

OnNull = Literal["skip", "send", "raise"]
OnError = Literal["null", "raise"]
Progress = Literal["auto", "panel", "bar", "log", False]
BudgetMode = Literal["measured", "strict"]
Include = Literal["status", "error", "stop_reason", "input_tokens", "output_tokens", "cost", "custom_id", "message"]

DEFAULT_MODEL = "claude-haiku-5-5"
DEFAULT_MAX_TOKENS = 1024
_NOTIFY = 'notify="say done", or a function that is called with the run'
_PILOT = ", or how many requests go ahead; df.claude.preview(…, rows=50) asks as many as you like first"
MOST_SAMPLES = 100  # answers a row; a typo here costs money
RESERVED = ("model", "max_tokens", "system", "messages")  # said by options of their own, never through params=
_TOOLS = "use params=; a text beside a call is the answer, a call alone is `invalid`, and include=['message'] holds it"
ARGUMENTS = ("prompt", "schema", "rows")  # what a call takes beside options, and may be misspelled as well
LATER = {  # options of the design that are not built yet, and what serves until then
    "citations": "give document blocks through a callable prompt",
    "documents": "give document blocks through a callable prompt",
    "effort": 'use params={"output_config": {"effort": …}}',
    "images": "give image blocks through a callable prompt",
    "thinking": 'use params={"thinking": …}',
    "tool_choice": _TOOLS,
    "tools": _TOOLS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller said beyond frame, prompt and schema.

    >>> Options(model="claude-haiku-5-5").max_tokens
    1024
    """

    model: str = DEFAULT_MODEL
    system: str | Sequence[Mapping[str, Any]] | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    examples: Sequence[tuple[Any, Any]] = ()
    into: str | None = None
    unpack: bool = True
    include: Sequence[Include] = ()
    key: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    betas: Sequence[str] = ()
    chunk_size: int | Literal["auto"] = "auto"
    retries: int = 2
    correct: bool = True
    samples: int = 1
    dedupe: bool = True
    reuse: bool = True
    overwrite: bool = False
    on_null: OnNull = "skip"
    on_error: OnError = "null"
    same_for_all: bool = False
    backend: Any = None
    progress: Progress = "auto"
    name: str | None = None
    notify: Callable[[Any], object] | str | None = None
    dtype_backend: Literal["pyarrow"] | None = None
    preflight: bool = True
    pilot: bool | int | Literal["auto", "batch", "now"] = "auto"
    max_failed: float = 0.2
    budget: float | None = None
    budget_mode: BudgetMode = "measured"
    cache: Literal["auto", "5m", "1h"] | None = "auto"
    prices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every value here, so that no later place has to."""
        for option in ("include", "betas", "examples"):
            object.__setattr__(self, option, _items(getattr(self, option), option))
        _text(self.model, "model", example='model="claude-haiku-5-5"')
        _whole(self.max_tokens, "max_tokens")
        _whole(self.samples, "samples")
        self._check_samples()
        _whole(self.retries, "retries", least=0)
        if self.chunk_size != "auto":
            _whole(self.chunk_size, "chunk_size")
        for option in ("into", "name", "key"):
            if getattr(self, option) is not None:
                _text(getattr(self, option), option, example=f'{option}="topic"')
        _one_of(self.on_null, "on_null", get_args(OnNull))
        _one_of(self.on_error, "on_error", get_args(OnError))
        self._check_telling()
        _one_of(self.dtype_backend, "dtype_backend", (None, "pyarrow"))
        self._check_spending()
        for option in ("preflight", "unpack", "correct", "dedupe", "reuse", "overwrite", "same_for_all"):
            if not isinstance(getattr(self, option), bool):
                raise OptionError(f"{option}={getattr(self, option)!r}", hint="one of True, False")
        for item in self.include:
            _one_of(item, "include", get_args(Include))
        betas: Sequence[Any] = self.betas
        for beta in betas:
            if not isinstance(beta, str) or not beta.isascii() or not beta.isprintable() or not beta.strip():
                raise OptionError(
                    f"betas holds {beta!r}, which is no name of a beta", hint='betas=("output-300k-2026-03-24",)'
                )
        _check_system(self.system)
        self._check_params()

    def _check_telling(self) -> None:
        _one_of(self.progress, "progress", get_args(Progress))
        if self.notify is not None and not callable(self.notify):
            if not isinstance(self.notify, str):
                raise OptionError(f"notify={self.notify!r} is neither a function nor a command", hint=_NOTIFY)
            _text(self.notify, "notify", example=_NOTIFY)

    def _check_spending(self) -> None:
        _one_of(self.budget_mode, "budget_mode", get_args(BudgetMode))
        _number(
            self.max_failed,
            "max_failed",
            most=1.0,
            wanted="a share of rows from 0 to 1 is needed",
            example="max_failed={:g}",
            usual=0.2,
        )
        if self.budget is not None:
            _number(
                self.budget,
                "budget",
                most=math.inf,
                wanted="a number, 0 or more, is needed",
                example="budget={:.2f}, in USD",
                usual=5.0,
            )
        if isinstance(self.pilot, str):
            _one_of(self.pilot, "pilot", ("auto", "batch", "now", True, False), more=_PILOT)
        elif not isinstance(self.pilot, bool):
            _whole(self.pilot, "pilot")
        _one_of(self.cache, "cache", ("auto", "5m", "1h", None))
        Models.read(self.prices)

    def _check_samples(self) -> None:
        if self.samples > MOST_SAMPLES:
            raise OptionError(
                f"samples={self.samples}: {MOST_SAMPLES} answers a row is the most",
                hint="repeat the rows, with dedupe=False, for more",
            )
        if self.samples > 1 and not self.dedupe:
            raise OptionError(
                f"samples={self.samples} with dedupe=False: both ask equal requests more than once",
                hint="samples=… asks each row that often and compares; dedupe=False asks each of several equal rows",
            )

    def _check_params(self) -> None:
        if not isinstance(self.params, Mapping):
            raise OptionError(
                f"params must be a mapping, got {type(self.params).__name__}", hint='params={"thinking": …}'
            )
        for name in RESERVED:
            if name in self.params:
                hint = "the prompt makes the messages" if name == "messages" else f"say {name}=… beside the prompt"
                raise OptionError(f"params has {name!r}, which has a place of its own", hint=hint)
        try:
            json.dumps(dict(self.params), allow_nan=False, default=str, skipkeys=True)
        except ValueError as error:
            raise OptionError(
                f"params holds a number that JSON cannot hold: {error}", hint="replace nan and infinity"
            ) from error
        if "stream" in self.params:
            raise OptionError("params has 'stream': a batch has no stream", hint="leave it out")
        if "betas" in self.params:
            raise OptionError(
                "params has 'betas': inside a request the API refuses it", hint="betas=(…) goes with the whole batch"
            )


def read(values: Mapping[str, Any]) -> Options:
    """The options of a call, or an error that names the one that is not an option."""
    known = [item.name for item in fields(Options)]
    for name in values:
        if name in LATER:
            raise OptionError(f"the option {name!r} is not built yet", hint=f"for now, {LATER[name]}")
        if name not in known:
            raise OptionError(f"unknown option {name!r}", f"options: {', '.join(known)}", hint=_meant(name, known))
    return Options(**values)


def _meant(name: str, known: Sequence[str]) -> str:
    """What an unknown name was meant to be: near misses first, whatever the case of their letters."""
    if name == "rows":
        return "rows= is of preview(): batch asks all rows of the frame; df.head(20).claude.batch(…) asks some"
    if name in ("temperature", "top_p", "top_k"):
        return f"Claude 4.7 and later take no {name}; for an older model, it goes into params={{{name!r}: …}}"
    names = {each.casefold(): each for each in (*known, *ARGUMENTS, *LATER)}
    near = difflib.get_close_matches(name.casefold(), names, n=1)
    return f"did you mean {names[near[0]]}=?" if near else f"a parameter of the API goes into params={{{name!r}: …}}"


def _items(value: Any, option: str) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str):
        hint = f'{option}=("{value}",)'
        if option == "include" and value not in get_args(Include):
            hint = "a list of any of " + ", ".join(map(repr, get_args(Include)))
        raise OptionError(f"{option}={value!r} is one string", hint=hint)
    try:
        items = tuple(value)
    except TypeError:
        raise OptionError(f"{option}={value!r} is not a list", hint=f"{option}=(…,)") from None
    return tuple(str(item) if isinstance(item, str) else item for item in items)


def _check_system(system: object) -> None:
    if system is None or isinstance(system, str):
        return
    if isinstance(system, Mapping) or not isinstance(system, Sequence):
        raise OptionError(
            f"system must be a text or a list of text blocks, got {type(system).__name__}", hint='system="Be brief."'
        )
    for place, block in enumerate(system):
        if not isinstance(block, Mapping) or "type" not in block:
            raise OptionError(
                f"system must be a text or text blocks, got {block!r} - at system[{place}]",
                hint='system=[{"type": "text", "text": "Be brief."}]',
            )


def _text(value: object, option: str, *, example: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise OptionError(f"{option} must be a text, got {value!r}", hint=example)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise OptionError(f"{option}={value!r} holds half a character (a lone surrogate)", hint=example) from None


def _whole(value: object, option: str, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        usual = Options.__dataclass_fields__[option].default
        usual = usual if isinstance(usual, int) else 1024
        raise OptionError(f"{option}={value!r}: a whole number of at least {least} is needed", hint=f"{option}={usual}")


def _number(value: object, option: str, *, most: float, wanted: str, example: str, usual: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf:
        meant = usual
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                said = float(value.strip().lstrip("$").replace(",", ""))
                meant = said if 0 <= said <= most and said < math.inf else usual
        raise OptionError(f"{option}={value!r}: {wanted}", hint=example.format(meant))


def _one_of(value: object, option: str, allowed: Sequence[object], *, more: str = "") -> None:
    if value not in allowed:
        raise OptionError(f"{option}={value!r}", hint="one of " + ", ".join(map(repr, allowed)) + more)
