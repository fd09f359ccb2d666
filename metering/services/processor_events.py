"""The inbox of what the payment processor tells: kept first, then settled, and what never came is fetched.

A message is but a hint that something of a payment, or of a customer's cards, may have changed: settling it
means looking at how that stands now. So messages may come twice, late, in any order, or not at all.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from metering import clock, telemetry
from metering.errors import MeteringError
from metering.payments.gateway import Message
from metering.services.cards import sync_cards
from metering.services.cashier import Cashier
from metering.services.settlement import settle
from metering.services.stopping import Stopped, never
from metering.storage import jobs, payment_customers, processor_events, top_ups
from metering.storage.database import driver
from metering.storage.processor_events import Claimed, Kept

SWEEP: Final = "sweep"
_OF_PAYMENTS: Final = ("payment_intent.", "charge.", "refund.", "checkout.session.")
_OF_CARDS: Final = (
    "checkout.session.completed",
    "customer.updated",
    "payment_method.",
    "setup_intent.succeeded",
)
# Each payment begins with some of these, and nothing follows from them.
_BEGINNINGS: Final = frozenset(
    {
        "charge.pending",
        "payment_intent.created",
        "payment_intent.processing",
        "payment_intent.requires_action",
    }
)
_UNKNOWN: Final = "There is nothing to settle in messages of this type."
_FOREIGN: Final = "It is about no payment and no customer of ours."
# What can't be settled for so long, though it was tried, needs a person.
_PATIENCE: Final = timedelta(days=3)
_TRIES: Final = 10
# A run looks at so many, and ends; the next one follows within a second.
_PAGE: Final = 200
_THREADS: Final = 4
# How far a sweep looks back behind the last one: the processor may list an event a little after it occurred.
_OVERLAP: Final = timedelta(hours=1)
# What is younger is probably on its way.
_GRACE: Final = timedelta(minutes=1)
_LOG: Final = telemetry.log(__name__)


def receive(cashier: Cashier, body: bytes, signature: str) -> Message | None:
    """Keep a webhook's message; the message, if there is something to settle that was not there before.

    Raises `InvalidSignature` unless the processor signed `body`, a short time ago.
    """
    message = cashier.gateway.read_message(body, signature)
    kept = _to_keep(message, clock.now(), is_swept=False)
    is_new = _keep(cashier, [kept]) == 1
    telemetry.PROCESSOR_MESSAGES.labels("received" if is_new else "repeated").inc()
    return message if is_new and kept.state == "pending" else None


def settle_message(cashier: Cashier, message_id: str) -> int:
    """Settle the message, and whatever else waits about the same payment: how many.

    0 where somebody else does, or where it failed: then it is due again later.
    """
    now = clock.now()
    with cashier.database.transaction() as connection:
        claimed = processor_events.claim(driver(connection), message_id, now)
    if not claimed:
        return 0
    try:
        messages = [cashier.gateway.parse_message(one.payload) for one in claimed]
        # Of those about one payment, what names the top-up needs no looking for it.
        is_ours = _look_at(cashier, max(messages, key=lambda message: message.top_up_id is not None))
    except MeteringError as error:
        _note_failure(cashier, claimed, error, now)
        return 0
    _close(cashier, claimed, "settled" if is_ours else "ignored", None if is_ours else _FOREIGN, now)
    return len(claimed)


def settle_pending(cashier: Cashier, *, stopped: Stopped = never) -> int:
    """Settle messages that are due, those that wait the longest first: how many were."""
    with cashier.database.snapshot() as connection:
        due = processor_events.list_due(driver(connection), clock.now(), _PAGE)

    def settle_one(message_id: str) -> int:
        return 0 if stopped() else settle_message(cashier, message_id)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="messages") as threads:
        return sum(threads.map(settle_one, due))


def sweep(cashier: Cashier, *, stopped: Stopped = never) -> int:
    """Ask the processor for messages that never came, and settle them: how many there were.

    Raises `PaymentsUnavailable`.
    """
    now = clock.now()
    with cashier.database.snapshot() as connection:
        cursor = jobs.find_cursor(driver(connection), SWEEP)
        # Nothing that the processor tells of us is older than the first customer.
        begun = datetime.fromisoformat(cursor) if cursor else payment_customers.find_oldest(connection)
    if begun is None:
        return 0
    listed = [m for m in cashier.gateway.iter_messages(begun - _OVERLAP) if m.occurred_at <= now - _GRACE]
    kept = [_to_keep(message, now, is_swept=True) for message in listed]
    swept = sum(_keep(cashier, kept[at : at + _PAGE]) for at in range(0, len(kept), _PAGE))
    with cashier.database.transaction() as connection:
        jobs.set_cursor(driver(connection), SWEEP, max(begun, now - _GRACE).isoformat())
    if swept:
        telemetry.PROCESSOR_MESSAGES.labels("swept").inc(swept)
        _LOG.warning("messages of the payment processor had never come", messages=swept)
        settle_pending(cashier, stopped=stopped)
    return swept


def _to_keep(message: Message, now: datetime, *, is_swept: bool) -> Kept:
    is_known = message.type.startswith(_OF_PAYMENTS + _OF_CARDS) and message.type not in _BEGINNINGS
    return Kept(
        id=message.id,
        type=message.type,
        payload=message.payload,
        payment_id=message.payment_id,
        state="pending" if is_known else "ignored",
        next_attempt_at=now if is_known else None,
        failure=None if is_known else _UNKNOWN,
        is_swept=is_swept,
        occurred_at=message.occurred_at,
        received_at=now,
    )


def _keep(cashier: Cashier, messages: list[Kept]) -> int:
    """Keep the messages: how many were not kept before."""
    with cashier.database.transaction() as connection:
        raw = driver(connection)
        return sum(processor_events.keep(raw, message) for message in messages)


def _look_at(cashier: Cashier, message: Message) -> bool:
    """Look at what the message is about, and bring it up to date; False if it isn't ours."""
    if message.type.startswith(_OF_PAYMENTS):
        found = _find_top_up(cashier, message)
        if found is not None:
            settle(cashier, *found, payment_id=message.payment_id)
            return True
    if message.type.startswith(_OF_CARDS) and message.customer_id is not None:
        with cashier.database.snapshot() as connection:
            account_id = payment_customers.find_account(connection, message.customer_id)
        if account_id is not None:
            sync_cards(cashier, account_id)
            return True
    return False


def _find_top_up(cashier: Cashier, message: Message) -> tuple[str, str] | None:
    """The account and the top-up: as the message says, as we know the payment, as the processor knows it."""
    named = _named(message.account_id, message.top_up_id)
    if named is not None or message.payment_id is None:
        return named
    with cashier.database.snapshot() as connection:
        known = top_ups.find_by_payment(connection, message.payment_id)
    if known is not None:
        return known
    payment = cashier.gateway.get_payment(message.payment_id)
    return _named(payment.account_id, payment.top_up_id)


def _named(account_id: str | None, top_up_id: str | None) -> tuple[str, str] | None:
    """Both, if they can be ours: others may write what they like into metadata."""
    try:
        return str(UUID(account_id or "")), str(UUID(top_up_id or ""))
    except ValueError:
        return None


def _close(
    cashier: Cashier,
    claimed: list[Claimed],
    state: Literal["settled", "ignored", "failed"],
    failure: str | None,
    now: datetime,
) -> None:
    with cashier.database.transaction() as connection:
        processor_events.close(driver(connection), [one.id for one in claimed], state, failure, now)
    telemetry.PROCESSOR_MESSAGES.labels(state).inc(len(claimed))


def _note_failure(cashier: Cashier, claimed: list[Claimed], error: MeteringError, now: datetime) -> None:
    hopeless = [one for one in claimed if now - one.received_at > _PATIENCE and one.attempts > _TRIES]
    if hopeless:
        ids = [one.id for one in hopeless]
        _LOG.error("messages of the payment processor can't be settled", ids=ids, reason=error.message)
        _close(cashier, hopeless, "failed", error.message, now)
    telemetry.PROCESSOR_MESSAGES.labels("delayed").inc(len(claimed) - len(hopeless))
    with cashier.database.transaction() as connection:
        processor_events.note_failure(driver(connection), [one.id for one in claimed], error.message)
