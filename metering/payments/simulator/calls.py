"""What a resource is made of: the calls it answers and how its objects are shown.

A resource is a file of this package with a `RESOURCE`; `resources()` finds it there. Its handlers take the
`Call` and the ids of the path, run under the state's lock and return what is answered.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import metering.payments.simulator
from metering.payments.simulator.forms import NOTHING, Form
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import Observer, State

if TYPE_CHECKING:
    from metering.payments.simulator.server import Simulator


@dataclass(frozen=True)
class Page:
    """An answer for a browser: HTML, or a way elsewhere when `location` is given."""

    html: str = ""
    status: int = 200
    location: str | None = None


@dataclass(frozen=True)
class Call:
    """One call: the state, its decoded parameters and, for pages and the control API, the simulator."""

    state: State
    method: str
    path: str
    form: Json
    given_simulator: Simulator | None = None

    @property
    def simulator(self) -> Simulator:
        """The simulator, for the calls that may move its faults and webhooks."""
        if self.given_simulator is None:
            raise Refusal("No call of Stripe's moves the simulator.")
        return self.given_simulator

    def page(self, kind: str, **wanted: object) -> Json:
        """A list of the kind's objects whose fields have the values wanted; None is any value."""
        matching = {name: value for name, value in wanted.items() if value is not None}
        return paged(self, list(self.state.iter_kind(kind, **matching)))


Handler = Callable[..., Json | Page]


@dataclass(frozen=True)
class Route:
    """`path` as "/v1/customers/{id}"; without a form the parameters come as they were sent, all text."""

    method: str
    path: str
    handler: Handler
    form: Form | None = NOTHING

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """What the path looks like."""
        return re.compile(re.sub(r"\{\w+\}", "([^/]+)", self.path))


@dataclass(frozen=True)
class Resource:
    """The calls of a resource. Its `expandable` fields hold an id; `included` are made on demand."""

    name: str
    routes: tuple[Route, ...] = ()
    expandable: frozenset[str] = frozenset()
    included: Mapping[str, Callable[[State, Json], Json]] = field(default_factory=dict)
    observe: Observer | None = None


@functools.cache
def resources() -> Mapping[str, Resource]:
    """Every resource by the name its objects bear in `object`."""
    package = metering.payments.simulator
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]
    return {module.RESOURCE.name: module.RESOURCE for module in modules if hasattr(module, "RESOURCE")}


def find_route(method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
    """The route and the ids in the path; a fixed path goes before one with an id."""
    found = [
        (route, match.groups())
        for resource in resources().values()
        for route in resource.routes
        if route.method == method and (match := route.pattern.fullmatch(path))
    ]
    return min(found, key=lambda pair: len(pair[1]), default=None)


def paged(call: Call, newest_first: list[Json], url: str | None = None) -> Json:
    """The page that the cursors name."""
    form, rows = call.form, _within(call.form.get("created"), newest_first)
    limit = form.get("limit", 10)
    if after := form.get("starting_after"):
        rows = rows[_position(rows, after, "starting_after") + 1 :]
    if before := form.get("ending_before"):
        rows = rows[: _position(rows, before, "ending_before")]
        chosen = rows[-limit:]
    else:
        chosen = rows[:limit]
    return {"object": "list", "url": url or call.path, "has_more": len(rows) > limit, "data": chosen}


def _position(rows: list[Json], id: str, param: str) -> int:
    for position, row in enumerate(rows):
        if row["id"] == id:
            return position
    raise Refusal(f"No such object: '{id}'", code="resource_missing", param=param)


def _within(bounds: Mapping[str, int] | None, rows: list[Json]) -> list[Json]:
    if not bounds:
        return rows
    tests: Mapping[str, Callable[[int, int], bool]] = {
        "gt": lambda made, bound: made > bound,
        "gte": lambda made, bound: made >= bound,
        "lt": lambda made, bound: made < bound,
        "lte": lambda made, bound: made <= bound,
    }
    return [row for row in rows if all(tests[name](row["created"], bounds[name]) for name in bounds)]


def shown(kept: Json) -> Json:
    """A copy of an object without what is the simulator's own."""
    bare: Json = _bared(kept)
    return bare


def _bared(value: Any) -> Any:  # noqa: ANN401  (JSON)
    if isinstance(value, dict):
        return {name: _bared(below) for name, below in value.items() if not name.startswith("_")}
    return [_bared(below) for below in value] if isinstance(value, list) else value


def rendered(state: State, answer: Json, expand: list[str]) -> Json:
    """The answer with what was asked for expanded; a `Refusal` where that can't be."""
    bare = shown(answer)
    for path in expand:
        _expand(state, bare, bare, "", path.split("."), path)
    return bare


def _expand(state: State, node: Json, owner: Json, prefix: str, parts: list[str], path: str) -> None:
    head, *rest = parts
    if owner.get("object") == "list" and head == "data":
        if not rest:
            raise _not_expandable(path)
        for item in node["data"]:
            _expand(state, item, item, "", rest, path)
        return
    resource = resources().get(owner.get("object", ""), Resource(""))
    name, value = prefix + head, node.get(head)
    if name in resource.expandable:
        if isinstance(value, str) and (found := state.find_any(value)):
            value = node[head] = shown(found)
    elif name in resource.included:
        if value is None:
            value = node[head] = shown(
                resource.included[name](state, state.get(owner["object"], owner["id"]))
            )
    elif not (rest and isinstance(value, dict | list)):
        raise _not_expandable(path)
    if not rest or value is None:
        return
    for below in value if isinstance(value, list) else [value]:
        if not isinstance(below, dict):
            raise _not_expandable(path)
        inner = "object" in below
        _expand(state, below, below if inner else owner, "" if inner else f"{name}.", rest, path)


def _not_expandable(path: str) -> Refusal:
    return Refusal(
        f"This property cannot be expanded ({path}).", code="property_not_expandable", param="expand"
    )
