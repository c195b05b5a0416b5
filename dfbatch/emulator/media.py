"""Reading just enough of an image or a PDF: kind, size in pixels, number of pages.

Not here: what sizes are allowed (params/rules.py), what they cost (tokens.py).
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"%PDF-": "application/pdf",
}
_PAGE = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
_COUNT = re.compile(rb"/Count\s+(\d{1,6})")
_OBJECTS = re.compile(rb"/ObjStm\b.{0,300}?stream\r?\n", re.DOTALL)
_MOST_UNPACKED = 1 << 26
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG segments that carry the picture's size


def decoded(data: str) -> bytes | None:
    """The bytes of a base64 text, or None if it is not one."""
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def kind(content: bytes) -> str | None:
    """The media type by the first bytes."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _MAGIC.items() if content.startswith(magic)), None)


def image_size(data: str) -> tuple[int, int] | None:
    """Width and height in pixels, or None if that cannot be read."""
    content = decoded(data) or b""
    readers = {"image/png": _png, "image/gif": _gif, "image/jpeg": _jpeg, "image/webp": _webp}
    reader = readers.get(kind(content) or "")
    try:
        return reader(content) if reader else None
    except (struct.error, IndexError):
        return None


def pdf_pages(data: str) -> int | None:
    """Page objects, those in compressed object streams too, else the largest /Count; None if neither is found."""
    content = decoded(data) or b""
    if not content.startswith(b"%PDF-"):
        return None
    content += b"".join(_packed(content))
    return len(_PAGE.findall(content)) or max((int(count) for count in _COUNT.findall(content)), default=0) or None


def _packed(content: bytes) -> Iterator[bytes]:
    """What its object streams hold, where PDFs since 1.5 keep their pages; as much as is decent."""
    left, end = _MOST_UNPACKED, 0
    while left > 0 and (found := _OBJECTS.search(content, end)):
        end = content.find(b"endstream", found.end())
        with contextlib.suppress(zlib.error):
            unpacked = zlib.decompressobj().decompress(content[found.end() : end], left)
            left -= len(unpacked)
            yield unpacked
        if end < 0:
            return


def _png(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _gif(content: bytes) -> tuple[int, int]:
    width, height = struct.unpack("<HH", content[6:10])
    return width, height


def _jpeg(content: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 < len(content):
        marker = content[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
    return None


def _webp(content: bytes) -> tuple[int, int] | None:
    form = content[12:16]
    if len(content) < (25 if form == b"VP8L" else 30):
        return None
    if form == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if form == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", content[26:30])
    return width & 0x3FFF, height & 0x3FFF
