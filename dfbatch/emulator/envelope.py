"""The body of a create call: a stream of up to 256 MB cut into requests, envelope checked, params left unread.

Only `{"requests": [{"custom_id", "params"}]}` is judged here, as the API does at creation; what `params` holds is
judged when a request is processed (rules.py). Memory is bounded by the window, or by twice the largest request.

How the cuts are found: a window starts at a request. A comma followed by `{"custom_id":` or `{"params":` near its end
is a candidate, and `[` + text before it + `]` is decoded. JSON is read from left to right, so if that decodes, the text
before the comma held whole requests: the cut is proved, not guessed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import msgspec
import numpy as np

from dfbatch.emulator.errors import ApiError, invalid
from dfbatch.emulator.params.forms import OBJECT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MAX_REQUESTS = 100_000  # reference §1.4
PATTERN = "^[a-zA-Z0-9_-]{1,64}$"
ENTRY = np.dtype([("offset", "<i8"), ("length", "<i8"), ("custom_id", "S64")])

_WINDOW = 1 << 20
_TAIL = 1 << 16
_TRIES = 8
_MARGIN = 16  # a word, number or escape broken off is told of where it begins
_HEAD = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"requests"[ \t\r\n]*:[ \t\r\n]*\[')
_CUT = re.compile(rb',(?=[ \t\r\n]*\{[ \t\r\n]*"(?:custom_id|params)"[ \t\r\n]*:)')
_BLANKS = re.compile(r"[ \t\r\n,]*")
_WHERE = re.compile(r"\(byte (\d+)\)")
_OPENING = b'{"requests":['
_BROKEN = (RecursionError, UnicodeDecodeError)  # what msgspec raises besides its own errors, wherever it stands


class _Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    custom_id: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
    params: msgspec.Raw


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    requests: list[_Item]


_items = msgspec.json.Decoder(list[_Item])
_envelope = msgspec.json.Decoder(_Envelope)
_reader = json.JSONDecoder(parse_int=len, parse_float=len)


def read(path: Path) -> NDArray[np.void]:
    """One ENTRY per request of the body at `path`, in body order, or the ApiError a create call answers."""
    blocks: list[NDArray[np.void]] = []
    with path.open("rb") as body:
        for base, buffer, items in _windows(body):
            blocks.append(_entries(base, buffer, items, first=sum(map(len, blocks))))
    total = sum(map(len, blocks))
    if not total:
        raise invalid("requests: List should have at least 1 item after validation, not 0")
    if total > MAX_REQUESTS:
        raise invalid(f"requests: List should have at most {MAX_REQUESTS} items after validation, not {total}")
    entries = np.concatenate(blocks)
    _refuse_repeated(entries["custom_id"])
    return entries


def _windows(body: BinaryIO) -> Iterator[tuple[int, bytes, list[_Item]]]:
    """(offset in the body of the buffer's first byte, buffer, its requests), window by window."""
    text = body.read(_WINDOW)
    head = _HEAD.match(text)
    if head is None or len(text) < _WINDOW:
        yield 0, *_last(text + body.read(_WINDOW), b"", first=0)  # short or strange: judged as a whole
        return
    base, rest, size, count = head.end(), text[head.end() :], _WINDOW, 0
    while True:
        more = body.read(size)
        rest += more
        if len(more) < size:
            yield base - len(_OPENING), *_last(rest, _OPENING, first=count)
            return
        found = _first_requests(rest, first=count)
        if found is None:
            size = len(rest)
            continue
        buffer, items, closed = found
        yield base - 1, buffer, items
        if closed:
            _refuse_more(rest[len(buffer) - 1 :], body)
            return
        count += len(items)
        base += len(buffer) - 1
        rest, size = rest[len(buffer) - 1 :], _WINDOW


def _last(rest: bytes, opening: bytes, *, first: int) -> tuple[bytes, list[_Item]]:
    buffer = opening + rest
    _text(buffer)
    try:
        return buffer, _envelope.decode(buffer).requests
    except msgspec.ValidationError as error:
        raise _diagnosis(buffer, first=first, whole=True) from error
    except (msgspec.DecodeError, *_BROKEN) as error:
        raise _not_json(error) from error


def _first_requests(rest: bytes, *, first: int) -> tuple[bytes, list[_Item], bool] | None:
    """As many whole requests as can be proved, and whether they are the last; None if none ends in this window."""
    for cut in _cuts(rest):
        buffer = b"[" + rest[:cut] + b"]"
        try:
            items = _items.decode(buffer)
        except msgspec.ValidationError as error:
            raise _diagnosis(buffer, first=first, whole=False) from error
        except _BROKEN as error:
            raise _not_json(error) from error
        except msgspec.DecodeError:
            continue
        _text(buffer)
        return buffer, items, False
    end = _end_of_list(rest, first=first)
    if end is None:
        return None
    buffer = b"[" + rest[:end]
    _text(buffer)
    return buffer, _items.decode(buffer), True


def _cuts(rest: bytes) -> list[int]:
    """Commas that may stand between two requests, the last ones first."""
    near = [found.start() for found in _CUT.finditer(rest, max(0, len(rest) - _TAIL))]
    far = near or [found.start() for found in _CUT.finditer(rest)]
    return far[: -_TRIES - 1 : -1]


def _end_of_list(rest: bytes, *, first: int) -> int | None:
    """Where the list of requests is closed, if that is in this window. What is broken in it stays broken: refused."""
    try:
        _items.decode(b"[" + rest + b"]")
    except msgspec.ValidationError as error:
        raise _diagnosis(b"[" + rest + b"]", first=first, whole=False) from error
    except _BROKEN as error:
        raise _not_json(error) from error
    except msgspec.DecodeError as error:
        where = _WHERE.search(str(error))
        byte = int(where[1]) if where else len(rest)  # counted from 1
        if "trailing characters" in str(error):
            return byte - 2
        if byte < len(rest) - _MARGIN:
            raise _not_json(error) from error
    return None


def _refuse_more(rest: bytes, body: BinaryIO) -> None:
    """After the list nothing may follow but the closing brace."""
    while more := body.read(_WINDOW):
        rest = rest.rstrip() + more
        if len(rest) > _WINDOW + _TAIL:
            break
    _last(rest, _OPENING + b"]", first=0)


def _entries(base: int, buffer: bytes, items: list[_Item], *, first: int) -> NDArray[np.void]:
    entries = np.empty(len(items), ENTRY)
    start = _address(buffer)
    for row, item in enumerate(items):
        if bytes(memoryview(item.params)[:1]) != b"{":
            raise invalid(f"requests.{first + row}.params: {OBJECT}")
    entries["offset"] = [base + _address(item.params) - start for item in items]
    entries["length"] = [memoryview(item.params).nbytes for item in items]
    entries["custom_id"] = [item.custom_id for item in items]
    return entries


def _address(view: bytes | msgspec.Raw) -> int:
    """Where the bytes lie in memory: msgspec.Raw is a view into the buffer it was decoded from."""
    address: int = np.frombuffer(view, np.uint8).__array_interface__["data"][0]
    return address


def _refuse_repeated(ids: NDArray[np.bytes_]) -> None:
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(same):
        again = int(order[same + 1].min())
        raise invalid(f"requests.{again}.custom_id: custom_id must be unique within the batch")  # text: [?] §1.5


def _text(buffer: bytes) -> None:
    if buffer.isascii():
        return
    try:
        buffer.decode()
    except UnicodeDecodeError as error:
        raise _not_json(error) from error


def _not_json(error: Exception) -> ApiError:
    return invalid(f"The request body is not valid JSON: {error}")


def _diagnosis(buffer: bytes, *, first: int, whole: bool) -> ApiError:
    """The text for the first thing wrong with a buffer, read request by request since it may break off.

    With Python's own reader, which survives every number: yajl dies of one with more than 4,300 digits.
    """
    text = buffer.decode(errors="replace")
    try:
        problem = _outer_problem(text) if whole else _list_problem(text, 0, first=first)[0]
    except (ValueError, IndexError, RecursionError):
        problem = "The request body is not valid JSON: Input data was truncated"
    return invalid((problem or "requests: Field required").encode(errors="backslashreplace").decode())


def _outer_problem(text: str) -> str:
    at = _after_blanks(text, 0)
    if text[at] != "{":
        return OBJECT
    at = _after_blanks(text, at + 1)
    while text[at] != "}":
        key, at = _reader.raw_decode(text, at)
        if key != "requests":
            return f"{key}: Extra inputs are not permitted"
        at = _after_blanks(text, _after_blanks(text, at) + 1)
        if text[at] != "[":
            return "requests: Input should be a valid array"
        problem, at = _list_problem(text, at, first=0)
        if problem:
            return problem
        at = _after_blanks(text, at)
    return ""


def _list_problem(text: str, at: int, *, first: int) -> tuple[str, int]:
    """What is wrong with the first bad request of the list that is opened at `at`, and where reading has got."""
    at, number = _after_blanks(text, at + 1), first
    while text[at] != "]":
        item, at = _reader.raw_decode(text, at)
        problem = _problem(item)
        if problem:
            return f"requests.{number}{problem}", at
        at, number = _after_blanks(text, at), number + 1
    return "", _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    """Past white space and commas: where they are missing or too many has been judged."""
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _problem(item: Any) -> str:
    if not isinstance(item, dict):
        return f": {OBJECT}"
    for key in ("custom_id", "params"):
        if key not in item:
            return f".{key}: Field required"
    for key in item:
        if key not in {"custom_id", "params"}:
            return f".{key}: Extra inputs are not permitted"
    return _id_problem(item["custom_id"])


def _id_problem(custom_id: Any) -> str:
    """What pydantic says of a bad custom_id; the 64-character text is the API's own (reference §1.5)."""
    if not isinstance(custom_id, str):
        return ".custom_id: Input should be a valid string"
    if not custom_id:
        return ".custom_id: String should have at least 1 character"
    if len(custom_id) > 64:
        return ".custom_id: String should have at most 64 characters"
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", custom_id):
        return ".custom_id: String should match pattern '" + PATTERN + "'"
    return ""
