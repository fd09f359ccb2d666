"""How a card's no is told: in the answer, on the intent, on the charge."""

from __future__ import annotations

from typing import Final

from metering.payments.simulator.calls import shown
from metering.payments.simulator.cards import DECLINES
from metering.payments.simulator.refusals import Json, Refusal

NOT_AUTHENTICATED: Final = (
    "We are unable to authenticate your payment method. Please choose a different payment method and try "
    "again."
)


def decline_refusal(reason: str, **more: object) -> Refusal:
    """The 402 of a card that declines; `more` are the charge's id and the objects that the error carries."""
    decline = DECLINES[reason]
    return Refusal(
        decline.message,
        code=decline.code,
        status=402,
        type="card_error",
        advice_code=decline.advice,
        decline_code=decline.decline_code,
        param="cvc" if reason == "incorrect_cvc" else None,
        **more,
    )


def last_error(refusal: Refusal, method: Json) -> Json:
    """What the intent remembers of it: the error and the payment method that was tried."""
    carried = {"payment_intent", "setup_intent"}
    error = {name: value for name, value in refusal.error.items() if name not in carried}
    return {**error, "payment_method": shown(method)}


def outcome(reason: str | None) -> Json:
    """The `outcome` of a charge: authorized, or declined for this reason."""
    decline = DECLINES[reason] if reason else None
    return {
        "advice_code": decline.advice if decline else None,
        "network_advice_code": None,
        "network_decline_code": "05" if decline else None,
        "network_status": "declined_by_network" if decline else "approved_by_network",
        "reason": decline.decline_code if decline else None,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "The bank declined the payment." if decline else "Payment complete.",
        "type": "issuer_declined" if decline else "authorized",
    }
