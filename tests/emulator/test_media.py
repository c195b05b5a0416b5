from __future__ import annotations

import base64
import struct

import pytest

from dfbatch.emulator import media

JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + struct.pack(">HH", 480, 640) + bytes(12)
GIF = b"GIF89a" + struct.pack("<HH", 640, 480)
VP8X = b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(8) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
VP8L = b"RIFF\x00\x00\x00\x00WEBPVP8L" + bytes(5) + (639 | 479 << 14).to_bytes(4, "little")
VP8 = b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("content", "kind"),
    [(JPEG, "image/jpeg"), (GIF, "image/gif"), (VP8X, "image/webp"), (VP8L, "image/webp"), (VP8, "image/webp")],
)
def test_the_size_of_a_picture_is_read_from_its_head(content: bytes, kind: str) -> None:
    assert media.kind(content) == kind
    assert media.image_size(encoded(content)) == (640, 480)


@pytest.mark.parametrize("content", [b"", b"hello", JPEG[:12], GIF[:7], VP8X[:20], b"%PDF-1.4"])
def test_what_cannot_be_read_has_no_size(content: bytes) -> None:
    assert media.image_size(encoded(content)) is None


@pytest.mark.parametrize(
    ("content", "pages"),
    [
        (b"%PDF-1.4 /Type /Page /Type/Page /Type /Pages", 2),
        (b"%PDF-1.4 /Type /Pages /Count 12 /Count 5", 12),
        (b"%PDF-1.4", None),
        (b"no pdf", None),
    ],
)
def test_pages_are_counted_where_they_can_be_seen(content: bytes, pages: int | None) -> None:
    assert media.pdf_pages(encoded(content)) == pages


def test_what_is_not_base64_is_nothing() -> None:
    assert media.decoded("§") is None
    assert media.image_size("§") is None
