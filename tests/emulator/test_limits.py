from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from dfbatch.emulator import limits
from dfbatch.emulator.clock import SECOND, Clock
from dfbatch.emulator.errors import ApiError
from dfbatch.emulator.limits import Limits, Tier

from .api import ROUTE, Api, ask, refusal

if TYPE_CHECKING:
    from collections.abc import Callable


def spend(of: Limits, calls: int, organization: str = "a", kind: str = "batches") -> int:
    """How many of so many calls pass."""
    passed = 0
    for _ in range(calls):
        try:
            of.take(organization, kind)
        except ApiError:
            continue
        passed += 1
    return passed


def test_a_minutes_calls_pass_at_once_and_then_they_come_evenly() -> None:
    clock = Clock(lambda: 0.0)
    known = Limits("start", clock)

    first = spend(known, 1_200)
    clock.advance(6)
    second = spend(known, 200)
    clock.advance(600)

    assert (first, second) == (1_000, 100)
    assert spend(known, 2_000) == 1_000


def test_each_organization_has_limits_of_its_own_and_counting_tokens_others() -> None:
    known = Limits("start", Clock(lambda: 0.0))

    assert [
        spend(known, 3_000, name, kind) for name, kind in (("a", "batches"), ("b", "batches"), ("a", "counts"))
    ] == [
        1_000,
        1_000,
        2_000,
    ]


def test_the_429_says_when_a_call_will_pass() -> None:
    clock = Clock(lambda: 0.0)
    known = Limits("start", clock)
    spend(known, 1_000)

    with pytest.raises(ApiError) as caught:
        known.take("a", "batches")
    wait = int(caught.value.headers["retry-after"])
    clock.advance(wait)

    assert caught.value.status == 429
    assert wait == 1
    assert spend(known, 1) == 1


def test_no_tier_has_no_limits() -> None:
    assert spend(Limits("none", Clock(lambda: 0.0)), 20_000) == 20_000


def test_an_unknown_tier_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown tier 'gold'. Known are none, start, build, scale"):
        Limits("gold", Clock(lambda: 0.0))


def test_headers_tell_what_is_left(serve: Callable[..., Api]) -> None:
    api = serve(tier="build", clock=lambda: 1_700_000_000.0)

    headers = api.http.get(ROUTE).headers

    assert headers["anthropic-ratelimit-requests-limit"] == "2000"
    assert headers["anthropic-ratelimit-requests-remaining"] == "1999"
    assert headers["anthropic-ratelimit-requests-reset"] == "2023-11-14T22:13:20Z"


def test_calls_beyond_the_limit_are_429_with_retry_after(serve: Callable[..., Api]) -> None:
    api = serve(tier="start", clock=lambda: 1_700_000_000.0)
    spend(api.server.house.limits, 999, organization=api.server.house.organization)

    replies = [api.http.get(ROUTE) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [200, 429]
    assert refusal(replies[1])[1] == "rate_limit_error"
    assert replies[1].headers["retry-after"] == "1"


def test_the_queue_holds_so_many_requests_until_they_are_processed(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(limits.TIERS, "start", Tier(calls=100, queue=5))
    api = serve(law="fixed:50", lanes=1, tier="start")
    five = {"requests": [{"custom_id": f"r{row}", "params": ask()} for row in range(5)]}

    statuses = [api.http.post(ROUTE, json=five).status_code]
    full = api.http.post(ROUTE, json={"requests": [{"custom_id": "a", "params": ask()}]})
    api.server.advance(101)
    statuses += [api.http.post(ROUTE, json={"requests": five["requests"][:count]}).status_code for count in (3, 2)]

    assert refusal(full)[:2] == (429, "rate_limit_error")
    assert "5 are waiting and 1 would be added" in refusal(full)[2]
    assert "retry-after" in full.headers
    assert statuses == [200, 429, 200]


def test_what_a_cancel_stops_from_beginning_leaves_the_queue(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(limits.TIERS, "start", Tier(calls=100, queue=5))
    api = serve(law="fixed:50", lanes=1, tier="start")
    requests = [{"custom_id": f"r{row}", "params": ask()} for row in range(5)]
    batch = api.http.post(ROUTE, json={"requests": requests}).json()

    api.http.post(f"{ROUTE}/{batch['id']}/cancel")
    statuses = [api.http.post(ROUTE, json={"requests": requests[:count]}).status_code for count in (5, 4)]

    assert api.get(batch["id"])["processing_status"] == "canceling"
    assert statuses == [429, 200]


def test_workspaces_share_the_limits_of_their_organization(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(limits.TIERS, "start", Tier(calls=4, queue=5))
    api = serve(law=50, tier="start", clock=lambda: 1_700_000_000.0)
    body = {"requests": [{"custom_id": f"r{row}", "params": ask()} for row in range(3)]}

    replies = [api.http.post(ROUTE, json=body, headers={"x-api-key": key}) for key in ("key-a", "key-b")]
    lists = [api.http.get(ROUTE, headers={"x-api-key": key}).status_code for key in ("key-c", "key-d", "key-e")]

    assert replies[0].status_code == 200
    assert refusal(replies[1])[0] == 429
    assert "3 are waiting and 3 would be added" in refusal(replies[1])[2]
    assert lists == [200, 200, 429]


def test_two_batches_at_once_do_not_both_take_the_last_place(
    serve: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(limits.TIERS, "start", Tier(calls=100, queue=5))
    api = serve(law=50, tier="start")
    body = {"requests": [{"custom_id": f"r{row}", "params": ask()} for row in range(3)]}
    meeting, admit = threading.Barrier(2), api.server.house.limits.admit

    def met(waiting: int, coming: int) -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.3)  # both have looked at the queue by now, if both can at once
        admit(waiting, coming)

    monkeypatch.setattr(api.server.house.limits, "admit", met)
    with ThreadPoolExecutor(2) as pool:
        statuses = pool.map(lambda _: api.http.post(ROUTE, json=body).status_code, range(2))

    assert sorted(statuses) == [200, 429]


def test_time_moves_the_buckets_and_not_the_other_way() -> None:
    clock = Clock(lambda: 5.0)
    clock.advance(1.5)

    assert clock.now() == 6_500_000 == 6.5 * SECOND
