"""Params made for tests: tools, turns, blocks, pictures and pages in few words, and what an emulator says of them."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

from .api import refusal

if TYPE_CHECKING:
    from .api import Api

    Case = tuple[str, dict[str, Any], str]  # what is wrong, the params that are, the text; "…" where it goes on


def image(width: int = 10, height: int = 10) -> dict[str, Any]:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()},
    }


def pdf(count: int = 1, **more: Any) -> dict[str, Any]:
    content = b"%PDF-1.4\n" + b"<< /Type /Page >>\n" * count
    source = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(content).decode()}
    return {"type": "document", "source": source, **more}


def document(text: str = "Some words.", **more: Any) -> dict[str, Any]:
    return {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": text}, **more}


def turns(*messages: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


def tool(name: str = "find", **more: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object", "properties": {}, "additionalProperties": False}, **more}


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


MARK: Any = {"cache_control": {"type": "ephemeral"}}
HOUR: Any = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
CITED: Any = {"citations": {"enabled": True}}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}
TOOL_RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}
OPTIONAL = {"type": "object", "properties": {}, "additionalProperties": False}


def errors(api: Api, cases: list[Any], headers: dict[str, str] | None = None) -> list[str]:
    """For each case, the text of its errored line, or nothing."""
    results = api.run(*(case[1] for case in cases), headers=headers)
    return [r["error"]["error"]["message"] if r["type"] == "errored" else "" for r in results]


def refusals(api: Api, cases: list[Any], path: str = "/v1/messages") -> list[str]:
    """For each case, the text with which a direct call is refused."""
    told = []
    for case in cases:
        status, kind, message = refusal(api.http.post(path, json=case[1]))
        told.append(message)
        assert (status, kind) in {(400, "invalid_request_error"), (404, "not_found_error")}
    return told


def assert_told(cases: list[Case], told: list[str]) -> None:
    wrong = [
        (name, text, said) for (name, _params, text), said in zip(cases, told, strict=True) if not is_it(text, said)
    ]

    assert wrong == []


def is_it(text: str, said: str) -> bool:
    return said.startswith(text[:-1]) if text.endswith("…") else said == text
