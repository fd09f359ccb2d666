"""Stripe's test cards, by number, by token and by ready-made payment method, and how each behaves.

https://docs.stripe.com/testing lists them. A number is never kept: what stays is its end and its fingerprint.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final

from metering.payments.simulator.refusals import Json, Refusal


@dataclass(frozen=True)
class Behaviour:
    """How a card acts. `authentication`: never, always, unless_set_up, on_session."""

    decline: str = ""
    # Whether it declines already when it is attached or set up; otherwise only when it is charged.
    declines_early: bool = True
    authentication: str = "never"
    # A dispute's reason; it comes with the charge.
    dispute: str = ""
    inquiry: bool = False
    # "pending": refunds wait to be settled. "fails": they succeed, then fail.
    refund: str = ""
    # "later": the payment is processing until it is settled or fails.
    settles: str = ""


@dataclass(frozen=True)
class Decline:
    """What Stripe's error says: its code, the issuer's reason, the message, the advice."""

    code: str
    decline_code: str | None
    message: str
    advice: str | None = None


_TRY_LATER: Final = "try_again_later"
_CONFIRM: Final = "confirm_card_data"
DECLINES: Final = MappingProxyType(
    {
        "generic_decline": Decline("card_declined", "generic_decline", "Your card was declined.", _TRY_LATER),
        "insufficient_funds": Decline(
            "card_declined", "insufficient_funds", "Your card has insufficient funds.", _TRY_LATER
        ),
        "lost_card": Decline("card_declined", "lost_card", "Your card was declined.", "do_not_try_again"),
        "stolen_card": Decline("card_declined", "stolen_card", "Your card was declined.", "do_not_try_again"),
        "fraudulent": Decline("card_declined", "fraudulent", "Your card was declined.", "do_not_try_again"),
        "card_velocity_exceeded": Decline(
            "card_declined",
            "card_velocity_exceeded",
            "Your card was declined for making repeated attempts too frequently or exceeding its amount "
            "limit.",
            _TRY_LATER,
        ),
        "expired_card": Decline("expired_card", "expired_card", "Your card has expired.", "do_not_try_again"),
        "incorrect_cvc": Decline(
            "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", _CONFIRM
        ),
        "processing_error": Decline(
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
            _TRY_LATER,
        ),
        "authentication_required": Decline(
            "authentication_required",
            "authentication_required",
            "Your card was declined. This transaction requires authentication.",
        ),
    }
)


@dataclass(frozen=True)
class Card:
    """A row of Stripe's table; `names` are its ready-made payment methods `pm_card_…` and tokens `tok_…`."""

    number: str
    names: tuple[str, ...] = ()
    behaviour: Behaviour = Behaviour()
    brand: str = "visa"
    funding: str = "credit"


def _declining(number: str, decline: str, *names: str) -> Card:
    return Card(number, names, Behaviour(decline=decline))


CARDS: Final = (
    Card("4242424242424242", ("visa",)),
    Card("4000056655665556", ("visa_debit",), funding="debit"),
    Card("5555555555554444", ("mastercard",), brand="mastercard"),
    Card("2223003122003222", brand="mastercard"),
    Card("5200828282828210", ("mastercard_debit",), brand="mastercard", funding="debit"),
    Card("5105105105105100", ("mastercard_prepaid",), brand="mastercard", funding="prepaid"),
    Card("378282246310005", ("amex",), brand="amex"),
    Card("371449635398431", brand="amex"),
    Card("6011111111111117", ("discover",), brand="discover"),
    Card("3056930009020004", ("diners",), brand="diners"),
    Card("3566002020360505", ("jcb",), brand="jcb"),
    Card("6200000000000005", ("unionpay",), brand="unionpay"),
    _declining("4000000000000002", "generic_decline", "visa_chargeDeclined", "chargeDeclined"),
    _declining(
        "4000000000009995",
        "insufficient_funds",
        "visa_chargeDeclinedInsufficientFunds",
        "chargeDeclinedInsufficientFunds",
    ),
    _declining("4000000000009987", "lost_card", "visa_chargeDeclinedLostCard", "chargeDeclinedLostCard"),
    _declining(
        "4000000000009979", "stolen_card", "visa_chargeDeclinedStolenCard", "chargeDeclinedStolenCard"
    ),
    _declining("4100000000000019", "fraudulent", "radarBlock", "chargeDeclinedFraudulent"),
    _declining("4000000000000069", "expired_card", "chargeDeclinedExpiredCard"),
    _declining("4000000000000127", "incorrect_cvc", "chargeDeclinedIncorrectCvc"),
    _declining("4000000000000119", "processing_error", "chargeDeclinedProcessingError"),
    _declining(
        "4000000000006975",
        "card_velocity_exceeded",
        "visa_chargeDeclinedVelocityLimitExceeded",
        "chargeDeclinedVelocityLimitExceeded",
    ),
    Card(
        "4000000000000341",
        ("chargeCustomerFail",),
        Behaviour(decline="generic_decline", declines_early=False),
    ),
    Card(
        "4000002500003155",
        ("authenticationRequiredOnSetup",),
        Behaviour(authentication="unless_set_up"),
    ),
    Card("4000002760003184", ("authenticationRequired",), Behaviour(authentication="always")),
    Card("4000000000003220", ("threeDSecure2Required",), Behaviour(authentication="always")),
    Card(
        "4000003800000446",
        ("authenticationRequiredSetupForOffSession",),
        Behaviour(authentication="on_session"),
    ),
    Card(
        "4000008260003178",
        ("authenticationRequiredChargeDeclinedInsufficientFunds",),
        Behaviour(decline="insufficient_funds", declines_early=False, authentication="unless_set_up"),
    ),
    Card(
        "4000008400001629",
        ("threeDSecureRequiredChargeDeclined",),
        Behaviour(decline="generic_decline", declines_early=False, authentication="always"),
    ),
    Card("4000000000000259", ("createDispute",), Behaviour(dispute="fraudulent")),
    Card("4000000000002685", ("createProductNotReceivedDispute",), Behaviour(dispute="product_not_received")),
    Card(
        "4000000000001976", ("createDisputeInquiry",), Behaviour(dispute="product_not_received", inquiry=True)
    ),
    Card("4000000000007726", ("pendingRefund",), Behaviour(refund="pending")),
    Card("4000000000005126", ("refundFail",), Behaviour(refund="fails")),
)
_BY_NUMBER: Final = MappingProxyType({card.number: card for card in CARDS})
_BY_NAME: Final = MappingProxyType({name: card for card in CARDS for name in card.names})


def find_ready_made(id: str) -> Card | None:
    """The card behind `pm_card_…` or `tok_…`, or None."""
    for prefix in ("pm_card_", "tok_"):
        if id.startswith(prefix):
            return _BY_NAME.get(id.removeprefix(prefix))
    return None


def by_number(number: str) -> Card:
    """The test card; a `Refusal` as Stripe's for a number that is none."""
    digits = number.replace(" ", "").replace("-", "")
    if card := _BY_NUMBER.get(digits):
        return card
    if not digits.isdecimal() or not _passes_luhn(digits):
        raise Refusal(
            "Your card number is incorrect.",
            code="incorrect_number",
            param="number",
            status=402,
            type="card_error",
        )
    raise Refusal(
        "Your card was declined. Your request was in test mode, but used a non test (live) card. "
        "For a list of valid test cards, visit: https://docs.stripe.com/testing.",
        code="card_declined",
        param="number",
        status=402,
        type="card_error",
        decline_code="test_mode_live_card",
    )


def _passes_luhn(digits: str) -> bool:
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return len(digits) >= 12 and sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def card_fields(card: Card, exp_month: int, exp_year: int, *, cvc: bool) -> Json:
    """The `card` of a payment method."""
    return {
        "brand": card.brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "unchecked" if cvc else None,
        },
        "country": "US",
        "display_brand": card.brand,
        "exp_month": exp_month,
        "exp_year": exp_year,
        "fingerprint": hashlib.sha256(card.number.encode()).hexdigest()[:16],
        "funding": card.funding,
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def behaviour_fields(behaviour: Behaviour) -> Json:
    """How it is kept with the payment method, where the control API changes it."""
    return asdict(behaviour)
