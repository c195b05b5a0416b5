from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .api import NEW, ROUTE, Api, ask, pages, refusal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = {
    *("id", "type", "processing_status", "request_counts", "created_at", "expires_at"),
    *("ended_at", "archived_at", "cancel_initiated_at", "results_url"),
}
DAY = 24 * 3600


def counts(batch: Any) -> dict[str, int]:
    return {kind: count for kind, count in batch["request_counts"].items() if count}


def test_every_field_is_there_from_the_first_answer_on(api: Api) -> None:
    created = api.create(ask())
    ended = api.ended(created["id"])

    assert set(created) == set(ended) == KEYS
    assert set(created["request_counts"]) == {"processing", "succeeded", "errored", "canceled", "expired"}


def test_times_have_microseconds_and_a_day_lies_between_creation_and_expiry(serve: Callable[..., Api]) -> None:
    created = serve(clock=lambda: 1_700_000_000.25).create(ask())

    assert created["created_at"] == "2023-11-14T22:13:20.250000Z"
    assert created["expires_at"] == "2023-11-15T22:13:20.250000Z"


def test_counts_stay_in_processing_until_the_batch_has_ended(serve: Callable[..., Api]) -> None:
    api = serve(law="fixed:100", lanes=1)
    batch = api.create(ask("a"), ask("b"), ask(max_tokens=0))

    api.server.advance(250)
    frozen = api.get(batch["id"])
    api.server.advance(60)
    ended = api.get(batch["id"])

    assert (frozen["processing_status"], counts(frozen)) == ("in_progress", {"processing": 3})
    assert frozen["results_url"] is None
    assert (ended["processing_status"], counts(ended)) == ("ended", {"succeeded": 2, "errored": 1})


def test_speed_makes_processing_short_and_leaves_every_other_time_alone(serve: Callable[..., Api]) -> None:
    api = serve(law="fixed:3600", speed=3600, clock=lambda: 1_700_000_000.0)
    batch = api.create(ask())

    api.server.advance(0.9)
    early = api.get(batch["id"])["processing_status"]
    api.server.advance(0.1)
    ended = api.http.get(f"{ROUTE}/{batch['id']}")

    assert early == "in_progress"
    assert ended.json()["created_at"] == "2023-11-14T22:13:20.000000Z"
    assert ended.json()["expires_at"] == "2023-11-15T22:13:20.000000Z"
    assert ended.json()["ended_at"] == "2023-11-14T22:13:21.000000Z"
    assert ended.headers["date"] == "Tue, 14 Nov 2023 22:13:21 GMT"


def test_results_are_on_the_emulators_own_host(api: Api) -> None:
    batch = api.create(ask())

    url = api.ended(batch["id"])["results_url"]

    assert url == f"{api.server.url}{ROUTE}/{batch['id']}/results"
    assert api.http.get(url).headers["content-type"] == "application/x-jsonl"


def test_results_never_come_in_the_order_of_the_requests(api: Api) -> None:
    for count in (2, 3, 50):
        batch = api.create(*(ask(f"text {row}") for row in range(count)))
        api.ended(batch["id"])
        order = [line["custom_id"] for line in api.lines(batch["id"])]

        assert order != [f"r{row}" for row in range(count)]
        assert sorted(order) == sorted(f"r{row}" for row in range(count))


def test_results_of_a_running_batch_are_not_found(serve: Callable[..., Api]) -> None:
    api = serve(law=100)
    batch = api.create(ask())

    reply = api.http.get(f"{ROUTE}/{batch['id']}/results")

    assert refusal(reply)[:2] == (404, "not_found_error")


def test_what_is_unfinished_after_a_day_expires_and_the_rest_is_delivered(serve: Callable[..., Api]) -> None:
    api = serve(law=f"fixed:{10 * 3600}", lanes=1)
    batch = api.create(*(ask(f"text {row}") for row in range(5)))

    api.server.advance(DAY + 1)
    ended = api.get(batch["id"])
    kinds = sorted(line["result"]["type"] for line in api.lines(batch["id"]))

    assert counts(ended) == {"succeeded": 2, "expired": 3}
    assert kinds == ["expired"] * 3 + ["succeeded"] * 2
    assert ended["ended_at"] == ended["expires_at"]
    assert api.server.usage()["requests"] == 2


def test_canceling_lets_what_has_begun_finish(serve: Callable[..., Api]) -> None:
    api = serve(law="fixed:100", lanes=2)
    batch = api.create(*(ask(f"text {row}") for row in range(6)))

    api.server.advance(150)
    canceling = api.http.post(f"{ROUTE}/{batch['id']}/cancel").json()
    again = api.http.post(f"{ROUTE}/{batch['id']}/cancel").json()
    api.server.advance(60)
    ended = api.get(batch["id"])

    assert (canceling["processing_status"], counts(canceling)) == ("canceling", {"processing": 6})
    assert canceling["cancel_initiated_at"] is not None
    assert again["cancel_initiated_at"] == canceling["cancel_initiated_at"]
    assert (ended["processing_status"], counts(ended)) == ("ended", {"succeeded": 4, "canceled": 2})
    assert api.server.usage()["requests"] == 4


def test_a_batch_canceled_at_once_may_end_with_nothing_canceled(serve: Callable[..., Api]) -> None:
    api = serve(law="fixed:100")
    batch = api.create(ask(), ask("b"))

    api.http.post(f"{ROUTE}/{batch['id']}/cancel")
    api.server.advance(101)

    assert counts(api.get(batch["id"])) == {"succeeded": 2}


def test_a_batch_that_has_ended_cannot_be_canceled(api: Api) -> None:
    batch = api.create(ask())
    api.ended(batch["id"])

    assert refusal(api.http.post(f"{ROUTE}/{batch['id']}/cancel"))[:2] == (400, "invalid_request_error")


def test_a_batch_is_deleted_only_once_it_has_ended(serve: Callable[..., Api]) -> None:
    api = serve(law=10)
    batch, other = api.create(ask()), api.create(ask("b"))
    path = f"{ROUTE}/{batch['id']}"

    early = api.http.delete(path)
    api.http.post(f"{ROUTE}/{other['id']}/cancel")
    canceling = api.http.delete(f"{ROUTE}/{other['id']}")
    api.server.advance(11)
    done = api.http.delete(path)
    api.http.delete(f"{ROUTE}/{other['id']}")

    assert refusal(early)[:2] == refusal(canceling)[:2] == (400, "invalid_request_error")
    assert done.json() == {"id": batch["id"], "type": "message_batch_deleted"}
    assert [api.http.get(path).status_code, api.http.delete(path).status_code] == [404, 404]
    assert api.http.get(ROUTE).json()["data"] == []
    assert api.server.usage()["requests"] == 2


def test_results_are_archived_29_days_after_creation(serve: Callable[..., Api]) -> None:
    api = serve(law="fixed:36000")
    batch = api.create(ask())
    api.server.advance(36_001)  # when it ends makes no difference
    assert api.ended(batch["id"])["results_url"] is not None

    api.server.advance(29 * DAY - 36_006)
    kept = api.get(batch["id"])
    api.server.advance(10)
    archived = api.get(batch["id"])

    assert kept["archived_at"] is None
    assert kept["results_url"] is not None
    assert archived["archived_at"] is not None
    assert archived["results_url"] is None
    assert api.http.get(f"{ROUTE}/{batch['id']}/results").status_code == 404


def test_another_workspaces_batch_is_not_found(api: Api) -> None:
    batch = api.create(ask())
    path = f"{ROUTE}/{batch['id']}"
    with Api(api.server, key="key-b") as other:
        replies = [
            other.http.get(path),
            other.http.get(f"{path}/results"),
            other.http.post(f"{path}/cancel"),
            other.http.delete(path),
        ]
        listed = other.http.get(ROUTE).json()

    assert [reply.status_code for reply in replies] == [404] * 4
    assert listed == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_pages_go_back_in_time_and_forth_again(api: Api) -> None:
    made = [api.create(ask(f"text {row}"))["id"] for row in range(7)]

    first = api.http.get(ROUTE, params={"limit": 3}).json()
    newer = api.http.get(ROUTE, params={"limit": 3, "before_id": made[0]}).json()

    assert [batch["id"] for batch in first["data"]] == made[:3:-1]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (made[6], made[4], True)
    assert [batch["id"] for batch in newer["data"]] == made[3:0:-1]
    assert newer["has_more"] is True
    assert pages(api, 3) == made[::-1]
    assert pages(api, 1) == made[::-1]
    assert pages(api, 1000) == made[::-1]
    assert api.http.get(ROUTE, params={"before_id": made[6]}).json()["has_more"] is False


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=0", "limit: Input should be greater than or equal to 1"),
        ("limit=1001", "limit: Input should be less than or equal to 1000"),
        ("limit=many", "limit: Input should be a valid integer, unable to parse string as an integer"),
    ],
)
def test_a_bad_limit_is_refused(api: Api, query: str, text: str) -> None:
    assert refusal(api.http.get(f"{ROUTE}?{query}")) == (400, "invalid_request_error", text)


def test_an_old_beta_query_is_tolerated(api: Api) -> None:
    assert api.http.get(f"{ROUTE}?beta=true").status_code == 200


def test_a_bearer_key_is_as_good_as_an_api_key(api: Api) -> None:
    batch = api.create(ask(), headers=NEW)
    headers = {"x-api-key": "", "authorization": "Bearer key-a"}

    assert api.http.get(f"{ROUTE}/{batch['id']}", headers=headers).json()["id"] == batch["id"]


def test_state_survives_a_restart(serve: Callable[..., Api], tmp_path: Path) -> None:
    first = serve(data=tmp_path, law="fixed:100")
    done = first.create(ask("a"))
    first.server.advance(200)
    first.get(done["id"])
    open_ = first.create(ask("b"), ask("c"))
    before = first.http.get(f"{ROUTE}/{done['id']}/results").content
    usage = first.server.usage()
    first.server.stop()

    second = serve(data=tmp_path, law="fixed:100")
    after = second.http.get(f"{ROUTE}/{done['id']}/results").content
    still = second.get(open_["id"])
    second.server.advance(101)
    ended = second.get(open_["id"])

    assert after == before
    assert usage["requests"] == 1
    assert still["processing_status"] == "in_progress"
    assert counts(ended) == {"succeeded": 2}
    assert second.server.usage()["requests"] == 3


def test_a_folder_serves_one_emulator_at_a_time(serve: Callable[..., Api], tmp_path: Path) -> None:
    serve(data=tmp_path)

    with pytest.raises(RuntimeError, match="in use by another emulator"):
        serve(data=tmp_path)


def test_the_same_seed_gives_the_same_lines(serve: Callable[..., Api]) -> None:
    texts = []
    for seed in (1, 1, 2):
        api = serve(seed=seed)
        batch = api.create(*(ask(f"text {row}") for row in range(20)))
        api.ended(batch["id"])
        texts.append(api.http.get(f"{ROUTE}/{batch['id']}/results").content)

    assert texts[0] == texts[1] != texts[2]


def test_files_are_private(serve: Callable[..., Api], tmp_path: Path) -> None:
    api = serve(data=tmp_path / "data", law=1)
    api.create(ask())

    paths = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    modes = {path.stat().st_mode & 0o777 for path in paths}

    assert modes == {0o700, 0o600}


def test_no_key_is_stored(serve: Callable[..., Api], tmp_path: Path) -> None:
    api = serve(data=tmp_path)
    batch = api.create(ask())
    api.ended(batch["id"])

    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert b"key-a" not in stored
