"""One request's params, read and judged: an Ask, which engines answer, or the ApiError it deserves.

What many requests share (all but `messages`) is judged once and remembered by its bytes, so that a batch of 100,000
alike costs one judgement of schema, tools and system. Not here: the judging (params/), the answering (engines/).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.emulator import tokens
from dfbatch.emulator.errors import ApiError, invalid
from dfbatch.emulator.params.forms import OBJECT, REQUIRED
from dfbatch.emulator.params.judge import Case, judge_length, judge_messages, judge_shared, model_of

if TYPE_CHECKING:
    from dfbatch.emulator.models import Model

_MOST_SETTINGS = 512
_MOST_BYTES = 1 << 16  # larger shared parts are judged anew each time rather than kept
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_anything = msgspec.json.Decoder()
_canonical = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what a request came in: the call's version and betas, in a batch or directly, or only to be counted."""

    version: str
    batch: bool
    betas: tuple[str, ...] = ()
    profile: str | None = None
    counted: bool = False
    today: str = ""  # the emulator's, as 2026-12-01: models retire


@dataclass(slots=True)
class Setting:
    """What a request says apart from its messages. `scratch` is the engine's: what it derived from this setting."""

    params: dict[str, Any]
    case: Case
    tokens: int
    marked: bool
    head: Any
    tail: bytes
    scratch: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The model's facts."""
        return self.case.model

    def digest(self, messages: Any) -> bytes:
        """sha256 of the whole params as canonical JSON: keys sorted, no white space, UTF-8."""
        running = self.head.copy()
        running.update(_canonical(messages))
        running.update(self.tail)
        digest: bytes = running.digest()
        return digest


@dataclass(slots=True)
class Ask:
    """A valid request. `tokens` is its prompt by the rule of tokens.py; `marked`: cache_control occurs in it."""

    setting: Setting
    messages: list[dict[str, Any]]
    tokens: int
    marked: bool
    digest: bytes

    @property
    def params(self) -> dict[str, Any]:
        """All of params, messages included."""
        return {**self.setting.params, "messages": self.messages}

    @property
    def model(self) -> Model:
        """The model's facts."""
        return self.setting.case.model

    @property
    def asked_model(self) -> str:
        """The model's name as the request spells it."""
        return str(self.setting.params["model"])

    @property
    def max_tokens(self) -> int:
        """The request's limit."""
        return int(self.setting.params["max_tokens"])

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema the answer must fit, if one was given."""
        form = (self.setting.params.get("output_config") or {}).get("format")
        return form["schema"] if form else None

    @property
    def geo(self) -> str:
        """Where it runs: `us` or `global`."""
        return self.setting.params.get("inference_geo") or "global"


class Asks:
    """Reads requests; remembers settings. One per thread of work, since nothing here is locked."""

    def __init__(self) -> None:
        self._settings: dict[Any, Setting | ApiError] = {}

    def read(self, raw: bytes | memoryview, terms: Terms) -> Ask:
        """Params as bytes to an Ask, or the ApiError they deserve."""
        fields = _object(raw)
        messages_raw = fields.pop("messages", None)
        setting = self._setting(fields, terms)
        if messages_raw is None:
            raise invalid(f"messages: {REQUIRED}")
        messages = _decode(messages_raw)
        marked = setting.marked or b'"cache_control"' in bytes(messages_raw)
        if marked or not _plain(messages):
            judge_messages({**setting.params, "messages": messages}, setting.case)
        count = setting.tokens + tokens.of_messages(messages, setting.model)
        if count > setting.model.context:
            judge_length({**setting.params, "messages": messages}, replace(setting.case, prompt_tokens=count))
        return Ask(setting, messages, count, marked, setting.digest(messages))

    def _setting(self, fields: dict[str, msgspec.Raw], terms: Terms) -> Setting:
        key = terms, tuple((name, bytes(raw)) for name, raw in fields.items())
        known = self._settings.get(key)
        if known is None:
            try:
                known = _judged({name: _decode(raw) for name, raw in fields.items()}, terms)
            except ApiError as error:
                known = error
            if sum(len(raw) for _name, raw in key[1]) <= _MOST_BYTES:
                if len(self._settings) >= _MOST_SETTINGS:
                    self._settings.clear()
                self._settings[key] = known
        if isinstance(known, ApiError):
            raise known
        return known


def _judged(params: dict[str, Any], terms: Terms) -> Setting:
    model = model_of(params, terms.today)
    case = Case(model, terms.version, terms.batch, terms.betas, terms.profile)
    judge_shared(params, case, counted=terms.counted)
    before = [_member(name, params[name]) for name in sorted(params) if name < "messages"]
    after = [_member(name, params[name]) for name in sorted(params) if name > "messages"]
    return Setting(
        params=params,
        case=case,
        tokens=tokens.of_shared(params, model),
        marked=b'"cache_control"' in _canonical(params),
        head=sha256(b"{" + b"".join(member + b"," for member in before) + b'"messages":'),
        tail=b"".join(b"," + member for member in after) + b"}",
    )


def digest_of(params: dict[str, Any]) -> str:
    """The digest under which `/_emulator/usage` counts a request."""
    return sha256(_canonical(params)).hexdigest()


def _member(name: str, value: Any) -> bytes:
    return _canonical(name) + b":" + _canonical(value)


def _plain(messages: Any) -> bool:
    """Whether they are what most are: user and assistant texts, the user's last. Such need no further judging."""
    if type(messages) is not list or not messages:
        return False
    for message in messages:
        if type(message) is not dict or len(message) != 2 or message.get("role") not in ("user", "assistant"):
            return False
        content = message.get("content")
        if type(content) is not str or not content:
            return False
    return bool(messages[-1]["role"] == "user")


def _object(raw: bytes | memoryview) -> dict[str, msgspec.Raw]:
    try:
        return _fields.decode(raw)
    except msgspec.ValidationError as error:
        raise invalid(OBJECT) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error


def _decode(raw: msgspec.Raw) -> Any:
    try:
        return _anything.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error) from error


def _not_json(error: Exception) -> ApiError:
    return invalid(f"The request body is not valid JSON: {error}")
