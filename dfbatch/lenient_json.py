"""JSON that strict readers refuse, read as far as it can be: what stands around objects, what is damaged in texts.

Which objects are results is not known here (`results.py`).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

_EXACT: Final = 19  # digits of an integer that is kept to the last one; longer ones become floats


def _finite(number: str) -> float | None:
    """As a float; null where it is larger than any."""
    value = float(number)
    return value if math.isfinite(value) else None


def _integer(digits: str) -> int | float | None:
    return int(digits) if len(digits.lstrip("-")) <= _EXACT else _finite(digits)


_reader: Final = json.JSONDecoder(strict=False, parse_float=_finite, parse_int=_integer, parse_constant=_finite)


def mended(text: bytes) -> bytes:
    r"""The same value as clean JSON: bytes that are no UTF-8 and lone surrogates become U+FFFD, control signs escapes.

    >>> mended(b'{"text": "caf\xe9 \\ud83d \x07"}').decode()
    '{"text": "caf� � \\u0007"}'

    Raises ValueError where it is no JSON even so.
    """
    try:
        value: Any = _reader.decode(text.decode("utf-8", "replace"))
        clean = json.dumps(value, ensure_ascii=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return clean.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def spans(text: bytes, opening: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    r"""Places of whole objects that begin like this, start and end, whatever stands before, between and behind them.

    >>> import re
    >>> list(spans(b'\xef\xbb\xbf{"a": {"a": 1}}, {"a": 2} {"a": ', re.compile(rb'{"a"')))
    [(3, 18), (20, 28)]
    """
    letters = text.decode("latin-1")  # one sign a byte: JSON's own signs are ASCII, and places stay what they are
    at = 0
    while begin := opening.search(text, at):
        try:
            _, at = _reader.raw_decode(letters, begin.start())
        except (ValueError, RecursionError):
            at = begin.end()  # torn: another may begin inside
        else:
            yield begin.start(), at
