"""Webhook endpoints: who is told of events, and the secret that signs what they are told."""

from __future__ import annotations

from metering.ids import new_secret
from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.customers import merged
from metering.payments.simulator.forms import Fields, Form, Items, flag, listing, metadata, text
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import API_VERSION, State


def make_endpoint(state: State, url: str, secret: str | None = None, **fields: object) -> Json:
    """A new endpoint; it wants every event unless `enabled_events` says otherwise."""
    if not url.startswith(("http://", "https://")):
        raise Refusal("Invalid URL: An explicit scheme (such as https) must be provided.", param="url")
    return state.add(
        {
            "id": state.new_id("we"),
            "object": "webhook_endpoint",
            "api_version": API_VERSION,
            "application": None,
            "created": state.now(),
            "description": fields.get("description"),
            "enabled_events": fields.get("enabled_events") or ["*"],
            "livemode": False,
            "metadata": fields.get("metadata") or {},
            "status": "enabled",
            "url": url,
            "_secret": secret or new_secret("whsec_"),
        }
    )


def _create(call: Call) -> Json:
    form = {**call.form, "metadata": merged({}, call.form.get("metadata", {}))}
    made = make_endpoint(call.state, **form)
    # The one answer that tells the secret.
    return {**made, "secret": made["_secret"]}


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("webhook_endpoint", id)


def _update(call: Call, id: str) -> Json:
    endpoint = call.state.get("webhook_endpoint", id)
    form = dict(call.form)
    if "disabled" in form:
        form["status"] = "disabled" if form.pop("disabled") else "enabled"
    if "metadata" in form:
        form["metadata"] = merged(endpoint["metadata"], form["metadata"])
    return call.state.change(endpoint, **form)


def _delete(call: Call, id: str) -> Json:
    call.state.remove(call.state.get("webhook_endpoint", id))
    return {"id": id, "object": "webhook_endpoint", "deleted": True}


def _list(call: Call) -> Json:
    return call.page("webhook_endpoint")


_FIELDS: Fields = {
    "description": text,
    "enabled_events": Items(text, 300),
    "metadata": metadata,
    "url": text,
}
_PATH = "/v1/webhook_endpoints"
RESOURCE = Resource(
    "webhook_endpoint",
    (
        Route(
            "POST", _PATH, _create, Form(_FIELDS, ("enabled_events", "url"), "WebhookEndpointCreateParams")
        ),
        Route("GET", f"{_PATH}/{{id}}", _retrieve, Form(sdk="WebhookEndpointRetrieveParams")),
        Route(
            "POST",
            f"{_PATH}/{{id}}",
            _update,
            Form({**_FIELDS, "disabled": flag}, sdk="WebhookEndpointUpdateParams"),
        ),
        Route("DELETE", f"{_PATH}/{{id}}", _delete, Form(sdk="WebhookEndpointDeleteParams")),
        Route("GET", _PATH, _list, listing("WebhookEndpointListParams")),
    ),
)
