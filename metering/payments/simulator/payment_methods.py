"""Payment methods: cards by test number, token or ready-made id, and bank accounts that pay later."""

from __future__ import annotations

from typing import Any

from metering.payments.simulator import cards
from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.cards import Behaviour, Card
from metering.payments.simulator.customers import merged
from metering.payments.simulator.declines import decline_refusal
from metering.payments.simulator.forms import (
    Fields,
    Form,
    between,
    choice,
    listing,
    metadata,
    nested,
    text,
)
from metering.payments.simulator.refusals import Json, Refusal, missing
from metering.payments.simulator.state import State

_NEVER_USED_TWICE = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared "
    "with a connected account without Customer attachment, or was detached from a Customer. It may not be "
    "used again. To use a PaymentMethod multiple times, you must attach it to a Customer first."
)
_BILLING = nested(
    {
        "address": nested(dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text)),
        "email": text,
        "name": text,
        "phone": text,
    }
)
_CARD = nested(
    {"number": text, "exp_month": between(1, 12), "exp_year": between(0, 2_100), "cvc": text, "token": text}
)
# Ready-made bank account, and what it does; its payments wait until the control API settles or fails them.
_BANK_ACCOUNT = "pm_usBankAccount"


def make_card(
    state: State,
    card: Card,
    exp_month: int,
    exp_year: int,
    *,
    cvc: bool,
    **fields: Any,  # noqa: ANN401  (JSON)
) -> Json:
    """A payment method, attached to nobody; `fields` may be billing_details, metadata, allow_redisplay."""
    made = _make(state, "card", card.behaviour, fields)
    made["card"] = cards.card_fields(card, exp_month, exp_year, cvc=cvc)
    return state.add(made)


def make_bank_account(state: State, **fields: Any) -> Json:  # noqa: ANN401  (JSON)
    """A new US bank account, whose payments are processing until they are settled or fail."""
    made = _make(state, "us_bank_account", Behaviour(settles="later"), fields)
    made["us_bank_account"] = {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": "simulatedaccount",
        "last4": "6789",
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": None,
    }
    return state.add(made)


def _make(state: State, type: str, behaviour: Behaviour, fields: Json) -> Json:
    billing = {
        "address": {},
        "email": None,
        "name": None,
        "phone": None,
        **(fields.get("billing_details") or {}),
    }
    parts = ("city", "country", "line1", "line2", "postal_code", "state")
    billing["address"] = {**dict.fromkeys(parts), **(billing["address"] or {})}
    return {
        "id": state.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": fields.get("allow_redisplay") or "unspecified",
        "billing_details": {**billing, "tax_id": None},
        "created": state.now(),
        "customer": None,
        "livemode": False,
        "metadata": merged({}, fields.get("metadata", {})),
        "type": type,
        "_behaviour": cards.behaviour_fields(behaviour),
        "_set_up": False,
        "_spent": False,
    }


def use_payment_method(state: State, id: str, param: str = "payment_method") -> Json:
    """The payment method of that id, or a new one where Stripe's ready-made id is given."""
    if kept := state.find("payment_method", id):
        return kept
    next_year = 1970 + state.now() // 31_556_952 + 1
    if id == _BANK_ACCOUNT or id.startswith(f"{_BANK_ACCOUNT}_"):
        return make_bank_account(state)
    if (card := cards.find_ready_made(id)) and id.startswith("pm_"):
        return make_card(state, card, 12, next_year, cvc=True)
    raise missing("PaymentMethod", id, param)


def check_usable(method: Json, customer_id: str | None) -> None:
    """A `Refusal` where Stripe lets nobody pay with it: used up, or another customer's."""
    if method["_spent"]:
        raise Refusal(_NEVER_USED_TWICE, param="payment_method")
    if method["customer"] and customer_id is None:
        raise Refusal(
            "The payment method you provided is attached to a customer so for security purposes you must "
            "provide the customer in the request.",
            param="customer",
        )
    if method["customer"] and method["customer"] != customer_id:
        raise Refusal(
            f"The customer does not have a payment method with the ID {method['id']}. The payment method "
            "must be attached to the customer.",
            code="resource_missing",
            param="payment_method",
        )


def attach(state: State, method: Json, customer_id: str) -> Json:
    """Make it the customer's."""
    if method["customer"] == customer_id:
        return method
    return state.change(method, "payment_method.attached", customer=customer_id)


def _create(call: Call) -> Json:
    form = call.form
    if form["type"] == "us_bank_account":
        return make_bank_account(call.state, **form)
    given = form.get("card")
    if given is None:
        raise Refusal("Missing required param: card.", code="parameter_missing", param="card")
    if token := given.get("token"):
        card = cards.find_ready_made(token)
        if card is None:
            raise missing("token", token, "card[token]")
        year = 1970 + call.state.now() // 31_556_952 + 1
        return make_card(call.state, card, 12, year, cvc=True, **_more(form))
    for name in ("number", "exp_month", "exp_year"):
        if name not in given:
            raise Refusal(
                f"Missing required param: card[{name}].", code="parameter_missing", param=f"card[{name}]"
            )
    year = given["exp_year"] + (2_000 if given["exp_year"] < 100 else 0)
    card = checked_card(call.state, given["number"], given["exp_month"], year)
    return make_card(call.state, card, given["exp_month"], year, cvc="cvc" in given, **_more(form))


def checked_card(state: State, number: str, exp_month: int, exp_year: int) -> Card:
    """The test card of that number; a `Refusal` of Stripe's for an unknown number or a past expiry."""
    card = cards.by_number(number)
    months = (state.now() // 2_629_746) + 1_970 * 12
    if exp_year * 12 + exp_month - 1 < months:
        param = "exp_month" if exp_year * 12 + 11 >= months else "exp_year"
        what = "month" if param == "exp_month" else "year"
        raise Refusal(
            f"Your card's expiration {what} is invalid.",
            code=f"invalid_expiry_{what}",
            param=param,
            status=402,
            type="card_error",
        )
    return card


def _more(form: Json) -> Json:
    return {name: form[name] for name in ("billing_details", "metadata", "allow_redisplay") if name in form}


def _retrieve(call: Call, id: str) -> Json:
    return use_payment_method(call.state, id, "id")


def _update(call: Call, id: str) -> Json:
    method = call.state.get("payment_method", id)
    changes: Json = {}
    if "metadata" in call.form:
        changes["metadata"] = merged(method["metadata"], call.form["metadata"])
    if call.form.get("billing_details"):
        changes["billing_details"] = {**method["billing_details"], **call.form["billing_details"]}
    if call.form.get("allow_redisplay"):
        changes["allow_redisplay"] = call.form["allow_redisplay"]
    if "card" in call.form and method["type"] == "card":
        changes["card"] = {**method["card"], **call.form["card"]}
    return call.state.change(method, "payment_method.updated", **changes)


def _attach(call: Call, id: str) -> Json:
    state, customer_id = call.state, call.form["customer"]
    state.get("customer", customer_id, "customer")
    method = use_payment_method(state, id, "id")
    if method["_spent"]:
        raise Refusal(_NEVER_USED_TWICE, param="payment_method")
    if method["customer"] not in {None, customer_id}:
        raise Refusal(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_already_attached",
        )
    behaviour = method["_behaviour"]
    if behaviour["decline"] and behaviour["declines_early"]:
        raise decline_refusal(behaviour["decline"])
    return attach(state, method, customer_id)


def _detach(call: Call, id: str) -> Json:
    state = call.state
    method = state.get("payment_method", id)
    customer = state.find("customer", method["customer"])
    if customer is None:
        raise Refusal(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            code="payment_method_not_attached",
        )
    if customer["invoice_settings"]["default_payment_method"] == id:
        settings = {**customer["invoice_settings"], "default_payment_method": None}
        state.change(customer, "customer.updated", invoice_settings=settings)
    return state.change(method, "payment_method.detached", customer=None, _spent=True)


def _list(call: Call) -> Json:
    if customer := call.form.get("customer"):
        call.state.get("customer", customer, "customer")
        return call.page("payment_method", customer=customer, type=call.form.get("type"))
    raise Refusal(
        "Missing required param: customer (lists across customers are not simulated).",
        code="parameter_missing",
        param="customer",
    )


def _list_of_customer(call: Call, id: str) -> Json:
    call.state.get("customer", id)
    return call.page("payment_method", customer=id, type=call.form.get("type"))


def _retrieve_of_customer(call: Call, id: str, method_id: str) -> Json:
    call.state.get("customer", id)
    method = call.state.find("payment_method", method_id)
    if method is None or method["customer"] != id:
        raise missing("PaymentMethod", method_id, "payment_method")
    return method


_REDISPLAY = choice("always", "limited", "unspecified")
_CHANGES: Fields = {"allow_redisplay": _REDISPLAY, "billing_details": _BILLING, "metadata": metadata}
_EXPIRY = nested({"exp_month": between(1, 12), "exp_year": between(2_000, 2_100)})
_TYPE = choice("card", "us_bank_account")
RESOURCE = Resource(
    "payment_method",
    (
        Route(
            "POST",
            "/v1/payment_methods",
            _create,
            Form({**_CHANGES, "card": _CARD, "type": _TYPE}, ("type",), "PaymentMethodCreateParams"),
        ),
        Route("GET", "/v1/payment_methods/{id}", _retrieve, Form(sdk="PaymentMethodRetrieveParams")),
        Route(
            "POST",
            "/v1/payment_methods/{id}",
            _update,
            Form({**_CHANGES, "card": _EXPIRY}, sdk="PaymentMethodUpdateParams"),
        ),
        Route(
            "POST",
            "/v1/payment_methods/{id}/attach",
            _attach,
            Form({"customer": text}, ("customer",), "PaymentMethodAttachParams"),
        ),
        Route("POST", "/v1/payment_methods/{id}/detach", _detach, Form(sdk="PaymentMethodDetachParams")),
        Route(
            "GET", "/v1/payment_methods", _list, listing("PaymentMethodListParams", customer=text, type=_TYPE)
        ),
        Route(
            "GET",
            "/v1/customers/{id}/payment_methods",
            _list_of_customer,
            listing("CustomerPaymentMethodListParams", type=_TYPE),
        ),
        Route(
            "GET",
            "/v1/customers/{id}/payment_methods/{id}",
            _retrieve_of_customer,
            Form(sdk="CustomerPaymentMethodRetrieveParams"),
        ),
    ),
    expandable=frozenset({"customer"}),
)
