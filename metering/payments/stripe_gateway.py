"""The payment gateway over Stripe's own SDK; README.md says what it relies on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, cast

import stripe

from metering import telemetry
from metering.errors import (
    ConfigurationError,
    InvalidSignature,
    MeteringError,
    PaymentRefused,
    PaymentsUnavailable,
)
from metering.payments.gateway import Card, Checkout, Message, Payment, Refund
from metering.payments.stripe_failures import AUTHENTICATION_REQUIRED, failure_of
from metering.payments.stripe_messages import message_of
from metering.payments.stripe_objects import (
    PAYMENT_PARTS,
    REFUND_PARTS,
    card_of,
    charge_of,
    checkout_of,
    id_of,
    payment_of,
    refund_of,
)

# Of a connection, and of each wait for an answer. Stripe answers a card's charge within a few seconds.
_TIMEOUT_SECONDS: Final = (5, 30)
# How old a signed message may be: Stripe signs each delivery anew.
_TOLERANCE_SECONDS: Final = 300
_PAGE: Final = 100
_DESCRIPTION: Final = "Credit"
_LONGEST_METADATA: Final = 500
_LOG: Final = telemetry.log(__name__)


class StripeGateway:
    """Stripe, as `PaymentGateway`. `descriptor` is what a card's statement is to say, such as `WHOP*EMPIRIO`.

    Stripe makes a card's statement of the account's prefix, "* " and a suffix that a payment may set: what
    follows the descriptor's star is sent with each payment; its prefix is set once, in Stripe's dashboard.

    A live key goes to Stripe alone: with another `base_url` it is a `ConfigurationError`.

    Thread-safe. Nothing is sent twice by itself: who asked knows better when, and has a schedule for it.
    """

    def __init__(
        self,
        api_key: str,
        webhook_secret: str,
        *,
        descriptor: str,
        base_url: str | None = None,
        collects_tax: bool = False,
    ) -> None:
        self._is_live = api_key.startswith(("sk_live_", "rk_live_"))
        if self._is_live and base_url not in {None, stripe.DEFAULT_API_BASE}:
            raise ConfigurationError(
                "METERING_STRIPE_API_BASE must not be set: a live key goes to Stripe alone"
            )
        self._http = stripe.RequestsClient(timeout=_TIMEOUT_SECONDS)
        self._stripe = stripe.StripeClient(
            api_key,
            base_addresses={"api": base_url} if base_url else None,
            max_network_retries=0,
            http_client=self._http,
        ).v1
        self._webhook_secret = webhook_secret
        self._suffix = descriptor.rpartition("*")[2].strip()
        self._collects_tax = collects_tax

    def close(self) -> None:
        """Close this thread's connection; those of other threads end with them."""
        self._http.close()  # type: ignore[no-untyped-call]  # the SDK's

    @property
    def is_live(self) -> bool:
        """Whether real money moves."""
        return self._is_live

    def create_customer(self, account_id: str, *, name: str, email: str | None, idempotency_key: str) -> str:
        """The id of a customer."""
        params: stripe.params.CustomerCreateParams = {"name": name, "metadata": {"account_id": account_id}}
        if email is not None:
            params["email"] = email
        with _asking():
            return self._stripe.customers.create(params, {"idempotency_key": idempotency_key}).id

    def open_checkout(  # noqa: PLR0913  (each is a fact of the purchase)
        self,
        *,
        account_id: str,
        top_up_id: str,
        customer_id: str,
        amount: int,
        saves_card: bool,
        success_url: str,
        cancel_url: str,
        receipt_email: str | None,
        idempotency_key: str,
    ) -> Checkout:
        """A page with all payment methods that the Stripe account has switched on."""
        ours = {"account_id": account_id, "top_up_id": top_up_id, "amount": str(amount)}
        payment: stripe.params.checkout.SessionCreateParamsPaymentIntentData = {
            "description": _DESCRIPTION,
            "metadata": ours,
            "statement_descriptor_suffix": self._suffix,
        }
        if receipt_email is not None:
            payment["receipt_email"] = receipt_email
        price: stripe.params.checkout.SessionCreateParamsLineItemPriceData = {
            "currency": "usd",
            "product_data": {"name": _DESCRIPTION},
            "unit_amount": amount,
        }
        params: stripe.params.checkout.SessionCreateParams = {
            "mode": "payment",
            "customer": customer_id,
            "client_reference_id": top_up_id,
            "line_items": [{"price_data": price, "quantity": 1}],
            "metadata": ours,
            "payment_intent_data": payment,
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        if saves_card:
            # Of cards alone: asked of the whole payment, it would hide the methods that can't be kept.
            params["payment_method_options"] = {"card": {"setup_future_usage": "off_session"}}
        if self._collects_tax:
            price["tax_behavior"] = "exclusive"
            params["automatic_tax"] = {"enabled": True}
            params["customer_update"] = {"address": "auto"}
        return self._create_checkout(params, idempotency_key)

    def open_card_setup(
        self, *, account_id: str, customer_id: str, success_url: str, cancel_url: str, idempotency_key: str
    ) -> Checkout:
        """A page to save a card for off-session use."""
        params: stripe.params.checkout.SessionCreateParams = {
            "mode": "setup",
            "customer": customer_id,
            "allowed_payment_method_types": ["card"],
            "metadata": {"account_id": account_id},
            "setup_intent_data": {"metadata": {"account_id": account_id}},
            "success_url": success_url,
            "cancel_url": cancel_url,
        }
        return self._create_checkout(params, idempotency_key)

    def get_checkout(self, session_id: str) -> Checkout:
        """The page as it stands."""
        with _asking():
            return checkout_of(self._stripe.checkout.sessions.retrieve(session_id))

    def create_payment(
        self,
        *,
        account_id: str,
        top_up_id: str,
        customer_id: str,
        amount: int,
        receipt_email: str | None,
        idempotency_key: str,
    ) -> str:
        """The id of a payment by card that nobody has confirmed."""
        params: stripe.params.PaymentIntentCreateParams = {
            "amount": amount,
            "currency": "usd",
            "customer": customer_id,
            "description": _DESCRIPTION,
            "metadata": {"account_id": account_id, "top_up_id": top_up_id, "amount": str(amount)},
            # It is confirmed with a saved card: nobody is there to come back from another page.
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "statement_descriptor_suffix": self._suffix,
        }
        if receipt_email is not None:
            params["receipt_email"] = receipt_email
        with _asking():
            return self._stripe.payment_intents.create(params, {"idempotency_key": idempotency_key}).id

    def find_payment(self, customer_id: str, top_up_id: str, *, since: datetime) -> str | None:
        """The customer's payment that names the top-up; of several, one that may have moved money."""
        found: dict[str, str] = {}
        with _asking():
            intents = self._stripe.payment_intents.list(
                {"customer": customer_id, "created": {"gte": int(since.timestamp())}, "limit": _PAGE}
            )
            for intent in intents.auto_paging_iter():
                if intent.metadata.to_dict().get("top_up_id") == top_up_id:
                    found[intent.status] = intent.id
        first = next((found[status] for status in ("succeeded", "processing") if status in found), None)
        return first or next((found[status] for status in found if status != "canceled"), None)

    def confirm_payment(self, payment_id: str, card_id: str, *, idempotency_key: str) -> Payment:
        """Charge the card off-session, once at the most. A decline is an answer: `open`, with `failure`."""
        try:
            with _asking():
                intent = self._stripe.payment_intents.confirm(
                    payment_id,
                    {"payment_method": card_id, "off_session": True, "expand": PAYMENT_PARTS},
                    {"idempotency_key": idempotency_key},
                )
        except _Declined as declined:
            return payment_of(declined.intent, failure=failure_of(declined.error))
        except _Decided:
            return self.get_payment(payment_id)
        wants_customer = intent.status == "requires_action"
        return payment_of(intent, failure=AUTHENTICATION_REQUIRED if wants_customer else None)

    def cancel_payment(self, payment_id: str) -> Payment:
        """Make sure that it can't succeed any more; one that is final, or under way, stays as it is."""
        try:
            with _asking():
                return payment_of(self._stripe.payment_intents.cancel(payment_id, {"expand": PAYMENT_PARTS}))
        except _Decided:
            return self.get_payment(payment_id)

    def get_payment(self, payment_id: str) -> Payment:
        """The payment with its refunds, disputes and movements, all as they stand."""
        with _asking():
            intent = self._stripe.payment_intents.retrieve(payment_id, {"expand": PAYMENT_PARTS})
            charge = charge_of(intent)
            if intent.status != "succeeded" or charge is None:
                return payment_of(intent)
            # Always asked for: what the charge says of refunds forgets those that failed.
            refunds = self._stripe.refunds.list(
                {"payment_intent": payment_id, "limit": _PAGE, "expand": REFUND_PARTS}
            )
            disputes = (
                list(
                    self._stripe.disputes.list(
                        {"payment_intent": payment_id, "limit": _PAGE}
                    ).auto_paging_iter()
                )
                if charge.disputed
                else []
            )
            return payment_of(
                intent, tax=self._tax_of(intent), refunds=refunds.auto_paging_iter(), disputes=disputes
            )

    def create_refund(
        self, payment_id: str, *, refund_id: str, amount: int, reason: str, idempotency_key: str
    ) -> Refund:
        """Give `amount` cents back."""
        with _asking():
            refund = self._stripe.refunds.create(
                {
                    "payment_intent": payment_id,
                    "amount": amount,
                    "metadata": {"refund_id": refund_id, "reason": reason[:_LONGEST_METADATA]},
                    "reason": "requested_by_customer",
                },
                {"idempotency_key": idempotency_key},
            )
        return refund_of(refund)

    def list_cards(self, customer_id: str) -> list[Card]:
        """The customer's saved cards."""
        with _asking():
            methods = self._stripe.customers.payment_methods.list(
                customer_id, {"type": "card", "limit": _PAGE}
            )
            return [card_of(method) for method in methods.auto_paging_iter()]

    def remove_card(self, card_id: str) -> None:
        """Forget a card; one that is gone already is fine."""
        try:
            with _asking():
                self._stripe.payment_methods.detach(card_id)
        except PaymentRefused:
            if self._is_attached(card_id):
                raise

    def read_message(self, body: bytes, signature: str) -> Message:
        """The message of a webhook; raises `InvalidSignature` unless it is Stripe's, and recent."""
        try:
            # The SDK compares texts, and fails where one isn't ASCII.
            signature.encode("ascii")
            payload = body.decode()
            stripe.WebhookSignature.verify_header(
                payload, signature, self._webhook_secret, _TOLERANCE_SECONDS
            )
        except (stripe.SignatureVerificationError, UnicodeError) as error:
            raise InvalidSignature("The webhook's signature is wrong, or too old.") from error
        return message_of(payload)

    def parse_message(self, payload: str) -> Message:
        """The message of a payload that was verified, and kept, before."""
        return message_of(payload)

    def iter_messages(self, since: datetime) -> Iterator[Message]:
        """The messages that occurred since then, oldest first; Stripe keeps them for 30 days."""
        with _asking():
            events = self._stripe.events.list(
                {"created": {"gte": int(since.timestamp())}, "limit": _PAGE}
            ).auto_paging_iter()
            payloads = [json.dumps(event.to_dict(for_json=True)) for event in events]
        return map(message_of, reversed(payloads))  # Stripe lists the newest first

    def _create_checkout(self, params: stripe.params.checkout.SessionCreateParams, key: str) -> Checkout:
        with _asking():
            return checkout_of(self._stripe.checkout.sessions.create(params, {"idempotency_key": key}))

    def _tax_of(self, intent: stripe.PaymentIntent) -> int:
        """The tax in a payment: what its page put on top of the amount that we asked for."""
        asked = intent.metadata.to_dict().get("amount")
        if asked is None or asked == str(intent.amount):
            return 0
        sessions = self._stripe.checkout.sessions.list({"payment_intent": intent.id, "limit": 1}).data
        totals = sessions[0].total_details if sessions else None
        return 0 if totals is None else totals.amount_tax

    def _is_attached(self, card_id: str) -> bool:
        try:
            with _asking():
                return id_of(self._stripe.payment_methods.retrieve(card_id).customer) is not None
        except PaymentRefused:  # there is no such card
            return False


class _Decided(PaymentRefused):
    """What was asked of a payment does not fit its state: it is decided already, or being decided."""


class _Declined(PaymentRefused):
    """A card said no to the payment `intent`."""

    def __init__(self, message: str, error: stripe.ErrorObject, intent: stripe.PaymentIntent) -> None:
        super().__init__(message)
        self.error = error
        self.intent = intent


@contextmanager
def _asking() -> Iterator[None]:
    """Turn Stripe's errors into ours. What it says may be of its internals: that is for the log."""
    try:
        yield
    except stripe.StripeError as error:
        raise _translated(error) from error


def _translated(error: stripe.StripeError) -> MeteringError:
    told = {"code": error.code, "status": error.http_status, "request": error.request_id}
    match error:
        case stripe.CardError():
            return _card_error(error)
        case stripe.InvalidRequestError() | stripe.IdempotencyError():
            if error.code == "payment_intent_unexpected_state":
                return _Decided("The payment is decided already.")
            _LOG.warning("stripe refused", reason=error.user_message, **told)
            return PaymentRefused(f"The payment processor refuses this ({error.code or 'invalid request'}).")
        case stripe.AuthenticationError() | stripe.PermissionError():
            _LOG.error("stripe does not accept the key", reason=error.user_message, **told)
        case _:
            _LOG.warning("stripe is unavailable", reason=error.user_message, **told)
    return PaymentsUnavailable("The payment processor can't be reached just now: send the same again soon.")


def _card_error(error: stripe.CardError) -> PaymentRefused:
    details = error.error
    if details is None:
        return PaymentRefused("The card was declined.")
    message = failure_of(details).message
    intent = cast("stripe.PaymentIntent | None", getattr(details, "payment_intent", None))
    return PaymentRefused(message) if intent is None else _Declined(message, details, intent)
