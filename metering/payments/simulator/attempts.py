"""The attempt to pay: what happens when a payment intent is confirmed, by the API or by a page."""

from __future__ import annotations

from typing import Final

from metering.payments.simulator.calls import shown
from metering.payments.simulator.cards import DECLINES
from metering.payments.simulator.charges import make_charge, take_funds
from metering.payments.simulator.declines import NOT_AUTHENTICATED, decline_refusal, last_error
from metering.payments.simulator.payment_methods import attach, check_usable
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import State

CONFIRMABLE: Final = frozenset({"requires_payment_method", "requires_confirmation", "requires_action"})


def attempt(
    state: State, intent: Json, method: Json, *, off_session: bool = False, authenticated: bool = False
) -> Json:
    """Try to take the intent's money with this method; a declined card is a `Refusal`, told there too.

    On-session, a card that wants authentication leaves the intent in `requires_action`.
    """
    check_usable(method, intent["customer"])
    behaviour = method["_behaviour"]
    state.change(intent, payment_method=method["id"], last_payment_error=None, next_action=None)
    if not authenticated and wants_authentication(method, off_session=off_session):
        if off_session or intent["_error_on_requires_action"]:
            raise _declined(state, intent, method, "authentication_required")
        return _ask(state, intent)
    if behaviour["decline"]:
        raise _declined(state, intent, method, behaviour["decline"])
    _keep_method(state, intent, method, authenticated=authenticated)
    if behaviour["settles"] == "later":
        charge = make_charge(state, intent, method, "pending")
        return state.change(
            intent, "payment_intent.processing", status="processing", latest_charge=charge["id"]
        )
    return _succeed(state, intent, make_charge(state, intent, method, "succeeded"))


def wants_authentication(method: Json, *, off_session: bool) -> bool:
    """Whether the card's issuer asks its holder to come."""
    match method["_behaviour"]["authentication"]:
        case "always":
            return True
        case "unless_set_up":
            return not method["_set_up"]
        case "on_session":
            return not off_session
        case _:
            return False


def finish_action(state: State, intent: Json, *, succeeded: bool) -> Json:
    """The customer came back from 3-D Secure; a card that declines then is a `Refusal`."""
    method = state.get("payment_method", intent["payment_method"])
    if succeeded:
        return attempt(state, intent, method, authenticated=True)
    refusal = Refusal(
        NOT_AUTHENTICATED,
        code="payment_intent_authentication_failure",
        status=402,
        type="card_error",
    )
    return state.change(
        intent,
        "payment_intent.payment_failed",
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_payment_error=last_error(refusal, method),
    )


def settle(state: State, intent: Json) -> Json:
    """A payment that was processing has arrived."""
    charge = state.get("charge", intent["latest_charge"])
    state.change(charge, "charge.succeeded", status="succeeded", amount_captured=charge["amount"])
    charge["receipt_url"] = f"{state.settings.base_url}/receipts/{charge['id']}"
    return _succeed(state, intent, charge)


def fail(state: State, intent: Json, decline: str = "insufficient_funds") -> Json:
    """A payment that was processing will not arrive."""
    charge = state.get("charge", intent["latest_charge"])
    method = state.get("payment_method", intent["payment_method"])
    why = DECLINES[decline]
    state.change(
        charge,
        "charge.failed",
        status="failed",
        paid=False,
        failure_code=why.code,
        failure_message=why.message,
    )
    return state.change(
        intent,
        "payment_intent.payment_failed",
        status="requires_payment_method",
        payment_method=None,
        last_payment_error=last_error(decline_refusal(decline, charge=charge["id"]), method),
    )


def _succeed(state: State, intent: Json, charge: Json) -> Json:
    if intent["capture_method"] == "automatic":
        take_funds(state, charge)
    else:
        # As Stripe does with automatic_async, its default: the answer has no balance transaction yet.
        state.later(lambda: _take_later(state, charge))
    return state.change(
        intent,
        "payment_intent.succeeded",
        status="succeeded",
        amount_received=intent["amount"],
        latest_charge=charge["id"],
    )


def _take_later(state: State, charge: Json) -> None:
    take_funds(state, charge)
    state.tell("charge.updated", charge, {"balance_transaction": None})


def _ask(state: State, intent: Json) -> Json:
    action: Json = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    url = f"{state.settings.base_url}/3ds/{intent['id']}"
    if intent["_return_url"]:
        action = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": intent["_return_url"], "url": url},
        }
    return state.change(
        intent, "payment_intent.requires_action", status="requires_action", next_action=action
    )


def _declined(state: State, intent: Json, method: Json, decline: str) -> Refusal:
    charge = make_charge(state, intent, method, "failed", decline)
    refusal = decline_refusal(decline, charge=charge["id"])
    if not method["customer"]:
        state.change(method, _spent=True)
    state.change(
        intent,
        "payment_intent.payment_failed",
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        latest_charge=charge["id"],
        last_payment_error=last_error(refusal, method),
    )
    refusal.error |= {"payment_intent": shown(intent), "payment_method": shown(method)}
    return refusal


def _keep_method(state: State, intent: Json, method: Json, *, authenticated: bool) -> None:
    of_type = intent["payment_method_options"].get(method["type"], {})
    if usage := of_type.get("setup_future_usage") or intent["setup_future_usage"]:
        if intent["customer"]:
            attach(state, method, intent["customer"])
        # What was authenticated for later use needs no authentication then.
        if usage == "off_session" and authenticated:
            state.change(method, _set_up=True)
    if not method["customer"]:
        state.change(method, _spent=True)
