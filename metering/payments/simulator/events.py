"""Events: every change is told by one, with the object as it was at that moment."""

from __future__ import annotations

from metering.payments.simulator.calls import Call, Resource, Route, paged, shown
from metering.payments.simulator.forms import Items, flag, listing, moments, text
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import API_VERSION, State


def _make_event(state: State, type: str, about: Json, previous: Json) -> None:
    """Keep the event of a change, and put it in the outbox."""
    data: Json = {"object": shown(about)}
    if previous:
        data["previous_attributes"] = shown(previous)
    waiting = sum(1 for endpoint in state.iter_kind("webhook_endpoint") if wants(endpoint, type))
    event = state.add(
        {
            "id": state.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": state.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": waiting,
            "request": {"id": state.origin.id, "idempotency_key": state.origin.idempotency_key},
            "type": type,
        }
    )
    state.outbox.append(event)


def wants(endpoint: Json, type: str) -> bool:
    """Whether the endpoint is on and asked for events of this type."""
    asked = endpoint["enabled_events"]
    return endpoint["status"] == "enabled" and ("*" in asked or type in asked)


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("event", id)


def _list(call: Call) -> Json:
    if "type" in call.form and "types" in call.form:
        raise Refusal("You may pass only one of these parameters: type, types.", param="type")
    types = call.form.get("types") or ([call.form["type"]] if call.form.get("type") else None)
    events = [
        event
        for event in call.state.iter_kind("event")
        if (types is None or any(_matches(event["type"], wanted) for wanted in types))
        and call.form.get("delivery_success") in {None, event["pending_webhooks"] == 0}
    ]
    return paged(call, events)


def _matches(type: str, wanted: str) -> bool:
    return type == wanted or (wanted.endswith("*") and type.startswith(wanted[:-1]))


RESOURCE = Resource(
    "event",
    (
        Route("GET", "/v1/events/{id}", _retrieve),
        Route(
            "GET",
            "/v1/events",
            _list,
            listing(
                "EventListParams", type=text, types=Items(text, 20), created=moments, delivery_success=flag
            ),
        ),
    ),
    observe=_make_event,
)
