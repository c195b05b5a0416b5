"""The figures and findings that rules.py names with `~`: each takes params and the case they are judged in.

A measure never judges: it counts, or returns the first thing found (a place or a text), or None.
Those of the messages are in contents.py. Not here: thresholds and texts of the rules.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dfbatch.emulator.params import schemas
from dfbatch.emulator.params.contents import IN_MESSAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dfbatch.emulator.params.judge import Case

    Measure = Callable[[dict[str, Any], Case], Any]

EFFORTS = ("low", "medium", "high", "xhigh", "max")


def profile_conflict(params: dict[str, Any], case: Case) -> bool:
    """A user profile of its own beside another one of the batch."""
    own = params.get("user_profile_id")
    return bool(own and case.profile and own != case.profile)


def quiet_effort(params: dict[str, Any], case: Case) -> int | None:
    """The rank of the effort, where thinking is turned off."""
    if (params.get("thinking") or {}).get("type") not in {"disabled", "between_tools"}:
        return None
    return EFFORTS.index((params.get("output_config") or {}).get("effort") or case.model.default_effort)


def budget_left(params: dict[str, Any], _case: Case) -> int | None:
    """What max_tokens leaves beyond the thinking budget."""
    budget = (params.get("thinking") or {}).get("budget_tokens")
    most = params.get("max_tokens")  # left out where tokens are only counted
    return None if budget is None or most is None else int(most - budget)


def forced_tool(params: dict[str, Any], _case: Case) -> bool:
    """Some tool must be called."""
    return (params.get("tool_choice") or {}).get("type") in {"any", "tool"}


def thinks(params: dict[str, Any]) -> bool:
    """Thinking is asked for."""
    return (params.get("thinking") or {}).get("type") in {"enabled", "adaptive"}


def forced_while_thinking(params: dict[str, Any], case: Case) -> bool:
    """Thinking and a forced tool at once."""
    return thinks(params) and forced_tool(params, case)


def warm_while_thinking(params: dict[str, Any], _case: Case) -> bool:
    """Thinking and a temperature at once."""
    return thinks(params) and params.get("temperature", 1) != 1


def tool_name(params: dict[str, Any], _case: Case) -> str | None:
    """What is wrong with the first unfit name of a tool."""
    for row, tool in _own_tools(params):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]):
            wrong = "match pattern '^[a-zA-Z0-9_-]{1,128}$'" if tool["name"] else "have at least 1 character"
            return f"tools.{row}.custom.name: String should {wrong}"
    return None


def repeated_tool(params: dict[str, Any], _case: Case) -> str | None:
    """The first name two tools share."""
    names = [str(tool.get("name") or tool.get("type")) for tool in params.get("tools") or []]
    return next((name for row, name in enumerate(names) if name in names[:row]), None)


def idle_choice(params: dict[str, Any], _case: Case) -> str | None:
    """The type of a tool_choice with nothing to choose from."""
    return None if params.get("tools") else (params.get("tool_choice") or {}).get("type")


def idle_container(params: dict[str, Any], _case: Case) -> bool:
    """A container by its id, and nothing to run in it."""
    kinds = [str(tool.get("type")) for tool in params.get("tools") or []]
    return isinstance(params.get("container"), str) and not any(kind.startswith("code_execution") for kind in kinds)


def unknown_choice(params: dict[str, Any], _case: Case) -> str | None:
    """A tool_choice that names no tool."""
    name = (params.get("tool_choice") or {}).get("name")
    known = [tool.get("name") for tool in params.get("tools") or []]
    return None if name is None or name in known else str(name)


def strict_toolset(params: dict[str, Any], _case: Case) -> str | None:
    """The first toolset marked strict."""
    for row, tool in enumerate(params.get("tools") or []):
        if "toolset" in str(tool.get("type")) and "strict" in tool:
            return f"tools.{row}"
    return None


def strict_tools(params: dict[str, Any], _case: Case) -> int:
    """How many tools are strict."""
    return sum(bool(tool.get("strict")) for _row, tool in _own_tools(params))


def schema_problem(params: dict[str, Any], _case: Case) -> str | None:
    """The first thing outside the schema subset."""
    return next((text for place, schema in _schemas(params) if (text := schemas.problem(schema, place))), None)


def optional_parameters(params: dict[str, Any], _case: Case) -> int:
    """Over all strict schemas."""
    return sum(schemas.optional_parameters(schema) for _place, schema in _schemas(params))


def union_parameters(params: dict[str, Any], _case: Case) -> int:
    """Over all strict schemas."""
    return sum(schemas.union_parameters(schema) for _place, schema in _schemas(params))


def blank_stop(params: dict[str, Any], _case: Case) -> str | None:
    """The first stop sequence of white space."""
    return next((repr(text) for text in params.get("stop_sequences") or [] if not text.strip()), None)


def _own_tools(params: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    for row, tool in enumerate(params.get("tools") or []):
        if tool.get("type") in {None, "custom"}:
            yield row, tool


def _schemas(params: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas a grammar is compiled for: the output format's and those of strict tools."""
    form = (params.get("output_config") or {}).get("format")
    if form:
        yield "output_config.format.schema", form["schema"]
    for row, tool in _own_tools(params):
        if tool.get("strict"):
            yield f"tools.{row}.custom", tool["input_schema"]


MEASURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        *(profile_conflict, quiet_effort, budget_left, forced_tool, forced_while_thinking, warm_while_thinking),
        *(tool_name, repeated_tool, idle_choice, unknown_choice, idle_container, strict_toolset, strict_tools),
        *(schema_problem, optional_parameters, union_parameters, blank_stop),
        *IN_MESSAGES,
    )
}
