"""/v1/models: the catalogue, newest first, paged like batches.

Not here: the facts (models.toml).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dfbatch.emulator import models, shapes
from dfbatch.emulator.clock import day
from dfbatch.emulator.errors import invalid, not_found
from dfbatch.emulator.replies import Json
from dfbatch.emulator.routes.batches import limit_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_LIFECYCLES = ("active", "deprecated", "retired")


def listing(request: Request) -> Response:
    """GET /v1/models."""
    query = request.query_params
    asked = [*query.getlist("lifecycle[]"), *query.getlist("lifecycle")] or ["active", "deprecated"]
    for number, stage in enumerate(asked):
        if stage not in _LIFECYCLES:
            raise invalid(f"lifecycle.{number}: Input should be 'active', 'deprecated' or 'retired'")
    found = [info for info in _all(_today(request)) if info["lifecycle"] in asked]
    before, after, limit = query.get("before_id"), query.get("after_id"), limit_of(query.get("limit"))
    if before:
        found = found[: _place(found, before)]
        return Json(shapes.page(found[-limit:], has_more=len(found) > limit))
    if after:
        found = found[_place(found, after) + 1 :]
    return Json(shapes.page(found[:limit], has_more=len(found) > limit))


def one(request: Request) -> Response:
    """GET of one model, by id or alias."""
    name = request.path_params["id"]
    model = models.catalogue().find(name)
    if model is not None:
        return Json(shapes.model(model, _today(request)))
    for info in _all(_today(request)):
        if info["id"] == name:
            return Json(info)
    raise not_found(f"model: {name}")


def _all(today: str) -> list[dict[str, Any]]:
    catalogue = models.catalogue()
    return [*(shapes.model(each, today) for each in catalogue.models), *map(shapes.retired, catalogue.retired)]


def _today(request: Request) -> str:
    return day(request.app.state.house.clock.now())


def _place(found: list[dict[str, Any]], anchor: str) -> int:
    for place, info in enumerate(found):
        if info["id"] == anchor:
            return place
    raise not_found(f"model: {anchor}")
