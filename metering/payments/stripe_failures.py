"""Why a card says no: from Stripe's codes to words for the customer, and to whether another try makes sense.

Codes: https://docs.stripe.com/declines/codes. Who stole or found a card must not hear that it is known: those
codes, and all that banks keep vague, are a plain decline to the customer, as Stripe asks for.
"""

from __future__ import annotations

from typing import Final

import stripe

from metering.payments.gateway import Failure

AUTHENTICATION_REQUIRED: Final = Failure(
    "authentication_required",
    "The card's bank wants the payment to be confirmed by its holder: please top up by hand.",
    needs_customer=True,
)
_DECLINED: Final = "The card was declined by its bank."
_MESSAGES: Final = {
    "card_velocity_exceeded": "The card has reached its limit.",
    "currency_not_supported": "The card can't be charged in US dollars.",
    "expired_card": "The card has expired.",
    "incorrect_cvc": "The card's security code is wrong.",
    "incorrect_number": "The card's number is wrong.",
    "incorrect_zip": "The card's postal code is wrong.",
    "insufficient_funds": "The card has insufficient funds.",
    "invalid_cvc": "The card's security code is wrong.",
    "invalid_expiry_month": "The card's expiry date is wrong.",
    "invalid_expiry_year": "The card's expiry date is wrong.",
    "invalid_number": "The card's number is wrong.",
    "issuer_not_available": "The card's bank could not be reached.",
    "payment_intent_authentication_failure": "The payment was not confirmed by the card's holder.",
    "processing_error": "An error occurred while the card was processed.",
    "withdrawal_count_limit_exceeded": "The card has reached its limit.",
}
# The card is gone, or its bank or the network forbids to try it again.
_FINAL: Final = frozenset(
    {
        "card_not_supported",
        "currency_not_supported",
        "do_not_try_again",
        "expired_card",
        "fraudulent",
        "incorrect_number",
        "invalid_account",
        "invalid_number",
        "lost_card",
        "merchant_blacklist",
        "new_account_information_available",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "service_not_allowed",
        "stolen_card",
        "stop_payment_order",
        "transaction_not_allowed",
    }
)


def failure_of(error: stripe.StripeObject) -> Failure:
    """What an error of a card, or the last one that a payment remembers, means."""
    given = error.to_dict()  # which of its fields are there depends on the error
    code = given.get("decline_code") or given.get("code")
    if "authentication_required" in {code, given.get("code")}:
        return AUTHENTICATION_REQUIRED
    is_final = code in _FINAL or given.get("advice_code") == "do_not_try_again"
    if code not in _MESSAGES:
        return Failure("card_declined", _DECLINED, is_final=is_final)
    return Failure(code, _MESSAGES[code], is_final=is_final)
