"""The control API's webhooks: how deliveries misbehave, what is held, what was sent."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.control_faults import number
from metering.payments.simulator.forms import Fields, Form, Items, between, choice, flag, text
from metering.payments.simulator.refusals import Json
from metering.payments.simulator.webhooks import Behaviour

_PATH: Final = "/_simulator/webhooks"


def _behave(call: Call) -> Json:
    """What is not named behaves well again."""
    call.simulator.webhooks.behaviour = behaviour = Behaviour(**call.form)
    return asdict(behaviour)


def _release(call: Call) -> Json:
    form = call.form
    return {"released": call.simulator.webhooks.release(form.get("event"), order=form.get("order", "oldest"))}


def _redeliver(call: Call, id: str) -> Json:
    event = call.state.get("event", id)
    call.simulator.webhooks.dispatch(event, obedient=True)
    return event


def _list(call: Call) -> Json:
    webhooks = call.simulator.webhooks
    return {"idle": webhooks.is_idle(), "data": webhooks.listed()}


_BEHAVIOUR: Fields = {
    "delay_seconds": number,
    "drop": flag,
    "duplicate": between(0, 100),
    "hold": flag,
    "reorder": flag,
    "types": Items(text),
}
RESOURCE = Resource(
    "_webhooks",
    (
        Route("POST", _PATH, _behave, Form(_BEHAVIOUR)),
        Route(
            "POST",
            f"{_PATH}/release",
            _release,
            Form({"event": text, "order": choice("newest", "oldest", "random")}),
        ),
        Route("POST", "/_simulator/events/{id}/redeliver", _redeliver),
        Route("GET", "/_simulator/deliveries", _list),
    ),
)
