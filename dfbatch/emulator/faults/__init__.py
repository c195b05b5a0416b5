"""What can be made to go wrong, on demand and seeded: one Fault, the table of kinds, and the set that is armed.

    wire     before or around a call: statuses, resets, lost replies, slow bodies
    stream   in the bytes of a results download
    spoiled  in an answer: refusals, cut answers, broken JSON

A fault is written `name`, `name@route` or `name@route:key=value,key=value`. Keys of every fault: `p` (share of calls it
hits, default all), `times` (at most so often), `after` (leaves the first so many alone).
"""

from __future__ import annotations

import random
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dfbatch.emulator.faults import spoiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dfbatch.emulator.answers import Answer
    from dfbatch.emulator.asks import Ask

BATCH_ROUTES = ("create", "retrieve", "list", "cancel", "delete", "results")
ROUTES = (*BATCH_ROUTES, "messages", "count_tokens", "models", "model")
_OF_ONE_BATCH = ("retrieve", "cancel", "delete", "results")

# where a fault strikes -> the routes it can be aimed at
PLACES: dict[str, tuple[str, ...]] = {
    "wire": ROUTES,
    "young": _OF_ONE_BATCH,
    "ended": _OF_ONE_BATCH,
    "loss": _OF_ONE_BATCH,
    "birth": ("create",),
    "cancel": ("cancel",),
    "shape": ("retrieve", "list"),
    "stream": ("results",),
    "answer": ("create", "messages"),  # requests of batches, direct calls
}
# name -> (where it strikes, route unless one is named, keys of its own with their defaults)
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{str(status): ("wire", "*", {}) for status in (400, 401, 402, 403, 404, 408, 409, 413, 500, 503, 504)},
    "429": ("wire", "*", {"retry_after": 1.0}),
    "429_bare": ("wire", "*", {}),
    "spend_limit": ("wire", "create", {}),
    "502": ("wire", "*", {}),
    "529": ("wire", "*", {}),
    "html": ("wire", "*", {}),
    "redirect": ("wire", "*", {"to": "http://127.0.0.1:9/elsewhere"}),
    "reset": ("wire", "*", {}),
    "refuse": ("wire", "*", {"seconds": 1.0}),
    "slow": ("wire", "*", {"seconds": 1.0}),
    "lost_reply": ("wire", "create", {"how": "reset"}),
    "404_after_create": ("young", "*", {"seconds": 2.0}),
    "404_after_end": ("ended", "*", {"seconds": 2.0}),
    "deleted": ("loss", "retrieve", {}),
    "never_ends": ("birth", "create", {}),
    "stuck_canceling": ("cancel", "cancel", {}),
    "foreign_results_url": ("shape", "*", {"to": "http://127.0.0.2:9"}),
    "truncated": ("stream", "results", {"share": 0.5}),
    "blank_lines": ("stream", "results", {"every": 3}),
    "crlf": ("stream", "results", {}),
    "bom": ("stream", "results", {}),
    "joined_lines": ("stream", "results", {"every": 3}),
    "stray_text": ("stream", "results", {"every": 3}),
    "duplicate_lines": ("stream", "results", {"every": 3}),
    "missing_lines": ("stream", "results", {"every": 3}),
    "foreign_ids": ("stream", "results", {"every": 3}),
    "unknown_type": ("stream", "results", {"every": 3}),
    "no_content_type": ("stream", "results", {}),
    "refusal": ("answer", "*", {"category": "general_harms", "late": 0}),
    "max_tokens": ("answer", "*", {}),
    "invalid_json": ("answer", "*", {}),
    "enum_case": ("answer", "*", {}),
    "empty": ("answer", "*", {}),
    "thoughts_only": ("answer", "*", {}),
    "tool_call": ("answer", "*", {"tool": "lookup"}),
    "errored": ("answer", "*", {"kind": "api_error"}),
}


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong; `fired` counts how often it has."""

    name: str
    route: str = ""
    p: float = 1.0
    times: int | None = None
    after: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    fired: int = 0
    seen: int = 0

    def __post_init__(self) -> None:
        """Complete it from the table; what could never strike is refused."""
        if self.name not in KINDS:
            raise ValueError(f"unknown fault {self.name!r}. Known are {', '.join(KINDS)}")
        where, default_route, options = KINDS[self.name]
        self.route = self.route or default_route
        self.options = {**options, **self.options}
        if self.route not in {*PLACES[where], "*"}:
            known = ", ".join(PLACES[where])
            raise ValueError(f"unknown route {self.route!r} of fault {self.name!r}. Known are {known} and *")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """From `name@route:key=value,…`."""
        head, _, tail = text.partition(":")
        name, _, route = head.partition("@")
        fault = cls(name, route)
        for pair in filter(None, tail.split(",")):
            key, _, value = pair.partition("=")
            fault._set(key, value, text=text)
        return fault

    @property
    def where(self) -> str:
        """At which of the places in KINDS it strikes."""
        return KINDS[self.name][0]

    def _set(self, key: str, value: str, *, text: str) -> None:
        kinds: dict[str, Callable[[str], Any]] = {"p": float, "times": int, "after": int}
        kinds |= {name: type(default) for name, default in self.options.items()}
        try:
            read = _sensible(key, kinds[key](value))
        except (KeyError, ValueError) as error:
            known = ", ".join(kinds)
            raise ValueError(f"cannot read {key}={value!r} in fault {text!r}. Keys are {known}") from error
        if key in self.options:
            self.options[key] = read
        else:
            setattr(self, key, read)

    def told(self) -> dict[str, Any]:
        """For `/_emulator/faults`."""
        return {"name": self.name, "route": self.route, "p": self.p, "times": self.times, "after": self.after} | {
            "options": self.options,
            "seen": self.seen,
            "fired": self.fired,
        }


class Faults:
    """The faults that are armed. Each draws from a stream of its own, seeded by place and name."""

    def __init__(self, faults: Iterable[Fault | str] = (), *, seed: int = 0) -> None:
        self._seed = seed
        self._lock = threading.Lock()
        self._armed: list[tuple[Fault, random.Random]] = []
        self.arm(faults)

    def arm(self, faults: Iterable[Fault | str], *, replace: bool = False) -> None:
        """Add these, or put them in place of all."""
        parsed = [fault if isinstance(fault, Fault) else Fault.parse(fault) for fault in faults]
        with self._lock:
            kept = [] if replace else self._armed
            self._armed = [*kept, *((fault, self._stream(row, fault)) for row, fault in enumerate(parsed, len(kept)))]

    def told(self) -> list[dict[str, Any]]:
        """All armed faults, for `/_emulator/faults`."""
        return [fault.told() for fault, _stream in self._armed]

    def strike(self, where: str, route: str) -> Fault | None:
        """The first armed fault of this place and route whose turn it is."""
        if not self._armed:
            return None
        with self._lock:
            for fault, stream in self._armed:
                if fault.where == where and fault.route in {route, "*"} and self._turn(fault, stream.random()):
                    return fault
        return None

    def strikes(self, where: str, route: str) -> list[Fault]:
        """All whose turn it is: faults of a stream add up."""
        with self._lock:
            return [
                fault
                for fault, stream in self._armed
                if fault.where == where and fault.route in {route, "*"} and self._turn(fault, stream.random())
            ]

    def hides(self, where: str, route: str, age: int, second: int) -> bool:
        """Whether an armed 404 fault hides a batch of this age (since creation, or since its end)."""
        with self._lock:
            return any(
                fault.where == where
                and fault.route in {route, "*"}
                and age < fault.options["seconds"] * second
                and self._turn(fault, stream.random())
                for fault, stream in self._armed
            )

    def spoil(self, answer: Answer, ask: Ask, custom_id: str) -> Answer:
        """The answer as the armed faults leave it; an errored line is raised."""
        if not self._armed:
            return answer
        route = "create" if ask.setting.case.batch else "messages"
        with self._lock:
            for row, (fault, _stream) in enumerate(self._armed):
                if fault.where != "answer" or fault.route not in {route, "*"}:
                    continue
                share = random.Random(f"{self._seed} {row} {fault.name} {custom_id} {ask.digest.hex()}").random()  # noqa: S311
                if self._turn(fault, share):
                    answer = spoiled.SPOILERS[fault.name](answer, ask, fault.options)
        return answer

    def _turn(self, fault: Fault, share: float) -> bool:
        fault.seen += 1
        if fault.seen <= fault.after or (fault.times is not None and fault.fired >= fault.times) or share >= fault.p:
            return False
        fault.fired += 1
        return True

    def _stream(self, row: int, fault: Fault) -> random.Random:
        return random.Random(f"{self._seed} {row} {fault.name}")  # noqa: S311


def _sensible(key: str, value: Any) -> Any:
    """The value of a key, if it can mean something there."""
    if key == "how" and value not in {"reset", "close", "529"}:
        raise ValueError(value)
    if isinstance(value, int | float) and not 0 <= value <= (1 if key in {"p", "share"} else sys.maxsize):
        raise ValueError(value)
    return value
