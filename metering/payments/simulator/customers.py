"""Customers."""

from __future__ import annotations

import secrets
from typing import Any

from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.forms import Fields, Form, listing, metadata, moments, nested, text, text_of
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import State

_ADDRESS = nested(dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text))
_FIELDS: Fields = {
    "address": _ADDRESS,
    "description": text,
    "email": text_of(512),
    "invoice_settings": nested({"default_payment_method": text}),
    "metadata": metadata,
    "name": text_of(256),
    "phone": text_of(20),
}


def merged(before: dict[str, str], sent: dict[str, str] | None) -> dict[str, str]:
    """Metadata after a call: sent keys are set, "" takes one away, and unsetting all of it empties it."""
    if sent is None:
        return {}
    return {key: value for key, value in {**before, **sent}.items() if value != ""}


def make_customer(state: State, **fields: Any) -> Json:  # noqa: ANN401  (JSON)
    """A new customer with these fields."""
    return state.add(
        {
            "id": state.new_id("cus"),
            "object": "customer",
            "address": fields.get("address"),
            "balance": 0,
            "created": state.now(),
            "currency": None,
            "default_source": None,
            "delinquent": False,
            "description": fields.get("description"),
            "discount": None,
            "email": fields.get("email"),
            "invoice_prefix": secrets.token_hex(4).upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": False,
            "metadata": merged({}, fields.get("metadata")),
            "name": fields.get("name"),
            "next_invoice_sequence": 1,
            "phone": fields.get("phone"),
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        },
        "customer.created",
    )


def _create(call: Call) -> Json:
    if call.form.get("invoice_settings", {}).get("default_payment_method"):
        raise Refusal(
            "The customer has no such payment method yet: attach it first.",
            code="resource_missing",
            param="invoice_settings[default_payment_method]",
        )
    return make_customer(call.state, **call.form)


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("customer", id)


def _update(call: Call, id: str) -> Json:
    customer = call.state.get("customer", id)
    changes = {name: value for name, value in call.form.items() if name != "expand"}
    if "metadata" in changes:
        changes["metadata"] = merged(customer["metadata"], changes["metadata"])
    if settings := changes.get("invoice_settings"):
        if method := settings.get("default_payment_method"):
            _check_attached(call.state, method, id)
        changes["invoice_settings"] = {**customer["invoice_settings"], **settings}
    return call.state.change(customer, "customer.updated", **changes)


def _check_attached(state: State, method_id: str, customer_id: str) -> None:
    method = state.find("payment_method", method_id)
    if method is None or method["customer"] != customer_id:
        raise Refusal(
            f"The customer does not have a payment method with the ID {method_id}. "
            "The payment method must be attached to the customer.",
            code="resource_missing",
            param="invoice_settings[default_payment_method]",
        )


def _list(call: Call) -> Json:
    return call.page("customer", email=call.form.get("email"))


RESOURCE = Resource(
    "customer",
    (
        Route("POST", "/v1/customers", _create, Form(_FIELDS, sdk="CustomerCreateParams")),
        Route("GET", "/v1/customers/{id}", _retrieve, Form(sdk="CustomerRetrieveParams")),
        Route("POST", "/v1/customers/{id}", _update, Form(_FIELDS, sdk="CustomerUpdateParams")),
        Route("GET", "/v1/customers", _list, listing("CustomerListParams", email=text, created=moments)),
    ),
    expandable=frozenset({"invoice_settings.default_payment_method"}),
)
