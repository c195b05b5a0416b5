from __future__ import annotations

import datetime as dt
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from dfbatch.schemas import Invalid, read
from dfbatch.schemas.formats import FORMS, formed, moment
from dfbatch.schemas.wire import FORMATS


def test_a_datetime_is_aware_and_in_utc() -> None:
    schema = read(dt.datetime)
    moment = dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC)

    assert schema.judge('{"answer": "2024-01-02T05:04:00+02:00"}') == (moment,)
    assert schema.judge('{"answer": "2024-01-02T03:04:00"}')[0].tzinfo is dt.UTC


@pytest.mark.parametrize(
    "text", ["2024-01-02", "1704164645", "2024", "2024-01-02T25:00:00", "9999-12-31T23:59:59-05:00"]
)
def test_what_names_no_moment_is_invalid(text: str) -> None:
    with pytest.raises(Invalid, match="^" + re.escape(f"expected datetime, got '{text}' - at $.answer") + "$"):
        read(dt.datetime).judge(json.dumps({"answer": text}))


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_a_moment_that_was_written_is_read_back(when: dt.datetime) -> None:
    assert moment(when.isoformat()) == when


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("date", "2024-02-29", "2023-02-29"),
        ("date-time", "2024-01-02T03:04:05Z", "2024-01-02"),
        ("time", "10:00:00", "25:00:00"),
        ("duration", "P1DT2H", "a day"),
        ("uuid", "12345678-1234-5678-1234-567812345678", "1234"),
        ("uri", "https://example.org/x", "example"),
        ("ipv4", "127.0.0.1", "127.0.0"),
        ("ipv6", "::1", "127.0.0.1"),
        ("email", "ann@example.org", "ann"),
        ("hostname", "a.example.org", "-a.example.org"),
    ],
)
def test_each_format_takes_its_texts_and_no_others(form: str, good: str, bad: str) -> None:
    assert formed(form)(good) == good
    with pytest.raises(PydanticCustomError, match=f"valid {form}$|expected datetime$"):
        formed(form)(bad)


def test_every_format_the_api_knows_is_judged() -> None:
    assert set(FORMS) == FORMATS
