"""A create that the API itself calls one too many (529): looked for at once, sent again after a minute, paid once.

What leaves doubt for ten minutes is in `test_search.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import polars as pl
import pytest

import dfbatch
from dfbatch.backends.faults import check
from dfbatch.errors import Ambiguous, Overloaded
from dfbatch.ledger.states import ABANDONED

from .hours import Hours
from .sites import KEY, Emulated, Plain, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

Polars: Any = pl.DataFrame  # its `claude` is unknown to type checkers

TEXTS = list("abcdef")
ANSWERS = [f"answer to {text}" for text in TEXTS]

pytestmark = pytest.mark.filterwarnings("ignore::dfbatch.errors.RowsFailedWarning")


def echo(params: dict[str, Any]) -> str:
    return "answer to " + str(params["messages"][-1]["content"])


@pytest.fixture(params=["emulator", "plain"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each server."""
    with Emulated(engine=echo) if request.param == "emulator" else Plain() as server:
        yield server


@pytest.fixture
def hours(site: Site, monkeypatch: pytest.MonkeyPatch) -> Hours:
    """What runs go by."""
    clock = Hours(site)
    monkeypatch.setattr("dfbatch.run.clock.wall", clock)
    return clock


def begun(site: Site, **more: Any) -> Any:
    """A run under way."""
    backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
    return Polars({"text": TEXTS}).claude.submit("{text}", backend=backend, progress=False, **more)


def test_what_an_overloaded_api_refused_is_sent_again_after_one_minute(site: Site, hours: Hours) -> None:
    site.lose(529, accepted=False)

    assert begun(site).result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills(), site.calls("create")) == (1, [1] * 6, 2)
    assert 60 <= hours.passed < 90
    assert site.calls("list") < 12


def test_what_it_accepted_all_the_same_is_found_at_once_and_not_sent_again(site: Site, hours: Hours) -> None:
    site.lose(529, accepted=True)

    assert begun(site).result()["answer"].to_list() == ANSWERS
    assert (len(site.made()), site.bills(), site.calls("create")) == (1, [1] * 6, 1)
    assert hours.passed < 30


def test_what_is_listed_only_after_that_minute_cancels_the_younger_and_both_costs_are_shown(
    site: Site, hours: Hours
) -> None:
    """The assumption is broken."""
    site.hide()
    site.lose(529, accepted=True)
    with hours.still():
        run = begun(site)
        hours.at(50, lambda: site.last(7200))
        hours.at(200, site.reveal)
    run.wait()

    first, second = site.made()
    assert run.result()["answer"].to_list() == ANSWERS
    assert site.calls("cancel") == 1
    states = [(chunk.state, run._ledger.batch(chunk.id).id) for chunk in run._ledger.chunks(run.id)]
    assert states == [("collected", first), ("collected", second)]
    both = 2 if isinstance(site, Emulated) else 1  # it finishes what has begun, and bills that
    assert site.bills() == [both] * 6
    once = begun(site, reuse=False).wait().cost
    assert run.cost.tokens.output == both * once.tokens.output


@pytest.mark.parametrize("size", [6, 1])
def test_a_run_under_lasting_overload_backs_off_and_goes_on_when_it_ends(site: Site, hours: Hours, size: int) -> None:
    """An hour of it: few creates, whatever the number of chunks, and all is asked once when it is over."""
    for _ in range(1_000):
        site.lose(529, accepted=False)
    with hours.still():
        run = begun_soon(site, chunk_size=size)
        hours.at(3_600, lambda: relieve(site))
        hours.at(3_600, lambda: creates.append(site.calls("create")))
    creates: list[int] = []
    run.wait()

    assert run.result()["answer"].to_list() == ANSWERS
    assert site.bills() == [1] * 6
    assert 10 < creates[0] < 20
    assert hours.passed < 3_600 + 700
    abandoned = [chunk for chunk in run._ledger.chunks(run.id) if chunk.state == ABANDONED]
    assert len(abandoned) == site.calls("create") - len(site.made())
    assert not any(run._ledger.chunk_file(chunk.id, "spool").exists() for chunk in abandoned)  # nor is the disk filled


def begun_soon(site: Site, **more: Any) -> Any:
    """A run under way: `submit` would wait until something was accepted."""
    backend = dfbatch.Anthropic(api_key=KEY, base_url=site.url)
    plan = Polars({"text": TEXTS}).claude.plan("{text}", backend=backend, progress=False, **more)
    return plan.submit()


def relieve(site: Site) -> None:
    """It is not overloaded any more."""
    if isinstance(site, Plain):
        site.mishaps.clear()
    elif isinstance(site, Emulated):
        site.house.faults.arm([], replace=True)


def test_what_happens_is_said(site: Site, hours: Hours) -> None:
    seen: list[str] = []
    for _ in range(2):
        site.lose(529, accepted=False)
    with hours.still():
        run = begun(site)
        hours.at(30, lambda: seen.append(run.message))
    run.wait()

    (message,) = seen
    assert message.startswith("the API is overloaded (529): 1 chunk in doubt, at most $0.0")
    assert message.endswith(
        " at stake: looked for at the server (1 minute), and sent again where that does not show it"
    )
    told = [chunk.error for chunk in run._ledger.chunks(run.id) if chunk.state == ABANDONED]
    assert told == ["the server never accepted it: in no listing for 1 min"] * 2


def test_a_killed_process_leaves_word_that_it_was_an_overload(site: Site, hours: Hours) -> None:
    """The next one goes by the same minute: it is in the ledger."""
    site.lose(529, accepted=False)
    with hours.still():
        run = begun(site)
        (chunk,) = run._ledger.chunks(run.id)

        assert (chunk.state, chunk.doubt) == ("orphaned", "overloaded")
    run.wait()


TYPED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}'


@pytest.mark.parametrize(
    ("status", "headers", "body", "counts"),
    [
        (529, {"request-id": "req_1"}, TYPED, True),
        (529, {}, TYPED, False),
        (529, {"request-id": "req_1"}, b"", False),
        (529, {"request-id": "req_1"}, b"<html>529</html>", False),
        (529, {"request-id": "req_1"}, TYPED.replace(b"overloaded_error", b"api_error"), False),
        (529, {"request-id": "req_1"}, b'{"error":{"type":"overloaded_error"}}', False),
        (503, {"request-id": "req_1"}, TYPED, False),
        (500, {"request-id": "req_1"}, TYPED, False),
    ],
)
def test_only_the_apis_own_529_counts(status: int, headers: dict[str, str], body: bytes, counts: bool) -> None:  # noqa: FBT001 - a parameter of the test
    response = httpx.Response(status, headers=headers, content=body)
    with pytest.raises(Ambiguous) as caught:
        check(response, creating=True)

    assert counts == isinstance(caught.value, Overloaded)
