"""The figures and findings that rules.py names with `~`: each takes params and the case they are judged in.

A measure never judges: it counts, or returns the first thing found (a place or a text), or None.
Not here: thresholds and texts of the rules.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dfbatch.emulator import media
from dfbatch.emulator.caching import marks
from dfbatch.emulator.params import schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dfbatch.emulator.params.judge import Case

    Measure = Callable[[dict[str, Any], Case], Any]

EFFORTS = ("low", "medium", "high", "xhigh", "max")
_SIDE, _SIDE_OF_MANY, _MANY = 8_000, 2_000, 20  # pixels; reference §1.4
_IMAGE_BYTES = 10_000_000


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
    return None if budget is None else int(params["max_tokens"] - budget)


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
    """The first tool with an unfit name."""
    return next((f"tools.{row}.custom.name" for row, tool in _own_tools(params) if not _named_well(tool["name"])), None)


def repeated_tool(params: dict[str, Any], _case: Case) -> str | None:
    """The first name two tools share."""
    names = [str(tool.get("name") or tool.get("type")) for tool in params.get("tools") or []]
    return next((name for row, name in enumerate(names) if name in names[:row]), None)


def choice_without_tools(params: dict[str, Any], _case: Case) -> bool:
    """A tool_choice with nothing to choose from."""
    return params.get("tool_choice") is not None and not params.get("tools")


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


def messages(params: dict[str, Any], _case: Case) -> int:
    """How many there are."""
    return len(params["messages"])


def last_role(params: dict[str, Any], _case: Case) -> str:
    """Whose the last message is."""
    return str(params["messages"][-1]["role"])


def prefill_with_format(params: dict[str, Any], case: Case) -> bool:
    """A prefilled answer with an output format."""
    return last_role(params, case) == "assistant" and bool((params.get("output_config") or {}).get("format"))


def empty_message(params: dict[str, Any], _case: Case) -> str | None:
    """The first message without content, the prefilled one left out."""
    found = params["messages"]
    last = len(found) - 1
    for row, message in enumerate(found):
        if not message["content"] and not (row == last and message["role"] == "assistant"):
            return f"messages.{row}"
    return None


def prompt_tokens(_params: dict[str, Any], case: Case) -> int:
    """As counted by tokens.py."""
    return case.prompt_tokens


def empty_text(params: dict[str, Any], _case: Case) -> str | None:
    """The first empty text block."""
    return next(
        (place for place, _role, block in _blocks(params) if block["type"] == "text" and not block["text"]), None
    )


def loose_document(params: dict[str, Any], _case: Case) -> str | None:
    """The first document in an assistant message."""
    for place, role, block in _blocks(params):
        if role == "assistant" and block["type"] == "document":
            return place
    return None


def quoted_by_user(params: dict[str, Any], _case: Case) -> str | None:
    """The first text with citations in a user message."""
    for place, role, block in _blocks(params):
        inner = block.get("content") if block["type"] == "search_result" else ()
        for text in (block, *(inner or ())):
            if role == "user" and text["type"] == "text" and text.get("citations"):
                return place
    return None


def cited_documents(params: dict[str, Any], _case: Case) -> str:
    """Whether citations are on for `all`, `some` or `none` of the documents."""
    on = [_cites(block) for _place, _role, block in _blocks(params) if block["type"] == "document"]
    return "none" if not any(on) else "all" if all(on) else "some"


def cited_with_format(params: dict[str, Any], _case: Case) -> bool:
    """Citations with an output format."""
    cited = any(_cites(block) for _place, _role, block in _blocks(params))
    return cited and bool((params.get("output_config") or {}).get("format"))


def unpaired_tools(params: dict[str, Any], _case: Case) -> str | None:
    """A tool_use without its tool_result in the next message, or a tool_result without its tool_use before it."""
    asked: list[str] = []
    for row, message in enumerate(params["messages"]):
        content = message["content"] if isinstance(message["content"], list) else []
        given = [block["tool_use_id"] for block in content if block["type"] == "tool_result"]
        missing = [name for name in asked if name not in given]
        if missing:
            return (
                f"messages.{row - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the "
                "next message."
            )
        stray = [name for name in given if name not in asked]
        if stray:
            return (
                f"messages.{row}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(stray)}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        asked = [block["id"] for block in content if block["type"] == "tool_use"]
    return None


def images(params: dict[str, Any], _case: Case) -> int:
    """How many."""
    return sum(block["type"] == "image" for _place, _role, block in _blocks(params))


def pages(params: dict[str, Any], _case: Case) -> int:
    """Of all PDFs that can be counted."""
    pdfs = (block["source"] for _place, _role, block in _blocks(params) if block["type"] == "document")
    return sum(media.pdf_pages(source["data"]) or 1 for source in pdfs if source["type"] == "base64")


def media_problem(params: dict[str, Any], case: Case) -> str | None:
    """What is wrong with the first image or PDF that cannot be used."""
    side = _SIDE_OF_MANY if images(params, case) > _MANY else _SIDE
    for place, _role, block in _blocks(params):
        if block["type"] in {"image", "document"} and block["source"]["type"] == "base64":
            text = _media_text(block["source"], side)
            if text:
                return f"{place}.{block['type']}.source.base64{text}"
    return None


def cache_marks(params: dict[str, Any], _case: Case) -> int:
    """How many cache_control marks, the automatic one included."""
    return len(marks(params))


def ttl_order(params: dict[str, Any], _case: Case) -> str | None:
    """The first hour-long mark after a five-minute one."""
    lifetimes = marks(params)
    for row, (place, ttl) in enumerate(lifetimes):
        if ttl == "1h" and any(before == "5m" for _place, before in lifetimes[:row]):
            return place
    return None


def _named_well(name: str) -> bool:
    return re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", name) is not None


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
            yield f"tools.{row}.custom.input_schema", tool["input_schema"]


def _blocks(params: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place, role, block) of every block of every message, those inside tool results too."""
    for row, message in enumerate(params["messages"]):
        if isinstance(message["content"], str):
            continue
        for column, block in enumerate(message["content"]):
            place = f"messages.{row}.content.{column}"
            yield place, message["role"], block
            inner = block.get("content") if block["type"] == "tool_result" else None
            if isinstance(inner, list):
                for deep, part in enumerate(inner):
                    yield f"{place}.tool_result.content.{deep}", "tool", part


def _cites(block: dict[str, Any]) -> bool:
    return block["type"] in {"document", "search_result"} and bool((block.get("citations") or {}).get("enabled"))


def _media_text(source: dict[str, Any], side: int) -> str:
    content = media.decoded(source["data"])
    if content is None:
        return ".data: Invalid base64 data"
    if media.kind(content) != source["media_type"]:
        return f": The file does not appear to be a valid {source['media_type']}"
    if source["media_type"] == "application/pdf":
        return ""
    if len(source["data"]) > _IMAGE_BYTES:
        return f": image exceeds 10 MB maximum: {len(source['data'])} bytes > {_IMAGE_BYTES} bytes"
    if max(media.image_size(source["data"]) or (0, 0)) > side:
        return f".data: At least one of the image dimensions exceed max allowed size: {side} pixels"
    return ""


MEASURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        *(profile_conflict, quiet_effort, budget_left, forced_tool, forced_while_thinking, warm_while_thinking),
        *(tool_name, repeated_tool, choice_without_tools, unknown_choice, strict_toolset, strict_tools),
        *(schema_problem, optional_parameters, union_parameters, blank_stop),
        *(messages, last_role, prefill_with_format, empty_message, prompt_tokens),
        *(empty_text, loose_document, quoted_by_user, cited_documents, cited_with_format, unpaired_tools),
        *(images, pages, media_problem, cache_marks, ttl_order),
    )
}
