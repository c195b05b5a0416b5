"""The list of batches: complete where completeness is the proof, and few calls where it is only a poll."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfbatch.backends import Batch
from dfbatch.backends.anthropic import Anthropic
from dfbatch.backends.pages import Page, Search, all_since
from dfbatch.errors import NotTheApi, Unreachable
from tests.backends.shelf import DATE, NOW, Shelf, batch, strangers
from tests.wire import Peer, Wire, saying

if TYPE_CHECKING:
    from collections.abc import Callable

    from dfbatch.backends import Listing

    Ask = Callable[[Anthropic, Callable[[Anthropic], Any]], Any]

LIST = "/v1/messages/batches"


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def paths(wire: Wire) -> list[str]:
    return [call.path.removeprefix(LIST) for call in wire.calls]


def found(ask: Ask, serve: Callable[[Peer], object], since: float = 0.0) -> tuple[Listing, list[str]]:
    with Wire(serve) as wire:
        listing = ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.find(since))
    return listing, paths(wire)


def polls(ask: Ask, serve: Callable[[Peer], object], *rounds: list[str]) -> tuple[list[Any], list[list[str]]]:
    """What each poll tells, and the calls that it took."""
    told: list[Any] = []
    calls: list[list[str]] = []

    async def whole(backend: Anthropic) -> None:
        for ids in rounds:
            before = len(wire.calls)
            told.append(await backend.poll(ids))
            calls.append(paths(wire)[before:])

    with Wire(serve) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), whole)
    return told, calls


# find


def test_a_listing_is_read_page_by_page_to_its_end(ask: Ask) -> None:
    listing, calls = found(ask, Shelf(*strangers(2300)))

    assert [held.id for held in listing.batches] == [f"stranger{at}" for at in range(2300)]
    assert calls == ["?limit=1000", "?limit=1000&after_id=stranger999", "?limit=1000&after_id=stranger1999"]


def test_paging_stops_at_the_first_page_that_ends_before_the_moment(ask: Ask) -> None:
    held = [batch(f"b{age}", created_at=at(NOW - age)) for age in range(2300)]
    listing, calls = found(ask, Shelf(*held), since=NOW - 1100)

    assert [held.id for held in listing.batches] == [f"b{age}" for age in range(1101)]
    assert calls == ["?limit=1000", "?limit=1000&after_id=b999"]


def test_a_batch_whose_time_cannot_be_read_is_not_left_out(ask: Ask) -> None:
    held = [batch("new", created_at=at(NOW)), batch("odd", created_at="soon"), batch("old", created_at=at(NOW - 9))]
    listing, _ = found(ask, Shelf(*held), since=NOW - 1)

    assert [held.id for held in listing.batches] == ["new", "odd"]


def test_the_time_of_a_listing_is_the_servers_as_its_first_page_was_made(ask: Ask) -> None:
    dates = iter([DATE, "Sun, 22 Nov 2026 10:00:07 GMT"])
    shelf = Shelf(*strangers(1500))

    def serve(peer: Peer) -> None:
        shelf.date = next(dates, "")
        shelf(peer)

    listing, _ = found(ask, serve)

    assert listing.now == NOW
    assert len(listing.batches) == 1500


@pytest.mark.parametrize("date", ["", "soon", "Sun, 99 Nov 2026 10:00:00 GMT"])
def test_a_listing_without_the_servers_time_proves_nothing(date: str, ask: Ask) -> None:
    with pytest.raises(NotTheApi) as caught:
        found(ask, Shelf(date=date))

    assert str(caught.value) == (
        "the list of batches came without a Date header that can be read\n"
        "by it alone is told what the list can know of\n"
        "Hint: check ANTHROPIC_BASE_URL; some proxies lack the batch route"
    )


@pytest.mark.parametrize("data", [[], [batch("a")]])
def test_a_list_that_says_it_goes_on_and_does_not_is_no_complete_one(data: list[Any], ask: Ask) -> None:
    page = {"data": data, "has_more": True}
    with Wire(saying(200, page, date=DATE)) as wire, pytest.raises(NotTheApi) as caught:
        ask(Anthropic(api_key="k", base_url=wire.url), lambda backend: backend.find(0.0))

    assert len(wire.calls) == 1 + len(data)
    assert str(caught.value) == (
        "the list of batches says that it goes on, and does not\n"
        "half a list proves nothing\n"
        "Hint: check ANTHROPIC_BASE_URL; some proxies lack the batch route"
    )


def test_a_list_whose_cursor_is_deleted_meanwhile_is_read_again(ask: Ask) -> None:
    shelf = Shelf(*strangers(1500))

    def serve(peer: Peer) -> None:
        shelf(peer)
        shelf.batches = [held for held in shelf.batches if held["id"] != "stranger999"]

    listing, calls = found(ask, serve)

    assert len(listing.batches) == 1499
    assert calls == [
        *("?limit=1000", "?limit=1000&after_id=stranger999"),
        *("?limit=1000", "?limit=1000&after_id=stranger1000"),
    ]


def test_a_list_that_never_stands_still_is_given_up_for_now(ask: Ask) -> None:
    shelf = Shelf(*strangers(9000))

    def serve(peer: Peer) -> None:
        shelf(peer)
        del shelf.batches[999]

    with pytest.raises(Unreachable) as caught:
        found(ask, serve)

    assert str(caught.value) == (
        "the list of batches changes faster than it can be read\n"
        "3 times the last batch of a page was deleted before the next page was asked for\n"
        "Hint: this may pass: try again in a while"
    )


@given(
    ages=st.lists(st.integers(0, 20), max_size=12).map(sorted),
    since=st.integers(0, 20),
    size=st.integers(1, 5),
)
def test_for_any_pages_the_listing_is_all_that_is_young_enough(ages: list[int], since: int, size: int) -> None:
    held = [Batch(f"b{place}", created_at=at(NOW - age)) for place, age in enumerate(ages)]

    async def fetch(_: int, after: str) -> tuple[Page, float | None]:
        begin = next((place + 1 for place, one in enumerate(held) if one.id == after), 0)
        return Page(held[begin : begin + size], has_more=begin + size < len(held)), NOW

    listing = asyncio.run(all_since(NOW - since, fetch))

    assert listing.batches == [one for one, age in zip(held, ages, strict=True) if age <= since]


# poll


def test_a_hundred_batches_take_one_call(ask: Ask) -> None:
    ids = [f"b{at}" for at in range(100)]
    told, calls = polls(ask, Shelf(*strangers(50), *map(batch, ids)), ids, ids)

    assert [list(one) for one in told] == [ids, ids]
    assert calls == [["?limit=220"], ["?limit=220"]]


def test_batches_under_many_of_others_take_two_calls_once_and_one_from_then_on(ask: Ask) -> None:
    ids = ["a", "b", "c"]
    told, calls = polls(ask, Shelf(*strangers(400), *map(batch, ids)), ids, ids)

    assert all(told[1].values())
    assert calls == [["?limit=26", "?limit=1000&after_id=stranger25"], ["?limit=503"]]


def test_newcomers_of_others_do_not_push_ours_off_the_page(ask: Ask) -> None:
    shelf = Shelf(*strangers(400), *map(batch, "abc"))
    calls: list[int] = []

    async def whole(backend: Anthropic) -> None:
        for at in range(10):
            before = len(wire.calls)
            await backend.poll(["a", "b", "c"])
            calls.append(len(wire.calls) - before)
            shelf.batches[:0] = strangers(40, f"new{at}-")

    with Wire(shelf) as wire:
        ask(Anthropic(api_key="k", base_url=wire.url), whole)

    assert calls == [2, 1, 1, 1, 1, 1, 1, 1, 1, 1]


def test_no_more_is_listed_than_is_needed_once_the_deep_one_has_ended(ask: Ask) -> None:
    shelf = Shelf(*map(batch, "ab"), *strangers(400), batch("old"))
    _, calls = polls(ask, shelf, *[["a", "b", "old"]] * 6, ["a", "b"], ["a", "b"])

    assert calls == [
        *(["?limit=26", "/old"], ["?limit=52", "/old"], ["?limit=104", "/old"], ["?limit=208", "/old"]),
        *(["?limit=416"], ["?limit=503"], ["?limit=503"], ["?limit=24"]),
    ]


def test_one_that_the_list_lacks_is_retrieved_without_a_further_page(ask: Ask) -> None:
    told, calls = polls(ask, Shelf(*map(batch, "ab"), *strangers(900), unlisted=("c",)), ["a", "b", "c"])

    assert told[0]["c"].id == "c"
    assert calls == [["?limit=26", "/c"]]


def test_at_most_two_pages_are_read_for_however_deep_a_batch(ask: Ask) -> None:
    told, calls = polls(ask, Shelf(*strangers(3000), *map(batch, "ab")), ["a", "b"], ["a", "b", "gone"])

    assert [told[0][name].id for name in "ab"] == ["a", "b"]
    assert calls[0] == ["?limit=24", "?limit=1000&after_id=stranger23", "/a", "/b"]
    assert calls[1] == ["?limit=1000", "?limit=1000&after_id=stranger999", "/a", "/b", "/gone"]
    assert told[1]["gone"] is None


def test_a_cursor_that_is_deleted_meanwhile_costs_a_poll_no_more_than_retrieves(ask: Ask) -> None:
    shelf = Shelf(*strangers(400), *map(batch, "ab"))

    def serve(peer: Peer) -> None:
        shelf(peer)
        shelf.batches = [held for held in shelf.batches if held["id"] != "stranger23"]

    told, calls = polls(ask, serve, ["a", "b"])

    assert [told[0][name].id for name in "ab"] == ["a", "b"]
    assert calls == [["?limit=24", "?limit=1000&after_id=stranger23", "/a", "/b"]]


@given(
    places=st.sets(st.integers(0, 1500), min_size=2, max_size=8),
    length=st.integers(0, 1500),
    before=st.sets(st.integers(0, 1500), min_size=2, max_size=8),
)
def test_wherever_batches_lie_a_search_tells_the_truth_in_at_most_two_calls(
    places: set[int], length: int, before: set[int]
) -> None:
    held = [Batch(f"b{place}") for place in range(length)]
    calls = 0

    async def fetch(limit: int, after: str) -> tuple[Page, float | None]:
        nonlocal calls
        calls += 1
        begin = int(after[1:]) + 1 if after else 0
        return Page(held[begin : begin + limit], has_more=begin + limit < length), None

    async def whole() -> dict[str, Batch]:
        search = Search()
        await search.find([f"b{place}" for place in before], fetch)
        return await search.find([f"b{place}" for place in places], fetch)

    told = asyncio.run(whole())

    assert told == {name: held[int(name[1:])] for name in told}
    assert set(told) <= {f"b{place}" for place in places}
    assert calls <= 4
    assert {f"b{place}" for place in places if place < min(length, 22)} <= set(told)
