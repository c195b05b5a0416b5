"""The one rule by which the emulator counts tokens, where no real model counts its own.

A token is four bytes of UTF-8, begun ones counted whole, and 30 % more on models with the new tokenizer. Each message
costs 4, tools 320 together, a schema its own text. An image is a token for every 750 pixels, at most 1,600; a page of a
PDF 1,800. Not here: which prefix was cached (caching.py), prices (models.toml).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dfbatch.emulator import media

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.emulator.models import Model

BYTES = 4
NEW_TOKENIZER = 1.3
PER_MESSAGE = 4
TOOL_PROMPT = 320  # the instructions that come with tools
PER_PAGE = 1_800
UNSEEN_IMAGE = 1_000  # an image given by URL or file id, which the emulator does not fetch
UNSEEN_PDF = 10 * PER_PAGE


def of_text(text: str, model: Model) -> int:
    """Tokens of a text."""
    length = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return scaled(-(-length // BYTES), model)


def scaled(count: int, model: Model) -> int:
    """A count by the old tokenizer as the model's own counts it."""
    return -int(-count * NEW_TOKENIZER // 1) if model.tokenizer == "new" else count


def of_json(value: Any, model: Model) -> int:
    """Tokens of anything as JSON text."""
    return scaled(-(-len(msgspec.json.encode(value)) // BYTES), model)


def of_content(content: Any, model: Model) -> int:
    """Of a string or of content blocks, whatever they hold."""
    if isinstance(content, str):
        return of_text(content, model)
    return sum(of_block(block, model) for block in content)


def of_block(block: dict[str, Any], model: Model) -> int:
    """Tokens of one content block."""
    count: Callable[[dict[str, Any], Model], int] = _BLOCKS.get(str(block.get("type")), of_json)
    return count(block, model)


def of_messages(messages: list[dict[str, Any]], model: Model) -> int:
    """Tokens of all turns."""
    return sum(PER_MESSAGE + of_content(message["content"], model) for message in messages)


def of_shared(params: dict[str, Any], model: Model) -> int:
    """Everything of a request that is not a message."""
    count = of_content(params.get("system") or "", model)
    tools = params.get("tools") or []
    if tools:
        count += TOOL_PROMPT + of_json(tools, model)
    form = (params.get("output_config") or {}).get("format")
    return count + of_json(form["schema"], model) if form else count


def _of_image(source: dict[str, Any]) -> int:
    if source["type"] != "base64":
        return UNSEEN_IMAGE
    width, height = media.image_size(source["data"]) or (0, 0)
    return min(1_600, -(-width * height // 750)) or UNSEEN_IMAGE


def _of_document(source: dict[str, Any], model: Model) -> int:
    kind = source["type"]
    if kind == "text":
        return of_text(source["data"], model)
    if kind == "content":
        return of_content(source["content"], model)
    return PER_PAGE * (media.pdf_pages(source["data"]) or 1) if kind == "base64" else UNSEEN_PDF


def _of_titled(block: dict[str, Any], model: Model) -> int:
    named = of_text(f"{block.get('title') or ''}{block.get('context') or ''}", model)
    return named + _of_document(block["source"], model)


# thinking of earlier turns is not counted
_BLOCKS: dict[str, Callable[[dict[str, Any], Model], int]] = {
    "text": lambda block, model: of_text(block["text"], model),
    "image": lambda block, _model: _of_image(block["source"]),
    "document": _of_titled,
    "search_result": lambda block, model: of_text(block["title"], model) + of_content(block["content"], model),
    "tool_result": lambda block, model: PER_MESSAGE + of_content(block.get("content") or "", model),
    "tool_use": lambda block, model: PER_MESSAGE + of_json(block["input"], model),
    "thinking": lambda _block, _model: 0,
    "redacted_thinking": lambda _block, _model: 0,
}
