r"""Values without a text of their own: bytes, paths, files, pictures, objects; what is wrong with them, and what helps.

Sent all the same, they would go out as `b'\x89PNG…'` or `<Scan object at 0x7f…>`, and be paid for. Where values are
looked at is in `templates.py` and `contents.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from pathlib import PurePath
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from dfbatch.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable

_TEXTS: Final = frozenset(
    {str, int, float, bool, complex, NoneType, Decimal, dt.date, dt.datetime, dt.time, dt.timedelta}
)
_ADDRESS: Final = re.compile(r"<.* at 0x[0-9a-fA-F]+>", re.DOTALL)  # how Python writes what has no text of its own
_SHOWN: Final = 40  # characters of a value in an error
_MEDIA: Final = {  # first bytes → kind of block and media type that the API takes
    b"\x89PNG": ("image", "image/png"),
    b"\xff\xd8\xff": ("image", "image/jpeg"),
    b"GIF8": ("image", "image/gif"),
    b"RIFF": ("image", "image/webp"),
    b"%PDF": ("document", "application/pdf"),
}
_FILES: Final = {  # endings of files → the same
    **{f".{name}": ("image", f"image/{name}") for name in ("png", "jpeg", "gif", "webp")},
    ".jpg": ("image", "image/jpeg"),
    ".pdf": ("document", "application/pdf"),
}


def found(cells: Iterable[Any]) -> tuple[int, Any] | None:
    """The first cell that is or holds such a value, as its number and that value."""
    cells = list(cells)
    if set(map(type, cells)) <= _TEXTS:
        return None
    for at, cell in enumerate(cells):
        value = inside(cell)
        if value is not None:
            return at, value
    return None


def inside(value: Any) -> Any:
    """Such a value: this one, or the first within a list or dict; None where there is none."""
    if type(value) in _TEXTS:
        return None
    if isinstance(value, list | tuple | dict):
        held = value.values() if isinstance(value, dict) else value
        return None if set(map(type, held)) <= _TEXTS else next(filter(_is_there, map(inside, held)), None)
    return value if kind(value) else None


def kind(value: Any) -> str:
    """What such a value is, in words; empty for one that can be written."""
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes"
    if isinstance(value, PurePath):
        return "a path"
    if isinstance(value, type) or type(value) in _TEXTS:
        return ""
    if hasattr(value, "read") and hasattr(value, "close"):
        return "an open file"
    if hasattr(value, "tobytes") and hasattr(value, "save"):
        return "a picture"
    return "an object" if _ADDRESS.fullmatch(repr(value)) else ""


def written_in(text: str, value: Any) -> bool:
    """Whether a text holds such a value as Python writes it."""
    if kind(value) != "bytes":
        return repr(value) in text
    inner = repr(bytes(value[:_SHOWN]))[2:-1]
    return bool(inner) and (f"b'{inner}" in text or f'b"{inner}' in text)


def refusal(value: Any, column: str, place: str, *, nested: bool, in_row: bool) -> PromptError:
    """The error for such a value in a column; `in_row` where the template names the whole row."""
    what = kind(value)
    where = f"column {column!r} holds {'lists or dicts with ' * nested}{what}, not text ({place})"
    shown = repr(bytes(value[:_SHOWN]) if what == "bytes" else value)
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
    hint = help_for(value, f"row[{column!r}]")
    if in_row:
        hint = f"name the columns that are meant, as in {{title}} {{text}}, instead of {{row}}; or {hint}"
    return PromptError(where, f"the value is {shown}, of type {type(value).__name__}", hint=hint)


def help_for(value: Any, name: str) -> str:
    """What to do about such a value; `name` is how a prompt function says it."""
    what = kind(value)
    if what == "bytes":
        block, media = _media(bytes(value[:4]))
        if not media:
            text = f'text is made by {name}.decode("utf-8")'
            return f"{text}; an image or PDF goes in through a prompt function, as {_block('image', 'image/png', name)}"
        return f"give it through a prompt function: lambda row: [{_block(block, media, name)}, …]"
    if what == "a path":
        return _help_for_file(PurePath(value), name)
    if what == "an open file":
        return "read it first, into a column of texts"
    if what == "a picture":
        return (
            'save it first (buffer = io.BytesIO(); picture.save(buffer, "PNG")), and give it through a prompt function'
            f" as {_block('image', 'image/png', 'buffer.getvalue()')}"
        )
    return f"make a column of texts of it, or use a prompt function that says what of {name} is meant"


def _help_for_file(path: PurePath, name: str) -> str:
    block, media = _FILES.get(path.suffix.lower(), ("", ""))
    if media:
        return f"give it through a prompt function: lambda row: [{_block(block, media, f'{name}.read_bytes()')}, …]"
    return f"str(path) sends the name alone; to send the file, read it in a prompt function: {name}.read_text()"


def _media(first: bytes) -> tuple[str, str]:
    return next((media for begin, media in _MEDIA.items() if first.startswith(begin[:4])), ("", ""))


def _block(block: str, media: str, data: str) -> str:
    source = f'{{"type": "base64", "media_type": "{media}", "data": base64.b64encode({data}).decode()}}'
    return f'{{"type": "{block}", "source": {source}}}'


def _is_there(value: Any) -> bool:
    return value is not None
