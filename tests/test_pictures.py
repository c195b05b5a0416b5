"""Pictures say in words what they show, run nothing, and keep to their frame."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch import pictures

SHARES = st.floats(0, 1)


def drawn(markup: str) -> ET.Element:
    """The picture within an image."""
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', markup)
    return ET.fromstring(base64.b64decode(data))


def boxes(markup: str) -> list[tuple[float, float]]:
    """Where each filled box begins and ends."""
    found = [shape.attrib for shape in drawn(markup) if shape.get("fill", "none") != "none" and "width" in shape.attrib]
    return [(float(box["x"]), float(box["x"]) + float(box["width"])) for box in found]


def test_parts_of_a_bar_stand_side_by_side_and_an_empty_one_keeps_its_place() -> None:
    made = pictures.stack([(0.5, "#111"), (0.25, ""), (0.25, "#222")], "halves", width=100)

    assert boxes(made) == [(0.0, 50.0), (75.0, 100.0)]


def test_the_same_is_said_in_words_and_words_are_escaped() -> None:
    made = pictures.stack([(1.0, "#111")], '"><script>alert(1)</script>')

    assert made.startswith('<img alt="&quot;&gt;&lt;script&gt;alert(1)')
    assert "<script" not in made
    assert made.count("<") == 1


@given(SHARES, SHARES, SHARES)
def test_a_share_and_its_interval_stay_within_the_frame(one: float, two: float, three: float) -> None:
    low, share, high = sorted([one, two, three])
    ends = boxes(pictures.whisker(share, low, high, "share", width=100))

    assert list(ends[0]) == pytest.approx([0.0, 100 * share], abs=0.01)
    assert all(-1.01 <= start <= end <= 101.01 for start, end in ends)


def test_what_it_came_to_stands_on_the_scale_of_what_was_forecast() -> None:
    made = pictures.span(1.0, 2.0, 3.0, 4.0, "a range", width=105)
    (dot,) = [shape for shape in drawn(made) if shape.tag.endswith("circle")]

    assert float(dot.attrib["cx"]) == pytest.approx(100.0)
    assert list(boxes(made)[0]) == pytest.approx([25.0, 75.0])


def test_a_range_of_nothing_is_drawn_too() -> None:
    assert drawn(pictures.span(0.0, 0.0, 0.0, None, "nothing")) is not None
