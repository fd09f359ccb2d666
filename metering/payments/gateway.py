"""What the product asks of a payment processor, and the words it answers in: none of Stripe's leaves here.

Every answer is a snapshot of how things stand at the processor now: who settles by snapshots needs no order
of messages. Amounts are whole minor units (cents) of `currency`. An `idempotency_key` makes a call that is
sent again do nothing more than the first. Every object made here carries `account_id` and, where it is about
one, `top_up_id` or `refund_id` in the processor's metadata, so that a message about it finds its way back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, TypeAlias


class PaymentState(StrEnum):
    """`open`: nothing decided; it may be confirmed (again). `processing`: under way. The others are final."""

    OPEN = "open"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


MovementKind: TypeAlias = Literal["payment", "refund", "refund_failure", "dispute", "dispute_reversal"]


class Movement(NamedTuple):
    """A line of the processor's own account of us: `amount`, negative where it leaves us, is before `fee`."""

    id: str
    kind: MovementKind
    amount: int
    fee: int
    currency: str
    occurred_at: datetime


class Refund(NamedTuple):
    """Money on its way back; `our_id` is the refund_id that we gave it, if it was us."""

    id: str
    our_id: str | None
    state: Literal["pending", "succeeded", "failed", "canceled"]
    amount: int
    reason: str | None
    failure: str | None


class Dispute(NamedTuple):
    """A chargeback, or an inquiry before one; `amount` in the minor units of the payment's `currency`."""

    id: str
    status: str
    reason: str
    amount: int
    currency: str
    opened_at: datetime


class Failure(NamedTuple):
    """Why a payment did not succeed; `message` is fit for the customer.

    `needs_customer` means that they must authenticate.
    `is_final`: trying the same card again is pointless or forbidden (stolen, lost, closed).
    """

    code: str
    message: str
    needs_customer: bool = False
    is_final: bool = False


class Payment(NamedTuple):
    """A payment as it stands. `amount` is what the customer pays, tax included; `tax` of it is tax.

    `succeeded_at` is None as well where the processor doesn't say when that was: by a bank, it is days after
    the payment was begun. `paid_with` is text such as "Visa •••• 4242". `failure` is that of the last try.
    """

    id: str
    state: PaymentState
    amount: int
    tax: int
    currency: str
    account_id: str | None
    top_up_id: str | None
    succeeded_at: datetime | None
    paid_with: str | None
    receipt_url: str | None
    failure: Failure | None
    refunds: Sequence[Refund] = ()
    disputes: Sequence[Dispute] = ()
    movements: Sequence[Movement] = ()


class Checkout(NamedTuple):
    """A page of the processor's on which a customer pays, or saves a card; `payment_id` once there is one."""

    id: str
    url: str | None
    is_open: bool
    payment_id: str | None
    expires_at: datetime


class Card(NamedTuple):
    """A saved card that may be charged off-session."""

    id: str
    brand: str
    last_four: str
    expires_month: int
    expires_year: int


class Message(NamedTuple):
    """An event of the processor's, verified. `payload` is the raw JSON text.

    `payment_id`, `account_id`, `session_id` and `customer_id` are what the message itself says it is about.
    """

    id: str
    type: str
    occurred_at: datetime
    payload: str
    payment_id: str | None
    session_id: str | None
    customer_id: str | None
    account_id: str | None
    top_up_id: str | None


class PaymentGateway(Protocol):
    """The processor. Every method may raise `PaymentsUnavailable`: what was asked may have happened or not.

    `PaymentRefused` means that the processor understood and refuses; nothing happened.
    """

    @property
    def is_live(self) -> bool:
        """Whether real money moves."""

    def create_customer(self, account_id: str, *, name: str, email: str | None, idempotency_key: str) -> str:
        """The id of a customer."""

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
        """A page to pay a top-up of `amount` cents (tax, if any, comes on top)."""

    def open_card_setup(
        self, *, account_id: str, customer_id: str, success_url: str, cancel_url: str, idempotency_key: str
    ) -> Checkout:
        """A page to save a card for off-session use."""

    def get_checkout(self, session_id: str) -> Checkout:
        """The page as it stands."""

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
        """The id of a payment by card that nobody has confirmed: no money moves until `confirm_payment`."""

    def find_payment(self, customer_id: str, top_up_id: str, *, since: datetime) -> str | None:
        """The payment that was created for a top-up, where the answer to its creation was lost."""

    def confirm_payment(self, payment_id: str, card_id: str, *, idempotency_key: str) -> Payment:
        """Charge the card off-session, once at the most. A decline is an answer: `open`, with `failure`."""

    def cancel_payment(self, payment_id: str) -> Payment:
        """Make sure that it can't succeed any more; one that is final already stays as it is."""

    def get_payment(self, payment_id: str) -> Payment:
        """The payment with its refunds, disputes and movements, all as they stand."""

    def create_refund(
        self, payment_id: str, *, refund_id: str, amount: int, reason: str, idempotency_key: str
    ) -> Refund:
        """Give `amount` cents back; our `refund_id` and `reason` go into its metadata."""

    def list_cards(self, customer_id: str) -> list[Card]:
        """The customer's saved cards."""

    def remove_card(self, card_id: str) -> None:
        """Forget a card; one that is gone already is fine."""

    def read_message(self, body: bytes, signature: str) -> Message:
        """The message of a webhook; raises `InvalidSignature` unless it is the processor's, and recent."""

    def parse_message(self, payload: str) -> Message:
        """The message that a kept payload is; it was verified when it came."""

    def iter_messages(self, since: datetime) -> Iterator[Message]:
        """The messages that occurred since then, oldest first, delivered or not."""
