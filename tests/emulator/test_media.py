from __future__ import annotations

import base64
import struct
import zlib

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


def packed(content: bytes) -> bytes:
    """A PDF's compressed object stream."""
    squeezed = zlib.compress(content)
    return b"<< /Type /ObjStm /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream\n" % (len(squeezed), squeezed)


def test_pages_in_compressed_streams_are_counted_too() -> None:
    broken = b"/Type /ObjStm stream\nno zlib endstream "
    content = b"%PDF-1.7\n" + packed(b"<< /Type /Page >>" * 3) + broken + packed(b"<</Type/Page>> <</Type/Pages>>")

    assert media.pdf_pages(encoded(content)) == 4
    assert media.pdf_pages(encoded(content + b"/ObjStm stream\nand no end")) == 4


def test_a_stream_that_unpacks_to_gigabytes_is_unpacked_in_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_MOST_UNPACKED", 20)

    assert media.pdf_pages(encoded(b"%PDF-1.7\n" + packed(b"<< /Type /Page >>" * 1_000))) == 1


def test_what_is_not_base64_is_nothing() -> None:
    assert media.decoded("§") is None
    assert media.image_size("§") is None
