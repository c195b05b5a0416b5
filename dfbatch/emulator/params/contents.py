"""The figures and findings that rules.py names with `~` and that lie in the messages: turns, blocks, media, marks.

As in measures.py, whose names include these: a measure never judges. Not here: the keys beside `messages`.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from dfbatch.emulator import media
from dfbatch.emulator.caching import marks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dfbatch.emulator.params.judge import Case

_DIRECTIVE = "the directive-only form (content: [] with output_config) is accepted at any position"
_SIDE, _SIDE_OF_MANY, _MANY = 8_000, 2_000, 20  # pixels; reference §1.4
_IMAGE_BYTES = 10 * 1024 * 1024  # by the way the API wrote its former limit: "5 MB maximum … > 5242880 bytes"


def messages(params: dict[str, Any], _case: Case) -> int:
    """How many there are."""
    return len(params["messages"])


def unknown_role(params: dict[str, Any], _case: Case) -> str | None:
    """The first role that is none."""
    roles = (str(message["role"]) for message in params["messages"])
    return next((role for role in roles if role not in {"user", "assistant", "system"}), None)


def misplaced_system(params: dict[str, Any], _case: Case) -> str | None:
    """What is wrong with the first system message, if anything."""
    found = params["messages"]
    for row, message in enumerate(found):
        if message["role"] == "system":
            after = found[row + 1]["role"] if row + 1 < len(found) else "assistant"
            text = _system_text(message["content"], first=row == 0, ends=after == "user")
            if text:
                return f"messages.{row}: {text}"
    return None


def prefilled(params: dict[str, Any], _case: Case) -> bool:
    """The answer is begun in the last message."""
    last = params["messages"][-1]
    return bool(last["role"] == "assistant" and last["content"])


def prefill_with_format(params: dict[str, Any], case: Case) -> bool:
    """A prefilled answer with an output format."""
    return prefilled(params, case) and bool((params.get("output_config") or {}).get("format"))


def empty_message(params: dict[str, Any], _case: Case) -> str | None:
    """The first turn, of one message or several, without any content; the last may be the assistant's."""
    turns = groupby(enumerate(params["messages"]), key=lambda pair: pair[1]["role"])
    for role, turn in ((role, list(turn)) for role, turn in turns):
        if any(message["content"] for _row, message in turn):
            continue
        if role == "user":
            return f"messages.{turn[0][0]}: user messages must have non-empty content"
        if turn[-1][0] < len(params["messages"]) - 1:
            return (
                f"messages.{turn[0][0]}: all messages must have non-empty content except for the optional final "
                "assistant message"
            )
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
        for column, block in enumerate(content):
            if block["type"] == "tool_result" and block["tool_use_id"] not in asked:
                return (
                    f"messages.{row}.content.{column}: unexpected `tool_use_id` found in `tool_result` blocks: "
                    f"{block['tool_use_id']}. Each `tool_result` block must have a corresponding `tool_use` block in "
                    "the previous message."
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


def media_problem(params: dict[str, Any], _case: Case) -> str | None:
    """What is wrong with the first image or PDF that cannot be read, or is too large a file."""
    for place, _role, block in _blocks(params):
        if block["type"] in _TEXTS and block["source"]["type"] == "base64":
            text = _TEXTS[block["type"]](block["source"])
            if text:
                return text.format(place=place)
    return None


def wide_images(params: dict[str, Any], _case: Case) -> dict[str, Any] | None:
    """Images beyond the limit that always holds."""
    return _wider(params, _SIDE)


def wide_among_many(params: dict[str, Any], case: Case) -> dict[str, Any] | None:
    """Images beyond the limit that holds where there are many."""
    return _wider(params, _SIDE_OF_MANY) if images(params, case) > _MANY else None


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


def ttl_conflict(params: dict[str, Any], _case: Case) -> str | None:
    """The lifetime of the last block's own mark, where the automatic one has another."""
    *_before, (_place, own), (last, automatic) = [("", ""), ("", ""), *marks(params)]
    return own if last == "cache_control" and own != automatic else None


def _system_text(content: Any, *, first: bool, ends: bool) -> str:
    """What is wrong with one system message; `ends`: a user's message comes right after it."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not blocks:
        return "system content must contain at least one block"
    if any(block["type"] != "text" for block in blocks):
        return "role 'system' supports text, tool_addition, and tool_removal blocks only"
    if first:
        return f"use the top-level 'system' parameter for the initial system prompt; {_DIRECTIVE}"
    if ends:
        return f"role 'system' must precede an 'assistant' message or end the array; {_DIRECTIVE}"
    if any(not block["text"].strip() for block in blocks):
        return "system text blocks must contain non-whitespace text"
    return ""


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


def _wider(params: dict[str, Any], side: int) -> dict[str, Any] | None:
    found = (
        place.replace(".tool_result", "")
        for place, _role, block in _blocks(params)
        if block["type"] == "image"
        and block["source"]["type"] == "base64"
        and max(media.image_size(block["source"]["data"]) or (0, 0)) > side
    )
    paths = list(found)
    return {"max_side_length_pixels": side, "paths": paths} if paths else None


def _image_text(source: dict[str, Any]) -> str:
    content, size = media.decoded(source["data"]), len(source["data"])
    if content is None:
        return "{place}.image.source.base64: invalid base64 data"
    kind = media.kind(content)
    if kind is None or not kind.startswith("image/"):
        return "Could not process image"
    if kind != source["media_type"]:
        said = f"The image was specified using the {source['media_type']} media type, but the image appears to be a"
        return f"{{place}}.image.source.base64: {said} {kind} image"
    if size > _IMAGE_BYTES:
        return f"{{place}}.image.source.base64: image exceeds 10 MB maximum: {size} bytes > {_IMAGE_BYTES} bytes"
    return ""


def _pdf_text(source: dict[str, Any]) -> str:
    content = media.decoded(source["data"])
    if content is not None and media.kind(content) == "application/pdf":
        return ""
    return "{place}.pdf.source.base64.data: The PDF specified was not valid."


_TEXTS = {"image": _image_text, "document": _pdf_text}
IN_MESSAGES = (
    *(messages, unknown_role, misplaced_system, prefilled, prefill_with_format, empty_message, prompt_tokens),
    *(empty_text, loose_document, quoted_by_user, cited_documents, cited_with_format, unpaired_tools),
    *(images, pages, media_problem, wide_images, wide_among_many, cache_marks, ttl_order, ttl_conflict),
)
