"""From Stripe's objects to the gateway's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias, cast

import stripe

from metering.payments.gateway import (
    Card,
    Checkout,
    Dispute,
    Failure,
    Movement,
    MovementKind,
    Payment,
    PaymentState,
    Refund,
)
from metering.payments.stripe_failures import failure_of

# What a payment brings along in one call; its refunds and disputes are lists of their own.
PAYMENT_PARTS: Final = ["latest_charge.balance_transaction"]
REFUND_PARTS: Final = ["data.balance_transaction", "data.failure_balance_transaction"]

RefundState: TypeAlias = Literal["pending", "succeeded", "failed", "canceled"]

_STATES: Final = {
    "requires_payment_method": PaymentState.OPEN,
    "requires_confirmation": PaymentState.OPEN,
    "requires_action": PaymentState.OPEN,
    "succeeded": PaymentState.SUCCEEDED,
    "canceled": PaymentState.CANCELED,
}
_REFUND_STATES: Final[Mapping[str | None, RefundState]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
}
_BRANDS: Final = {
    "amex": "American Express",
    "diners": "Diners Club",
    "eftpos_au": "Eftpos",
    "jcb": "JCB",
    "unionpay": "UnionPay",
    "unknown": "Card",
}
# By these a payment succeeds as its charge is made. By others, such as a bank's, it does days later.
_AT_ONCE: Final = frozenset({"amazon_pay", "card", "cashapp", "link", "paypal"})
_METHODS: Final = {
    "amazon_pay": "Amazon Pay",
    "apple_pay": "Apple Pay",
    "cashapp": "Cash App Pay",
    "google_pay": "Google Pay",
    "paypal": "PayPal",
    "us_bank_account": "US bank account",
}


def payment_of(
    intent: stripe.PaymentIntent,
    *,
    tax: int = 0,
    refunds: Iterable[stripe.Refund] = (),
    disputes: Iterable[stripe.Dispute] = (),
    failure: Failure | None = None,
) -> Payment:
    """A payment intent, retrieved with `PAYMENT_PARTS`; `failure` counts before the one that it remembers."""
    state = _STATES.get(intent.status, PaymentState.PROCESSING)
    charge = charge_of(intent)
    ours = intent.metadata.to_dict()
    if failure is None and intent.last_payment_error is not None:
        failure = failure_of(intent.last_payment_error)
    refunds, disputes = list(refunds), list(disputes)
    succeeded = charge is not None and state is PaymentState.SUCCEEDED
    return Payment(
        id=intent.id,
        state=state,
        amount=intent.amount,
        tax=tax,
        currency=intent.currency,
        account_id=ours.get("account_id"),
        top_up_id=ours.get("top_up_id"),
        succeeded_at=_succeeded_at(charge) if succeeded and charge else None,
        paid_with=None if charge is None else _paid_with(charge),
        receipt_url=charge.receipt_url if succeeded and charge else None,
        failure=None if state is PaymentState.SUCCEEDED else failure,
        refunds=[refund_of(refund) for refund in refunds],
        disputes=[_dispute_of(dispute) for dispute in disputes],
        movements=list(_movements(charge, refunds, disputes)),
    )


def charge_of(intent: stripe.PaymentIntent) -> stripe.Charge | None:
    """The charge that a payment came with, if it did."""
    return intent.latest_charge if isinstance(intent.latest_charge, stripe.Charge) else None


def refund_of(refund: stripe.Refund) -> Refund:
    """A refund; one that waits for something is pending."""
    ours = {} if refund.metadata is None else refund.metadata.to_dict()
    return Refund(
        id=refund.id,
        our_id=ours.get("refund_id"),
        state=_REFUND_STATES.get(refund.status, "pending"),
        amount=refund.amount,
        reason=ours.get("reason") or refund.reason,
        failure=getattr(refund, "failure_reason", None),  # only there once it has failed
    )


def checkout_of(session: stripe.checkout.Session) -> Checkout:
    """A page; its payment may be there from the start, or once the customer pays."""
    return Checkout(
        id=session.id,
        url=session.url,
        is_open=session.status == "open",
        payment_id=id_of(session.payment_intent),
        expires_at=moment(session.expires_at),
    )


def card_of(method: stripe.PaymentMethod) -> Card:
    """A payment method of type `card`."""
    card = cast("stripe.PaymentMethod.Card", method.card)
    return Card(method.id, _brand(card.brand), card.last4, card.exp_month, card.exp_year)


def id_of(value: str | stripe.StripeObject | None) -> str | None:
    """The id of what Stripe names, or shows whole."""
    if isinstance(value, stripe.StripeObject):
        return str(value["id"])
    return value


def moment(seconds: int) -> datetime:
    """A time as Stripe has it: whole seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def _dispute_of(dispute: stripe.Dispute) -> Dispute:
    return Dispute(
        dispute.id, dispute.status, dispute.reason, dispute.amount, dispute.currency, moment(dispute.created)
    )


def _movements(
    charge: stripe.Charge | None, refunds: Iterable[stripe.Refund], disputes: Iterable[stripe.Dispute]
) -> Iterator[Movement]:
    """What moved on our balance at Stripe; a payment of seconds ago may have nothing there yet."""
    if charge is not None:
        yield from _movement("payment", charge.balance_transaction)
    for refund in refunds:
        yield from _movement("refund", refund.balance_transaction)
        yield from _movement("refund_failure", getattr(refund, "failure_balance_transaction", None))
    for dispute in disputes:
        for booked in dispute.balance_transactions:
            yield from _movement("dispute" if booked.amount < 0 else "dispute_reversal", booked)


def _movement(kind: MovementKind, booked: str | stripe.BalanceTransaction | None) -> Iterator[Movement]:
    if isinstance(booked, stripe.BalanceTransaction):
        yield Movement(booked.id, kind, booked.amount, booked.fee, booked.currency, moment(booked.created))


def _succeeded_at(charge: stripe.Charge) -> datetime | None:
    """When the charge succeeded, where Stripe says so."""
    details = charge.payment_method_details
    return moment(charge.created) if details is not None and details.type in _AT_ONCE else None


def _paid_with(charge: stripe.Charge) -> str | None:
    details = charge.payment_method_details
    if details is None:
        return None
    if details.type != "card" or details.card is None:
        return _METHODS.get(details.type, _titled(details.type))
    text = f"{_brand(details.card.brand or 'unknown')} •••• {details.card.last4}"
    wallet = details.card.wallet
    return text if wallet is None else f"{text} ({_METHODS.get(wallet.type, _titled(wallet.type))})"


def _brand(brand: str) -> str:
    return _BRANDS.get(brand, _titled(brand))


def _titled(name: str) -> str:
    """`pay_by_bank` is "Pay by bank"."""
    return name.replace("_", " ").capitalize()
