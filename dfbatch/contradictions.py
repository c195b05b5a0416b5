"""Where a request asks for what its model does not do. What is known of models is in `models.py`; nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from dfbatch.models import KINDS, Model

LONG: Final = "output-300k-2026-03-24"  # lifts max_tokens, in batches alone; platform.claude.com, batches, August 2026
LIFTS: Final = "output-300k"  # as it begins, whatever its date
BETWEEN: Final = "interleaved-thinking"  # with this beta, thinking may take more than one answer has

By = Literal["told", "rule", "list"]  # what servers tell, what holds for every model, what our own list alone says


class _Params(msgspec.Struct):
    model: Any
    max_tokens: int
    output_config: Any = None
    thinking: Any = None


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

    @classmethod
    def of(cls, params: bytes, betas: Sequence[str] = (), *, direct: bool = False) -> Asked:
        """As the params of a request have it.

        >>> Asked.of(b'{"model": "m", "max_tokens": 9, "thinking": {"type": "disabled"}}').thinking
        'disabled'
        """
        read = _params(params)
        output, thinking = _mapping(read.output_config), _mapping(read.thinking)
        kind, budget = thinking.get("type"), thinking.get("budget_tokens")
        return cls(
            model=str(read.model),
            max_tokens=read.max_tokens,
            schema=bool(output.get("format")),
            thinking=kind if isinstance(kind, str) else "",
            thought=budget if kind == "enabled" and isinstance(budget, int) else 0,
            betas=tuple(betas),
            direct=direct,
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
    found = (_batch(asked, model), _longest(asked, model), _schema(asked, model), _thinking(asked, model), _own(asked))
    return [each for each in found if each is not None]


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
