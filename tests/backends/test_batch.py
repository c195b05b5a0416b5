"""A batch as the server tells it: what is read out of it."""

from __future__ import annotations

import pytest

from dfbatch.backends import Batch


@pytest.mark.parametrize(
    ("told", "created"),
    [
        ("2026-11-22T10:00:00Z", 1_795_341_600.0),
        ("2026-11-22T10:00:00.250000Z", 1_795_341_600.25),
        ("2026-11-22T12:00:00.250000123+02:00", 1_795_341_600.25),
        ("2026-11-22T10:00:00", 1_795_341_600.0),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140.0),
        ("2026-11-31T10:00:00Z", None),
        ("", None),
    ],
)
def test_a_batch_says_when_it_was_created_where_that_can_be_read(told: str, created: float | None) -> None:
    assert Batch("b", created_at=told).created == created


def test_a_batch_counts_its_requests_whatever_became_of_them() -> None:
    assert Batch("b").requests == 0
    assert Batch("b", request_counts={"processing": 2, "succeeded": 5, "later_kind": 1}).requests == 8
