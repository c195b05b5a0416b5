"""Citations that point at the documents a request holds: by character, by page, by content block, by search result.

Not here: which requests may ask for them (params/rules.py).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dfbatch.emulator import media
from dfbatch.emulator.answers import text_block
from dfbatch.emulator.engines.values import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dfbatch.emulator.asks import Ask
    from dfbatch.emulator.engines.draws import Draw

_LONGEST = 80
_CITABLE = ("document", "search_result")


def cited_blocks(ask: Ask, draw: Draw) -> list[dict[str, Any]]:
    """An answer in text blocks, each sentence citing one document; nothing where citations are off."""
    blocks: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()  # documents and search results are numbered apart
    for document in _documents(ask):
        number = seen[document["type"]]
        seen[document["type"]] += 1
        if not cites(document):
            continue
        location = _location(document, number, draw)
        if location and location["cited_text"]:
            blocks += [text_block(f"{words(draw, 3).capitalize()}: "), text_block(f"{words(draw, 5)}.", [location])]
    return blocks


def cites(block: dict[str, Any]) -> bool:
    """Whether an answer is asked to cite this block."""
    return block["type"] in _CITABLE and bool((block.get("citations") or {}).get("enabled"))


def _documents(ask: Ask) -> Iterator[dict[str, Any]]:
    for message in ask.messages:
        yield from _within(message["content"])


def _within(content: Any) -> Iterator[dict[str, Any]]:
    """Those among the blocks, and among the blocks of tool results."""
    for block in content if isinstance(content, list) else ():
        if block["type"] in _CITABLE:
            yield block
        elif block["type"] == "tool_result":
            yield from _within(block.get("content"))


def _location(document: dict[str, Any], number: int, draw: Draw) -> dict[str, Any] | None:
    if document["type"] == "search_result":
        return _of_blocks(document["content"], draw) | {
            "type": "search_result_location",
            "search_result_index": number,
            "source": document["source"],
            "title": document["title"],
        }
    about = {"document_index": number, "document_title": document.get("title"), "file_id": None}
    source = document["source"]
    if source["type"] == "text":
        return _of_text(source["data"], draw) | about
    if source["type"] == "content":
        content = source["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        return _of_blocks(parts, draw) | {"type": "content_block_location"} | about
    if source["type"] == "base64":
        page = 1 + draw.below(media.pdf_pages(source["data"]) or 1)
        text = words(draw, 6)
        return {
            "type": "page_location",
            "cited_text": text,
            "start_page_number": page,
            "end_page_number": page + 1,
        } | about
    return None


def _of_text(text: str, draw: Draw) -> dict[str, Any]:
    start = draw.below(max(1, len(text)))
    end = min(len(text), start + 1 + draw.below(_LONGEST))
    return {"type": "char_location", "cited_text": text[start:end], "start_char_index": start, "end_char_index": end}


def _of_blocks(parts: list[dict[str, Any]], draw: Draw) -> dict[str, Any]:
    at = draw.below(max(1, len(parts)))
    cited = str(parts[at].get("text", "")) if parts else ""
    return {"cited_text": cited, "start_block_index": at, "end_block_index": at + 1}
