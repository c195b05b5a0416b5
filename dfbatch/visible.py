r"""Text of others made fit for a terminal: what drives it, or hides or reorders what is read, is shown, not obeyed.

Applied where something is shown (errors and warnings, logs, the bar, the command, `repr`); data stays what it is.
"""

from __future__ import annotations

import re
from typing import Final

# Controls (C0 but tab and line end, C1), a carriage return alone, separators, what has no width, marks of direction,
# tags, halves of surrogate pairs: Unicode 16 (categories Cc, Cf, Cs, Zl, Zp) without signs that are drawn.
_UNSEEN: Final = re.compile(
    "\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
    "|(?<![^\x00-\xff])[\u200c\u200d]"  # joiners belong between signs of other scripts and within emoji
)
_BREAKS: Final = re.compile("[\t\r\n]")
_SHORT: Final = {"\t": "\\t", "\r": "\\r", "\n": "\\n"}


def visible(text: str) -> str:
    r"""The text with every such sign as Python would write it; lines and tabs stay.

    >>> visible("\x1b[31mred\x1b]0;title\x07\nnext \u202eelttil")
    '\\x1b[31mred\\x1b]0;title\\x07\nnext \\u202eelttil'
    """
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub(_written, text)


def one_line(text: str) -> str:
    r"""The same on one line.

    >>> one_line("topics\x1b[2J\nof today")
    'topics\\x1b[2J\\nof today'
    """
    return _BREAKS.sub(_written, visible(text))


def _written(found: re.Match[str]) -> str:
    sign = found[0]
    code = ord(sign)
    if code < 0x100:
        return _SHORT.get(sign, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
