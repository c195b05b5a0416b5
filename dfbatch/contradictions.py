"""Where a request asks for what its model does not do. What is known of models is in `models.py`; nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal

import msgspec

from dfbatch.models import KINDS, Model, Models

LONG: Final = "output-300k-2026-03-24"  # lifts max_tokens, in batches alone; platform.claude.com, batches, August 2026
LIFTS: Final = "output-300k"  # as it begins, whatever its date
NOTICE: Final = timedelta(days=60)  # before its last day, a model's retirement is told
BETWEEN: Final = "interleaved-thinking"  # with this beta, thinking may take more than one answer has

By = Literal["told", "rule", "list"]  # what servers tell, what holds for every model, what our own list alone says


SAMPLING: Final = {"temperature": 1, "top_p": 1, "top_k": 0}  # and their defaults
STRICT_VERSION: Final = "2026-10-21"  # under it they are refused whatever they say; platform.claude.com, versions, 2026
BUSY: Final = ("xhigh", "max")  # efforts that do not go with thinking switched off; same page as `models.LISTED`'s
SHORT: Final = 2_000  # max_tokens below which thinking may leave no room: of 1,000 rows with 300, 10 lost their answer
# to it (steadybatch, docs/FINDINGS.md, October 2026)


class _Params(msgspec.Struct):
    model: Any
    max_tokens: int
    output_config: Any = None
    thinking: Any = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None


_params = msgspec.json.Decoder(_Params).decode


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks of its model, as far as models differ in it."""

    model: str
    max_tokens: int
    schema: bool = False
    thinking: str = ""  # its kind
    thought: int = 0  # tokens that it may take
    betas: tuple[str, ...] = ()
    direct: bool = False  # through `/v1/messages`, not in a batch
    sampling: tuple[str, ...] = ()  # temperature and its like, that are not what they are by default …
    default_sampling: tuple[str, ...] = ()  # … and those that are
    version: str = ""  # of the API

    @classmethod
    def of(cls, params: bytes, betas: Sequence[str] = (), *, direct: bool = False, version: str = "") -> Asked:
        """As the params of a request have it.

        >>> Asked.of(b'{"model": "m", "max_tokens": 9, "thinking": {"type": "disabled"}}').thinking
        'disabled'
        """
        read = _params(params)
        output, thinking = _mapping(read.output_config), _mapping(read.thinking)
        kind, budget = thinking.get("type"), thinking.get("budget_tokens")
        given = [name for name in SAMPLING if getattr(read, name) is not None]
        return cls(
            model=str(read.model),
            max_tokens=read.max_tokens,
            schema=bool(output.get("format")),
            thinking=kind if isinstance(kind, str) else "",
            thought=budget if kind == "enabled" and isinstance(budget, int) else 0,
            betas=tuple(betas),
            direct=direct,
            sampling=tuple(name for name in given if getattr(read, name) != SAMPLING[name]),
            default_sampling=tuple(name for name in given if getattr(read, name) == SAMPLING[name]),
            version=version,
        )


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What is asked, what is known that it contradicts, what to do, and whose word that is."""

    what: str
    known: str
    hint: str
    by: By = "told"


def contradictions(asked: Asked, model: Model) -> list[Contradiction]:
    """Where a request contradicts what is known of its model; what is not known contradicts nothing.

    >>> from dfbatch.models import Models
    >>> [found.hint for found in contradictions(Asked("claude-haiku-4-5", 100_000), Models().find("claude-haiku-4-5"))]
    ['max_tokens=64000']
    """
    found = (
        *(_batch(asked, model), _longest(asked, model), _schema(asked, model), _thinking(asked, model)),
        *(_own(asked), _sampling(asked, model)),
    )
    return [each for each in found if each is not None]


def retired(asked: Asked, model: Model, today: date) -> Contradiction | None:
    """The contradiction of asking a model that answers no more."""
    if not model.is_retired(today):
        return None
    day = "" if model.retires in (None, date.min) else f" since {model.retires}"
    near = model.successor or successor(asked.model)
    return Contradiction(
        f"model={asked.model!r} is retired{day}: the API does not answer for it any more",
        model.retirement,
        f'model="{near}"' if near else "ask another model",
        by="list",
    )


def successor(name: str) -> str:
    """The id of the model to ask instead of a listed one; empty where none is named."""
    listed = Models().find(name)
    return listed.successor if listed else ""


def retiring(model: Model, today: date) -> str:
    """A warning about a model that retires within `NOTICE`; empty where there is nothing to tell."""
    if model.retires is None or not today <= model.retires <= today + NOTICE:
        return ""
    after = f"; {model.successor} follows it" if model.successor else ""
    return f"{model.id} retires on {model.retires} ({model.retirement}){after}"


def without_thinking(params: Mapping[str, Any], model: Model | None) -> dict[str, Any]:
    """The params of a call, thinking disabled where this model would think and the call does not say.

    >>> from dfbatch.models import Models
    >>> without_thinking({}, Models().find("claude-haiku-5-5"))
    {'thinking': {'type': 'disabled'}}
    >>> without_thinking({"thinking": {"type": "adaptive"}}, Models().find("claude-haiku-5-5"))
    {'thinking': {'type': 'adaptive'}}
    """
    effort = _mapping(params.get("output_config")).get("effort")
    if model is None or not model.silenced or "thinking" in params or effort in BUSY:
        return dict(params)
    return {**params, "thinking": {"type": "disabled"}}


def for_another(params: Mapping[str, Any], before: Model | None, model: Model | None) -> dict[str, Any]:
    """The params of a run as another model is asked: what dfbatch said of thinking follows the model."""
    kept = dict(params)
    ours = before is not None and before.silenced and kept.get("thinking") == {"type": "disabled"}
    if ours and (model is None or (model.thinking is not None and "disabled" not in model.thinking)):
        del kept["thinking"]
    return without_thinking(kept, model)


def crowded(asked: Asked, model: Model) -> str:
    """A note where a model thinks unasked and has little room for it; empty where it does not, or there is plenty."""
    if asked.thinking or not model.thinks or asked.max_tokens >= SHORT:
        return ""
    off = sorted((model.thinking or frozenset()) & {"disabled", "between_tools"})
    less = f', or params={{"thinking": {{"type": "{off[0]}"}}}}' if off else ""
    return (
        f"{asked.model} thinks before it answers, and thinking counts as part of max_tokens={asked.max_tokens}: answers"
        f" may be cut, or have no room at all\nHint: max_tokens={SHORT} or more{less}"
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _batch(asked: Asked, model: Model) -> Contradiction | None:
    if asked.direct or model.batches is not False:
        return None
    return Contradiction(
        f"model={asked.model!r} cannot be asked in a batch",
        "it is not supported in batches",
        "ask another model, or a few rows at once with df.claude.preview(…)",
    )


def _longest(asked: Asked, model: Model) -> Contradiction | None:
    """The beta of long answers counts in batches alone, and no server tells of it."""
    lifts = any(beta.startswith(LIFTS) for beta in asked.betas)
    lifted = lifts and not asked.direct
    most = model.most if not lifted else model.most_beta and max(model.most_beta, model.most or 0)
    if not most or asked.max_tokens <= most:
        return None
    hint = f"max_tokens={most}"
    if lifts and asked.direct:
        hint += "; the beta of longer answers counts in batches alone"
    elif not lifted and model.most_beta and asked.max_tokens <= model.most_beta:
        hint += f'; betas=["{LONG}"] allows {model.most_beta:,} in a batch'
    return Contradiction(
        f"max_tokens={asked.max_tokens} is more than {asked.model} can write",
        f"{most:,} tokens an answer at most",
        hint,
        by="list" if lifted else "told",
    )


def _schema(asked: Asked, model: Model) -> Contradiction | None:
    if not asked.schema or model.structured is not False:
        return None
    return Contradiction(
        f"schema= (output_config.format) needs structured outputs, which {asked.model} does not have",
        "structured_outputs are not supported",
        "ask another model, or leave schema= out and say in the prompt how to answer",
    )


def _thinking(asked: Asked, model: Model) -> Contradiction | None:
    if model.thinking is None or asked.thinking not in KINDS - model.thinking:
        return None
    kinds = sorted(model.thinking)
    say = f'params={{"thinking": {{"type": "{kinds[0]}"}}}}, or ' if kinds else ""
    return Contradiction(
        f'params={{"thinking": {{"type": "{asked.thinking}"}}}} is refused by {asked.model}',
        f"it takes {' or '.join(kinds) or 'no kind of thinking'}",
        f"{say}leave thinking out",
    )


def _sampling(asked: Asked, model: Model) -> Contradiction | None:
    """Under a version that knows them no more they are refused at all; models refuse what is not the default."""
    strict = asked.version >= STRICT_VERSION
    names = asked.sampling + (asked.default_sampling if strict else ())
    if not names or not (strict or model.sampling is False):
        return None
    some = ", ".join(sorted(names, key=list(SAMPLING).index))
    return Contradiction(
        f"params has {some}, which {f'version {asked.version}' if strict else asked.model} does not take",
        "requests with it are refused",
        f"leave {some} out; what may vary is said in the prompt",
        by="rule",
    )


def _own(asked: Asked) -> Contradiction | None:
    """Thinking counts as part of the answer."""
    if asked.thought < asked.max_tokens or any(beta.startswith(BETWEEN) for beta in asked.betas):
        return None
    return Contradiction(
        f"budget_tokens={asked.thought} of thinking leave nothing of max_tokens={asked.max_tokens} for the answer",
        "budget_tokens must be below max_tokens",
        f"max_tokens={asked.thought + asked.max_tokens}, or fewer budget_tokens",
        by="rule",
    )
