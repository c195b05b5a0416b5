from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .api import ROUTE, Api, ask, refusal

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("headers", "status", "kind", "text"),
    [
        ({"x-api-key": ""}, 401, "authentication_error", "x-api-key header is required"),
        ({"x-api-key": "", "authorization": "Basic a"}, 401, "authentication_error", "x-api-key header is required"),
        ({"anthropic-version": "1999-01-01"}, 400, "invalid_request_error", "is not a valid version"),
        ({"anthropic-workspace-id": "wrkspc_other"}, 403, "permission_error", "does not match"),
    ],
)
def test_a_call_needs_a_key_a_version_and_its_own_workspace(
    api: Api, headers: dict[str, str], status: int, kind: str, text: str
) -> None:
    reply = api.http.get(ROUTE, headers=headers)

    assert refusal(reply)[:2] == (status, kind)
    assert text in refusal(reply)[2]


def test_a_missing_version_is_named(api: Api) -> None:
    del api.http.headers["anthropic-version"]

    assert refusal(api.http.get(ROUTE))[2] == "anthropic-version: header is required"


def test_every_answer_carries_ids_and_the_engine(api: Api) -> None:
    batch = api.create(ask())
    paths = [ROUTE, f"{ROUTE}/{batch['id']}", f"{ROUTE}/nope", "/v1/models", "/nowhere", "/_emulator/health"]
    seen = [api.http.get(path).headers for path in paths]

    assert all(headers["request-id"].startswith("req_011") for headers in seen)
    assert len({headers["request-id"] for headers in seen}) == len(seen)
    assert {headers["anthropic-organization-id"] for headers in seen} == {seen[0]["anthropic-organization-id"]}
    assert {headers["x-emulator-engine"] for headers in seen} == {"sample"}
    assert all("date" in headers for headers in seen)


def test_a_call_without_a_key_tells_no_workspace(api: Api) -> None:
    known, unknown = api.http.get(ROUTE), api.http.get(ROUTE, headers={"x-api-key": ""})

    assert known.headers["anthropic-workspace-id"].startswith("wrkspc_01")
    assert "anthropic-workspace-id" not in unknown.headers


def test_keys_of_one_workspace_see_the_same_batches_and_others_are_refused(serve: Callable[..., Api]) -> None:
    api = serve(keys={"key-a": "research", "key-b": "research", "key-c": "wrkspc_other"})
    batch = api.create(ask())
    path = f"{ROUTE}/{batch['id']}"

    seen = {key: api.http.get(path, headers={"x-api-key": key}).status_code for key in ("key-b", "key-c", "key-d")}

    refused = api.http.get(path, headers={"x-api-key": "key-d"})
    del api.http.headers["x-api-key"]
    bearer = api.http.get(path, headers={"authorization": "Bearer key-d"})

    assert seen == {"key-b": 200, "key-c": 404, "key-d": 401}
    assert refusal(refused)[::2] == (401, "invalid x-api-key")
    assert refusal(bearer)[::2] == (401, "Invalid bearer token")


def test_a_rejected_upload_gets_to_read_why(api: Api) -> None:
    reply = api.http.post(ROUTE, content=b"x" * 20_000_000, headers={"x-api-key": ""})

    assert refusal(reply)[:2] == (401, "authentication_error")


def test_the_date_header_moves_with_the_clock(serve: Callable[..., Api]) -> None:
    api = serve(clock=lambda: 1_700_000_000.0)
    dates = []
    for seconds in (0, 3600):
        api.server.advance(seconds)
        dates.append(api.http.get(ROUTE).headers["date"])

    assert dates == ["Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 23:13:20 GMT"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", ROUTE, 405), ("GET", f"{ROUTE}/", 404)]
)
def test_what_is_no_route_is_refused_in_the_apis_shape(api: Api, method: str, path: str, status: int) -> None:
    assert refusal(api.http.request(method, path))[0] == status
