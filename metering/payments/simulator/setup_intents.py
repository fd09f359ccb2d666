"""Setup intents: a card saved, and authenticated, for payments without its holder."""

from __future__ import annotations

from typing import Final

from metering.payments.simulator.calls import Call, Resource, Route, shown
from metering.payments.simulator.customers import merged
from metering.payments.simulator.declines import NOT_AUTHENTICATED, decline_refusal, last_error
from metering.payments.simulator.forms import (
    Fields,
    Form,
    Items,
    choice,
    flag,
    listing,
    metadata,
    moments,
    nested,
    text,
)
from metering.payments.simulator.payment_intents import may_redirect
from metering.payments.simulator.payment_methods import attach, check_usable, use_payment_method
from metering.payments.simulator.refusals import Json, Refusal, refuse_checkouts
from metering.payments.simulator.state import State

_CONFIRMABLE: Final = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})


def make_setup_intent(state: State, form: Json) -> Json:
    """A new setup intent of a call's parameters."""
    if customer := form.get("customer"):
        state.get("customer", customer, "customer")
    allowed = form.get("allowed_payment_method_types")
    automatic = {"allow_redirects": "always", **form.get("automatic_payment_methods", {"enabled": True})}
    intent_id = state.new_id("seti")
    return state.add(
        {
            "id": intent_id,
            "object": "setup_intent",
            "allowed_payment_method_types": allowed,
            "application": None,
            "automatic_payment_methods": automatic,
            "cancellation_reason": None,
            "client_secret": f"{intent_id}_secret_{state.new_id('x')[2:]}",
            "created": state.now(),
            "customer": form.get("customer"),
            "description": form.get("description"),
            "excluded_payment_method_types": None,
            "flow_directions": None,
            "last_setup_error": None,
            "latest_attempt": None,
            "livemode": False,
            "mandate": None,
            "metadata": merged({}, form.get("metadata", {})),
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": None,
            "payment_method_options": {
                "card": {"mandate_options": None, "request_three_d_secure": "automatic"}
            },
            "payment_method_types": allowed or ["card", "us_bank_account"],
            "single_use_mandate": None,
            "status": "requires_payment_method",
            "usage": form.get("usage", "off_session"),
            "_return_url": None,
        },
        "setup_intent.created",
    )


def set_up(state: State, intent: Json, method: Json, *, authenticated: bool = False) -> Json:
    """Save the method with the intent's customer; a card that declines then is a `Refusal`.

    A card that wants authentication leaves the intent in `requires_action`.
    """
    check_usable(method, intent["customer"])
    behaviour = method["_behaviour"]
    state.change(intent, payment_method=method["id"], last_setup_error=None, next_action=None)
    if behaviour["decline"] and behaviour["declines_early"]:
        raise _failed(state, intent, method, decline_refusal(behaviour["decline"]))
    if behaviour["authentication"] in {"always", "unless_set_up"} and not authenticated:
        return _ask(state, intent)
    if intent["customer"]:
        attach(state, method, intent["customer"])
    state.change(method, _set_up=intent["usage"] == "off_session")
    return state.change(intent, "setup_intent.succeeded", status="succeeded")


def finish_setup_action(state: State, intent: Json, *, succeeded: bool) -> Json:
    """The customer came back from 3-D Secure."""
    method = state.get("payment_method", intent["payment_method"])
    if succeeded:
        return set_up(state, intent, method, authenticated=True)
    refusal = Refusal(
        NOT_AUTHENTICATED,
        code="setup_intent_authentication_failure",
        status=402,
        type="card_error",
    )
    _failed(state, intent, method, refusal)
    return intent


def _failed(state: State, intent: Json, method: Json, refusal: Refusal) -> Refusal:
    state.change(
        intent,
        "setup_intent.setup_failed",
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_setup_error=last_error(refusal, method),
    )
    refusal.error |= {"setup_intent": shown(intent), "payment_method": shown(method)}
    return refusal


def _ask(state: State, intent: Json) -> Json:
    action: Json = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    if intent["_return_url"]:
        url = f"{state.settings.base_url}/3ds/{intent['id']}"
        action = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": intent["_return_url"], "url": url},
        }
    return state.change(intent, "setup_intent.requires_action", status="requires_action", next_action=action)


def _create(call: Call) -> Json:
    form = call.form
    method = use_payment_method(call.state, form["payment_method"]) if form.get("payment_method") else None
    intent = make_setup_intent(call.state, form)
    if method:
        call.state.change(intent, payment_method=method["id"], status="requires_confirmation")
    return _confirm(call, intent["id"]) if form.get("confirm") else intent


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("setup_intent", id)


def _confirm(call: Call, id: str) -> Json:
    intent = call.state.get("setup_intent", id)
    refuse_checkouts(intent, "confirm")
    if intent["status"] not in _CONFIRMABLE:
        raise _unexpected(intent, "confirm")
    method_id = call.form.get("payment_method") or intent["payment_method"]
    if not method_id:
        raise Refusal(
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            code="setup_intent_unexpected_state",
            setup_intent=shown(intent),
        )
    intent["_return_url"] = call.form.get("return_url")
    if may_redirect(intent) and not intent["_return_url"]:
        raise Refusal(
            "This SetupIntent is configured to accept payment methods enabled in your Dashboard. Because "
            "some of these payment methods might redirect your customer off of your page, you must provide a "
            "`return_url`.",
            setup_intent=shown(intent),
        )
    return set_up(call.state, intent, use_payment_method(call.state, method_id))


def _cancel(call: Call, id: str) -> Json:
    intent = call.state.get("setup_intent", id)
    refuse_checkouts(intent, "cancel")
    if intent["status"] not in _CONFIRMABLE:
        raise _unexpected(intent, "cancel")
    return call.state.change(
        intent,
        "setup_intent.canceled",
        status="canceled",
        cancellation_reason=call.form.get("cancellation_reason"),
        next_action=None,
    )


def _unexpected(intent: Json, what: str) -> Refusal:
    return Refusal(
        f"You cannot {what} this SetupIntent because it has a status of {intent['status']}.",
        code="setup_intent_unexpected_state",
        setup_intent=shown(intent),
    )


def _list(call: Call) -> Json:
    wanted = {name: call.form.get(name) for name in ("customer", "payment_method")}
    return call.page("setup_intent", **wanted)


_CONFIRMING: Fields = {"payment_method": text, "return_url": text}
_CREATING: Fields = {
    **_CONFIRMING,
    "automatic_payment_methods": nested(
        {"allow_redirects": choice("always", "never"), "enabled": flag}, "enabled"
    ),
    "confirm": flag,
    "customer": text,
    "description": text,
    "metadata": metadata,
    "allowed_payment_method_types": Items(choice("card", "us_bank_account")),
    "usage": choice("off_session", "on_session"),
}
_REASON = choice("abandoned", "duplicate", "requested_by_customer")
_PATH: Final = "/v1/setup_intents"
RESOURCE = Resource(
    "setup_intent",
    (
        Route("POST", _PATH, _create, Form(_CREATING, sdk="SetupIntentCreateParams")),
        Route("GET", f"{_PATH}/{{id}}", _retrieve, Form(sdk="SetupIntentRetrieveParams")),
        Route("POST", f"{_PATH}/{{id}}/confirm", _confirm, Form(_CONFIRMING, sdk="SetupIntentConfirmParams")),
        Route(
            "POST",
            f"{_PATH}/{{id}}/cancel",
            _cancel,
            Form({"cancellation_reason": _REASON}, sdk="SetupIntentCancelParams"),
        ),
        Route(
            "GET",
            _PATH,
            _list,
            listing("SetupIntentListParams", customer=text, payment_method=text, created=moments),
        ),
    ),
    expandable=frozenset({"customer", "payment_method"}),
)
