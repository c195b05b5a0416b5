"""Judging params: the shapes, then the rules that hold in the case at hand. The first error found is the answer.

Not here: the tables (shapes.py, rules.py) and the measures they name (measures.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dfbatch.emulator.errors import ApiError, invalid, not_found
from dfbatch.emulator.models import catalogue
from dfbatch.emulator.params import rules, shapes
from dfbatch.emulator.params.forms import EXTRA, REQUIRED, Forms
from dfbatch.emulator.params.measures import EFFORTS, MEASURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dfbatch.emulator.models import Model
    from dfbatch.emulator.params.rules import Rule

OUTPUT_300K = "output-300k-2026-03-24"
_forms = Forms(shapes.SHAPES, shapes.UNIONS)
_check_messages = _forms.check(shapes.PARAMS["messages!"])


@dataclass(slots=True)
class Case:
    """What params are judged against besides themselves."""

    model: Model
    version: str
    batch: bool
    betas: tuple[str, ...] = ()
    profile: str | None = None
    prompt_tokens: int = 0
    holds: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.holds = {
            "batch": self.batch,
            "direct": not self.batch,
            "2026-10-21": self.version == "2026-10-21",
            "sampling": self.model.sampling,
            "prefill": self.model.prefill,
            "forced": self.model.forced,
            **{kind: kind in self.model.thinking for kind in ("adaptive", "enabled", "disabled", "between_tools")},
            "geo": self.model.geo,
            "effort": bool(self.model.efforts),
            "limited": self.model.quiet_effort is not None,
            "task-budgets": any(beta.startswith("task-budgets-") for beta in self.betas),
        }

    def fact(self, name: str) -> Any:
        """A limit that depends on the case, or a field of the model."""
        if name == "most":
            long = self.batch and OUTPUT_300K in self.betas
            return (long and self.model.batch_max) or self.model.output
        if name == "media_most":
            return 600 if self.model.context >= 1_000_000 else 100
        if name == "quiet_rank":
            return EFFORTS.index(self.model.quiet_effort or "max")
        return getattr(self.model, name)


def model_of(params: dict[str, Any], today: str = "") -> Model:
    """The model asked for; an unknown one, or one that is retired today, is the API's not_found_error."""
    name = params.get("model")
    if name is None:
        raise invalid(f"model: {REQUIRED}")
    if not isinstance(name, str):
        raise invalid("model: Input should be a valid string")
    model = catalogue().find(name)
    if not name:
        raise invalid("model: String should have at least 1 character")
    if model is None or model.is_retired(today):
        raise not_found(f"model: {name}")
    return model


def judge_shared(params: dict[str, Any], case: Case, *, counted: bool = False) -> None:
    """Everything but messages."""
    table = shapes.COUNTED if counted else shapes.PARAMS
    for key, form in table.items():
        name = key.rstrip("!")
        if name in params:
            _raise_if(_forms.check(form)(params[name], name))
        elif key in {"model!", "max_tokens!"}:
            raise invalid(f"{name}: {REQUIRED}")
    for key in [key for key in params if key not in table and f"{key}!" not in table]:
        opened = _opened(key, case.betas)
        if opened is None:
            raise invalid(f"{key}: {EXTRA}")
        _raise_if(_forms.check(opened)(params[key], key))
    _apply((rule for rule in rules.SHARED if not (counted and "max_tokens" in rule.of)), params, case)


def judge_messages(params: dict[str, Any], case: Case) -> None:
    """The messages, in params that passed `judge_shared`; `case.prompt_tokens` is judged by `judge_length`."""
    _raise_if(_check_messages(params["messages"], "messages"))
    _apply(_WITHOUT_LENGTH, params, case)
    if any(isinstance(message["content"], list) for message in params["messages"]):
        _apply(rules.BLOCKS, params, case)
    _apply(rules.MARKS, params, case)


def judge_length(params: dict[str, Any], case: Case) -> None:
    """Once tokens are counted: whether the prompt fits the model at all."""
    _apply(_LENGTH, params, case)


_LENGTH = tuple(rule for rule in rules.MESSAGES if rule.of == "~prompt_tokens")
_WITHOUT_LENGTH = tuple(rule for rule in rules.MESSAGES if rule.of != "~prompt_tokens")


def _opened(key: str, betas: tuple[str, ...]) -> str | None:
    prefix, form = shapes.BETA_KEYS.get(key, (None, None))
    return form if prefix is not None and any(beta.startswith(prefix) for beta in betas) else None


def _raise_if(text: str) -> None:
    if text:
        raise invalid(text)


def _apply(table: Iterable[Rule], params: dict[str, Any], case: Case) -> None:
    for rule in table:
        if not all(case.holds[word.lstrip("!")] is not word.startswith("!") for word in rule.when.split()):
            continue
        value = _value(rule.of, params, case)
        than = case.fact(rule.than[1:]) if isinstance(rule.than, str) and rule.than.startswith("@") else rule.than
        if value is not None and _BAD[rule.bad](value, than):
            raise _error(rule, params, case, value, than)


def _value(of: str, params: dict[str, Any], case: Case) -> Any:
    if of.startswith("~"):
        return MEASURES[of[1:]](params, case)
    value: Any = params
    for key in of.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _error(rule: Rule, params: dict[str, Any], case: Case, value: Any, than: Any) -> ApiError:
    text = rule.text.format(
        value=value,
        than=", ".join(sorted(than)) if isinstance(than, list) else than,
        model=params.get("model"),
        quiet=case.model.quiet_effort,
        effort=(params.get("output_config") or {}).get("effort"),
    )
    return invalid(text, details={"error_code": rule.code, **value} if rule.code else None)


_BAD: dict[str, Callable[[Any, Any], bool]] = {
    "there": lambda _value, _than: True,
    "found": lambda _value, _than: True,
    "is": lambda value, than: bool(value == than),
    "other": lambda value, than: bool(value != than),
    "above": lambda value, than: bool(value > than),
    "below": lambda value, than: bool(value < than),
    "outside": lambda value, than: value not in than,
}
