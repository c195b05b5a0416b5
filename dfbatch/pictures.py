"""Small pictures for reports, as HTML images that need no script and no library: bars, ranges, shares with intervals.

Each is an SVG within an `<img>`, which cannot run anything, with a text that says the same. Words stand beside them.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH: Final = 200  # CSS pixels
HEIGHT: Final = 12
PLAIN: Final = "tex2jax_ignore mathjax_ignore"  # a class: two sums in dollars are no formula (MathJax 2 and 3)
INK: Final = "#7a7f87"  # stands out from white and from #111 alike, at least 3:1
MARK: Final = "#1f78d1"


def stack(parts: Iterable[tuple[float, str]], alt: str, *, width: int = WIDTH) -> str:
    """A bar of parts side by side: the share of each, 0 to 1, and its colour; "" leaves it empty.

    >>> stack([(0.75, "#2e9e5b"), (0.25, "")], "3 of 4")[:70]
    '<img alt="3 of 4" width="200" height="12" style="vertical-align:middle'
    """
    shapes, start = [], 0.0
    for share, colour in parts:
        if colour and share > 0:
            shapes.append(_box(start, 0, max(2.0, share * width), HEIGHT, colour))
        start += share * width
    return _image([*shapes, _frame(width)], alt, width)


def span(low: float, likely: float, high: float, actual: float | None, alt: str, *, width: int = WIDTH) -> str:
    """A range with its likely value, and what it came to, on a scale from nothing."""
    top = max(high, actual or 0.0) * 1.05 or 1.0
    scale = width / top
    shapes = [_box(low * scale, 3, max(2.0, (high - low) * scale), HEIGHT - 6, INK), _tick(likely * scale, INK)]
    if actual is not None:
        shapes.append(f'<circle cx="{_px(actual * scale)}" cy="{HEIGHT // 2}" r="4" fill="{MARK}"/>')
    return _image([*shapes, _frame(width)], alt, width)


def whisker(share: float, low: float | None, high: float | None, alt: str, *, width: int = WIDTH) -> str:
    """A share of a whole as a bar, with the interval in which it lies, if any, as a line over its end."""
    shapes = [_box(0, 2, share * width, HEIGHT - 4, INK)]
    if low is not None and high is not None:
        shapes += [
            _box(low * width, HEIGHT / 2 - 1, max(1.0, (high - low) * width), 2, MARK),
            _tick(low * width, MARK),
            _tick(high * width, MARK),
        ]
    return _image([*shapes, _frame(width)], alt, width)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, pictures: int = -1) -> str:
    """A plain HTML table; every cell is escaped, but for the column of pictures.

    >>> table(["a"], [["<b>"]]).endswith("&lt;b&gt;</td></tr></tbody></table>")
    True
    """
    cell = "text-align:left;vertical-align:top;padding:.1em 1em .1em 0;border:0;white-space:normal"
    heads = "".join(_th(label, cell) for label in head)
    lines = (
        "".join(f'<td style="{cell}">{value if at == pictures else escape(value)}</td>' for at, value in enumerate(row))
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    top = f"<thead><tr>{heads}</tr></thead>" if any(head) else ""
    style = "border-collapse:collapse;border:0;font-size:inherit"
    return f'<table class="{PLAIN}" style="{style}">{top}<tbody>{body}</tbody></table>'


def _th(label: str, style: str) -> str:
    """A column's head; one that says nothing is none, or screen readers would stop at it."""
    tag = "th" if label else "td"
    return f'<{tag} style="{style}">{escape(label)}</{tag}>'


def _image(shapes: Iterable[str], alt: str, width: int) -> str:
    drawn = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}">{"".join(shapes)}</svg>'
    data = b64encode(drawn.encode()).decode()
    return (
        f'<img alt="{escape(alt)}" width="{width}" height="{HEIGHT}" style="vertical-align:middle;max-width:100%"'
        f' src="data:image/svg+xml;base64,{data}"/>'
    )


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{_px(x)}" y="{_px(y)}" width="{_px(width)}" height="{_px(height)}" fill="{colour}"/>'


def _tick(x: float, colour: str) -> str:
    return _box(x - 1, 1, 2, HEIGHT - 2, colour)


def _frame(width: int) -> str:
    return f'<rect x=".5" y=".5" width="{width - 1}" height="{HEIGHT - 1}" fill="none" stroke="{INK}" rx="2"/>'


def _px(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
