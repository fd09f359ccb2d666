"""Checkout sessions: pages on which a customer pays, or saves a card. `checkout_paying.py` is the paying.

As Stripe does since 2022, a session makes its payment intent when the customer first tries to pay.
"""

from __future__ import annotations

from typing import Final

from metering.payments.simulator.calls import Call, Resource, Route, paged
from metering.payments.simulator.checkout_lines import LINE_ITEMS
from metering.payments.simulator.checkout_making import METHODS, make_session
from metering.payments.simulator.checkout_paying import expire, expire_overdue, follow
from metering.payments.simulator.customers import merged
from metering.payments.simulator.forms import (
    Fields,
    Form,
    Items,
    choice,
    flag,
    integer,
    listing,
    metadata,
    moments,
    nested,
    text,
    text_of,
)
from metering.payments.simulator.refusals import Json
from metering.payments.simulator.state import State


def _create(call: Call) -> Json:
    return make_session(call.state, call.form)


def _retrieve(call: Call, id: str) -> Json:
    expire_overdue(call.state)
    return call.state.get("checkout.session", id)


def _update(call: Call, id: str) -> Json:
    session = call.state.get("checkout.session", id)
    return call.state.change(session, metadata=merged(session["metadata"], call.form.get("metadata", {})))


def _expire(call: Call, id: str) -> Json:
    expire_overdue(call.state)
    return expire(call.state, call.state.get("checkout.session", id))


def _list(call: Call) -> Json:
    expire_overdue(call.state)
    email = (call.form.get("customer_details") or {}).get("email")
    wanted = {
        name: call.form[name] for name in ("customer", "payment_intent", "status") if call.form.get(name)
    }
    found = [
        session
        for session in call.state.iter_kind("checkout.session", **wanted)
        if email is None or (session["customer_details"] or {}).get("email") == email
    ]
    return paged(call, found)


def _list_lines(call: Call, id: str) -> Json:
    return paged(call, call.state.get("checkout.session", id)["_line_items"])


def _lines_of(state: State, session: Json) -> Json:
    call = Call(state, "GET", f"/v1/checkout/sessions/{session['id']}/line_items", {})
    return paged(call, session["_line_items"])


_KEEPING = nested({"setup_future_usage": choice("off_session", "on_session")})
_CARD = nested(
    {
        "request_three_d_secure": choice("automatic"),
        "setup_future_usage": choice("off_session", "on_session"),
    }
)
_INTENT_DATA = nested(
    {
        "capture_method": choice("automatic", "automatic_async"),
        "description": text_of(1_000),
        "metadata": metadata,
        "receipt_email": text,
        "setup_future_usage": choice("off_session", "on_session"),
        "statement_descriptor": text,
        "statement_descriptor_suffix": text,
    }
)
_SAVED = nested(
    {
        "allow_redisplay_filters": Items(choice("always", "limited", "unspecified"), 3),
        "payment_method_save": choice("disabled", "enabled"),
    }
)
_CREATING: Fields = {
    "allow_promotion_codes": flag,
    "automatic_tax": nested({"enabled": flag}, "enabled"),
    "billing_address_collection": choice("auto", "required"),
    "cancel_url": text,
    "client_reference_id": text_of(200),
    "currency": choice("usd"),
    "customer": text,
    "customer_creation": choice("always", "if_required"),
    "customer_email": text_of(800),
    "customer_update": nested({"address": choice("auto", "never"), "name": choice("auto", "never")}),
    "expires_at": integer,
    "invoice_creation": nested({"enabled": flag}, "enabled"),
    "line_items": LINE_ITEMS,
    "locale": choice("auto", "en"),
    "metadata": metadata,
    "mode": choice("payment", "setup"),
    "payment_intent_data": _INTENT_DATA,
    "payment_method_options": nested({"card": _CARD, "us_bank_account": _KEEPING}),
    "allowed_payment_method_types": Items(choice(*METHODS)),
    "saved_payment_method_options": _SAVED,
    "setup_intent_data": nested({"description": text, "metadata": metadata}),
    "submit_type": choice("auto", "book", "donate", "pay"),
    "success_url": text,
    "ui_mode": choice("hosted_page"),
}
_FILTERS: Fields = {
    "created": moments,
    "customer": text,
    "customer_details": nested({"email": text}, "email"),
    "payment_intent": text,
    "status": choice("complete", "expired", "open"),
}
_PATH: Final = "/v1/checkout/sessions"
RESOURCE = Resource(
    "checkout.session",
    (
        Route(
            "POST", _PATH, _create, Form(_CREATING, ("mode", "success_url"), "checkout.SessionCreateParams")
        ),
        Route("GET", f"{_PATH}/{{id}}", _retrieve, Form(sdk="checkout.SessionRetrieveParams")),
        Route(
            "POST",
            f"{_PATH}/{{id}}",
            _update,
            Form({"metadata": metadata}, sdk="checkout.SessionUpdateParams"),
        ),
        Route("POST", f"{_PATH}/{{id}}/expire", _expire, Form(sdk="checkout.SessionExpireParams")),
        Route(
            "GET", f"{_PATH}/{{id}}/line_items", _list_lines, listing("checkout.SessionListLineItemsParams")
        ),
        Route("GET", _PATH, _list, listing("checkout.SessionListParams", **_FILTERS)),
    ),
    expandable=frozenset({"customer", "payment_intent", "setup_intent"}),
    included={"line_items": _lines_of},
    observe=follow,
)
