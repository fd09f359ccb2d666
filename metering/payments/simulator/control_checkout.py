"""The control API's customer: pays a Checkout session, or saves a card, without a browser."""

from __future__ import annotations

from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.checkout_paying import Buyer, expire, finish_authentication, intent_of, pay
from metering.payments.simulator.forms import Fields, Form, between, choice, flag, text
from metering.payments.simulator.payment_methods import checked_card, make_bank_account, make_card
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import State

_PATH = "/_simulator/checkout_sessions/{id}"


def _pay(call: Call, id: str) -> Json:
    """The session afterwards: still open where the card declined, or where 3-D Secure failed or waits."""
    state, form = call.state, _BY_DEFAULT | call.form
    session = state.get("checkout.session", id)
    method = _method(state, form)
    buyer = Buyer(**{name: form[name] for name in Buyer._fields if name in form})
    try:
        pay(state, session, method, buyer)
        intent = intent_of(state, session)
        if intent and intent["status"] == "requires_action" and form["authenticates"] != "later":
            finish_authentication(state, intent, succeeded=form["authenticates"] == "true")
    except Refusal as refusal:
        if not {"payment_intent", "setup_intent"} & set(refusal.error):
            raise
    return session


def _method(state: State, form: Json) -> Json:
    if form["method"] == "us_bank_account":
        return make_bank_account(state)
    month, year = form["exp_month"], form["exp_year"]
    return make_card(state, checked_card(state, form["card"], month, year), month, year, cvc=True)


def _expire(call: Call, id: str) -> Json:
    return expire(call.state, call.state.get("checkout.session", id))


_FIELDS: Fields = {
    "authenticates": choice("false", "later", "true"),
    "card": text,
    "country": text,
    "email": text,
    "exp_month": between(1, 12),
    "exp_year": between(2_000, 2_100),
    "method": choice("card", "us_bank_account"),
    "name": text,
    "postal_code": text,
    "saves": flag,
}
_BY_DEFAULT: Json = {
    "authenticates": "true",
    "card": "4242424242424242",
    "exp_month": 12,
    "exp_year": 2_050,
    "method": "card",
}
RESOURCE = Resource(
    "_control_checkout",
    (
        Route("POST", f"{_PATH}/pay", _pay, Form(_FIELDS)),
        Route("POST", f"{_PATH}/expire", _expire),
    ),
)
