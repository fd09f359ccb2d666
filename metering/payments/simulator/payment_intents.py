"""Payment intents: the state machine of a payment, from `requires_payment_method` to `succeeded`."""

from __future__ import annotations

from typing import Final

from metering.payments.simulator.attempts import CONFIRMABLE, attempt
from metering.payments.simulator.calls import Call, Resource, Route, shown
from metering.payments.simulator.charges import DESCRIPTOR_CHARACTERS
from metering.payments.simulator.customers import merged
from metering.payments.simulator.forms import (
    Fields,
    Form,
    Items,
    Raw,
    choice,
    currency,
    flag,
    integer,
    listing,
    metadata,
    moments,
    nested,
    text,
    text_of,
)
from metering.payments.simulator.payment_methods import use_payment_method
from metering.payments.simulator.refusals import Json, Refusal, refuse_checkouts
from metering.payments.simulator.state import State

_LEAST_CENTS: Final = 50
_MOST_CENTS: Final = 99_999_999
_NO_RETURN_URL: Final = (
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
    "these payment methods might redirect your customer off of your page, you must provide a `return_url`. "
    "If you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` "
    "to `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
    "Payment Intents."
)
_KEPT: Final = (
    "amount",
    "currency",
    "customer",
    "description",
    "receipt_email",
    "setup_future_usage",
    "statement_descriptor",
    "statement_descriptor_suffix",
)


def make_intent(state: State, form: Json) -> Json:
    """A new payment intent of a call's parameters: at least `amount` and `currency`."""
    check_amount(form["amount"])
    if customer := form.get("customer"):
        state.get("customer", customer, "customer")
    allowed = form.get("allowed_payment_method_types")
    automatic = {"allow_redirects": "always", **form.get("automatic_payment_methods", {"enabled": True})}
    intent_id = state.new_id("pi")
    intent = {
        "id": intent_id,
        "object": "payment_intent",
        **{name: form.get(name) for name in _KEPT},
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "allowed_payment_method_types": allowed,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": automatic,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": form.get("capture_method", "automatic_async"),
        "client_secret": f"{intent_id}_secret_{state.new_id('x')[2:]}",
        "confirmation_method": "automatic",
        "created": state.now(),
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": merged({}, form.get("metadata", {})),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_options": form.get("payment_method_options")
        or {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": allowed or ["card", "us_bank_account"],
        "processing": None,
        "review": None,
        "shipping": None,
        "source": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        "_error_on_requires_action": False,
        "_return_url": None,
    }
    check_descriptors(intent, intent["payment_method_types"])
    return state.add(intent, "payment_intent.created")


def may_redirect(intent: Json) -> bool:
    """Whether a payment or setup intent takes methods that send the customer elsewhere, and so back again."""
    automatic = intent["automatic_payment_methods"]
    narrowed = intent["allowed_payment_method_types"] is not None
    return bool(automatic["enabled"]) and automatic["allow_redirects"] == "always" and not narrowed


def check_amount(amount: int) -> None:
    """A `Refusal` of Stripe's for less than 50 cents or more than eight digits."""
    if amount < 1:
        raise Refusal(
            "This value must be greater than or equal to 1.", code="parameter_invalid_integer", param="amount"
        )
    if amount < _LEAST_CENTS:
        raise Refusal("Amount must be at least $0.50 usd", code="amount_too_small", param="amount")
    if amount > _MOST_CENTS:
        raise Refusal("Amount must be no more than $999,999.99", code="amount_too_large", param="amount")


def check_descriptors(given: Json, types: list[str]) -> None:
    """A `Refusal` for a descriptor that no statement would show; `types` are the payment methods allowed."""
    if given.get("statement_descriptor") and types == ["card"]:
        raise Refusal(
            "You cannot use the `statement_descriptor` parameter for card charges: "
            "use `statement_descriptor_suffix` instead.",
            param="statement_descriptor",
        )
    for name in ("statement_descriptor", "statement_descriptor_suffix"):
        text_of_it = given.get(name) or ""
        has_letter = any(letter.isalpha() for letter in text_of_it)
        if len(text_of_it) > DESCRIPTOR_CHARACTERS or set(text_of_it) & set("<>\\'\"*"):
            raise Refusal(f"The {name} has more than 22 characters, or one of < > \\ ' \" *.", param=name)
        if text_of_it and not has_letter:
            raise Refusal(f"The {name} must have a letter.", param=name)


def _create(call: Call) -> Json:
    form = call.form
    confirms = form.get("confirm", False)
    for name in ("off_session", "return_url", "error_on_requires_action"):
        if name in form and not confirms:
            raise Refusal(f"You cannot set `{name}` when `confirm` is not `true`.", param=name)
    method = use_payment_method(call.state, form["payment_method"]) if form.get("payment_method") else None
    intent = make_intent(call.state, form)
    if method:
        call.state.change(intent, payment_method=method["id"], status="requires_confirmation")
    return _confirm_with(call, intent) if confirms else intent


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("payment_intent", id)


def _update(call: Call, id: str) -> Json:
    state, form = call.state, call.form
    intent = state.get("payment_intent", id)
    changes: Json = {name: form[name] for name in _KEPT if name in form}
    if "metadata" in form:
        changes["metadata"] = merged(intent["metadata"], form["metadata"])
    if intent["status"] not in CONFIRMABLE and set(changes) - {"metadata", "description", "receipt_email"}:
        raise _unexpected(intent, "update")
    if "amount" in changes:
        check_amount(changes["amount"])
    if changes.get("customer"):
        state.get("customer", changes["customer"], "customer")
    if form.get("payment_method"):
        changes["payment_method"] = use_payment_method(state, form["payment_method"])["id"]
        changes["status"] = "requires_confirmation"
    check_descriptors({**intent, **changes}, intent["payment_method_types"])
    return state.change(intent, **changes)


def _confirm(call: Call, id: str) -> Json:
    return _confirm_with(call, call.state.get("payment_intent", id))


def _confirm_with(call: Call, intent: Json) -> Json:
    state, form = call.state, call.form
    refuse_checkouts(intent, "confirm")
    if intent["status"] not in CONFIRMABLE:
        raise _unexpected(intent, "confirm")
    method_id = form.get("payment_method") or intent["payment_method"]
    if not method_id:
        raise Refusal(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
            "update the PaymentIntent with a payment method and then confirm it again, or confirm it again "
            "directly with a payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
            payment_intent=shown(intent),
        )
    return_url = form.get("return_url") or intent["_return_url"]
    if may_redirect(intent) and not return_url:
        raise Refusal(_NO_RETURN_URL, payment_intent=shown(intent))
    if "setup_future_usage" in form:
        intent["setup_future_usage"] = form["setup_future_usage"]
    if "receipt_email" in form:
        intent["receipt_email"] = form["receipt_email"]
    intent["_return_url"] = return_url
    intent["_error_on_requires_action"] = form.get("error_on_requires_action", False)
    method = use_payment_method(state, method_id)
    return attempt(state, intent, method, off_session=form.get("off_session", False))


def _cancel(call: Call, id: str) -> Json:
    intent = call.state.get("payment_intent", id)
    refuse_checkouts(intent, "cancel")
    if intent["status"] not in CONFIRMABLE:
        raise _unexpected(intent, "cancel")
    return call.state.change(
        intent,
        "payment_intent.canceled",
        status="canceled",
        canceled_at=call.state.now(),
        cancellation_reason=call.form.get("cancellation_reason"),
        next_action=None,
    )


def _unexpected(intent: Json, verb: str) -> Refusal:
    why = f"it has a status of {intent['status']}"
    if verb == "confirm" and intent["status"] == "succeeded":
        why = "it has already succeeded after being previously confirmed"
    return Refusal(
        f"You cannot {verb} this PaymentIntent because {why}.",
        code="payment_intent_unexpected_state",
        payment_intent=shown(intent),
    )


def _list(call: Call) -> Json:
    return call.page("payment_intent", customer=call.form.get("customer"))


def _off_session(raw: Raw, param: str) -> bool:
    """`true`, or why the customer is away; `false` where they aren't."""
    return str(choice("true", "false", "one_off", "recurring")(raw, param)) != "false"


_CONFIRMING: Fields = {
    "error_on_requires_action": flag,
    "off_session": _off_session,
    "payment_method": text,
    "receipt_email": text,
    "return_url": text,
    "setup_future_usage": choice("off_session", "on_session"),
}
_DESCRIBING: Fields = {
    "amount": integer,
    "currency": currency,
    "customer": text,
    "description": text_of(1_000),
    "metadata": metadata,
    "payment_method": text,
    "receipt_email": text,
    "setup_future_usage": choice("off_session", "on_session"),
    "statement_descriptor": text,
    "statement_descriptor_suffix": text,
}
_CREATING: Fields = {
    "automatic_payment_methods": nested(
        {"allow_redirects": choice("always", "never"), "enabled": flag}, "enabled"
    ),
    "capture_method": choice("automatic", "automatic_async"),
    "confirm": flag,
    "allowed_payment_method_types": Items(choice("card", "us_bank_account")),
}
_REASON = choice("abandoned", "duplicate", "fraudulent", "requested_by_customer")
_PATH: Final = "/v1/payment_intents"
RESOURCE = Resource(
    "payment_intent",
    (
        Route(
            "POST",
            _PATH,
            _create,
            Form(
                {**_DESCRIBING, **_CONFIRMING, **_CREATING},
                ("amount", "currency"),
                "PaymentIntentCreateParams",
            ),
        ),
        Route("GET", f"{_PATH}/{{id}}", _retrieve, Form(sdk="PaymentIntentRetrieveParams")),
        Route("POST", f"{_PATH}/{{id}}", _update, Form(_DESCRIBING, sdk="PaymentIntentUpdateParams")),
        Route(
            "POST", f"{_PATH}/{{id}}/confirm", _confirm, Form(_CONFIRMING, sdk="PaymentIntentConfirmParams")
        ),
        Route(
            "POST",
            f"{_PATH}/{{id}}/cancel",
            _cancel,
            Form({"cancellation_reason": _REASON}, sdk="PaymentIntentCancelParams"),
        ),
        Route("GET", _PATH, _list, listing("PaymentIntentListParams", customer=text, created=moments)),
    ),
    expandable=frozenset({"customer", "latest_charge", "payment_method"}),
)
