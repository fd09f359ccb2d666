"""Auto top-up's purchases: each at most one charge, whatever breaks meanwhile (billing-rules: "Auto top-up").

A purchase has one payment, created unconfirmed and kept here before it is confirmed; a payment succeeds once
at the most, and no other of this purchase is ever confirmed. So a step may be repeated, run twice at once or
come late: none of it charges twice. A purchase is closed only when its payment can't succeed any more.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from metering import clock, ids, telemetry
from metering.errors import MeteringError, PaymentRefused, PaymentsUnavailable
from metering.ledger.auto_topups import (
    AutoTopUp,
    OffReason,
    Stop,
    day_of,
    month_of,
    wait_after_decline,
    wait_for_answer,
    why_not,
)
from metering.ledger.books import Books
from metering.ledger.notices import NoticeType
from metering.ledger.top_ups import CENT_PICO, bonus_of
from metering.money import to_number
from metering.payments.gateway import Failure, Payment, PaymentState
from metering.pricing.top_ups import AutoTopUpPolicy
from metering.services.auto_topups import CURRENCY, switch_off, terms_told
from metering.services.cards import sync_cards
from metering.services.cashier import Cashier
from metering.services.settlement import settle
from metering.services.stopping import Stopped, never
from metering.storage import accounts, auto_topups, cards, notices, payment_customers, purchases
from metering.storage.books import lock_account
from metering.storage.cards import SavedCard
from metering.storage.database import Database, driver
from metering.storage.purchases import Purchase

# For so long nobody else looks at a purchase that a worker took; longer than its calls may take.
LEASE: Final = timedelta(minutes=3)
# How soon a run sees what fell after it began; and for how long, since it is to end, and another to begin.
_LOOK_SECONDS: Final = 1
_RUN_SECONDS: Final = 300
# While a payment is under way at the processor.
_LOOK_AGAIN: Final = timedelta(minutes=1)
# Create, confirm, cancel, and what a change in between may add.
_MOST_STEPS: Final = 8
# So many calls without an answer are repeated under the same key.
_SAME_KEY: Final = 1
# By how much the processor's clock may differ from ours.
_SKEW: Final = timedelta(hours=1)
_DECLINED: Final = Failure("card_declined", "The card was declined.")
_LOG: Final = telemetry.log(__name__)


class Step(NamedTuple):
    """What to ask of the processor next; `card` is the one to charge."""

    verb: Literal["create", "confirm", "cancel", "settle"]
    purchase: Purchase
    card: SavedCard | None = None


class Seen(NamedTuple):
    """How the payment stood after the purchase's try of that number, and why it did not succeed."""

    attempt: int
    state: PaymentState
    failure: Failure | None


@dataclass(slots=True)
class _Work:
    """An open purchase under its account's lock."""

    raw: Any
    policy: AutoTopUpPolicy
    books: Books
    now: datetime
    asked: AutoTopUp
    purchase: Purchase
    card: SavedCard | None


def buy_due(cashier: Cashier, *, threads: int = 16, stopped: Stopped = never) -> int:
    """Bring all due purchases as far as they come now, also what becomes due meanwhile: how many.

    Several processes may do so at once. Raises `Unavailable`.
    """
    looked, until = 0, time.monotonic() + _RUN_SECONDS
    running: set[Future[int]] = set()

    def is_over() -> bool:
        return stopped() or time.monotonic() > until

    with ThreadPoolExecutor(threads, thread_name_prefix="purchases") as pool:
        while True:
            due = 0 if is_over() else _count_due(cashier.database, threads - len(running))
            running |= {pool.submit(_buy_until_none, cashier, is_over) for _ in range(due)}
            if not running:
                return looked
            ended, running = wait(running, _LOOK_SECONDS)
            looked += sum(one.result() for one in ended)


def _count_due(database: Database, most: int) -> int:
    with database.snapshot() as connection:
        return purchases.count_due(driver(connection), clock.now(), most)


def _buy_until_none(cashier: Cashier, stopped: Stopped) -> int:
    looked = 0
    while not stopped():
        now = clock.now()
        with cashier.database.transaction() as connection:
            claimed = purchases.claim(driver(connection), now, now + LEASE)
        if claimed is None:
            break
        buy(cashier, *claimed)
        looked += 1
    return looked


def buy(cashier: Cashier, account_id: str, top_up_id: str) -> None:
    """Bring an open purchase as far as it comes now; where the processor doesn't answer, put it off."""
    seen: Seen | None = None
    try:
        for _ in range(_MOST_STEPS):
            step = advance(cashier, account_id, top_up_id, seen)
            if step is None:
                return
            seen = take(cashier, step)
    except MeteringError as error:
        if not isinstance(error, PaymentsUnavailable):
            _LOG.warning("a purchase failed", account_id=account_id, top_up_id=top_up_id, exc_info=error)
        _put_off(cashier.database, account_id, top_up_id)


def advance(cashier: Cashier, account_id: str, top_up_id: str, seen: Seen | None = None) -> Step | None:
    """One transaction: keep what was seen, and say what to ask next; None where nothing is to be done now."""
    with cashier.database.transaction() as connection:
        raw = driver(connection)
        books, now = lock_account(raw, account_id)
        purchase, asked = purchases.find_open(raw, account_id), auto_topups.find(raw, account_id)
        if purchase is None or purchase.id != top_up_id or asked is None:
            return None
        card = cards.find_charged(cards.list_cards(raw, account_id), asked.card_id)
        work = _Work(raw, cashier.policy.auto, books, now, asked, purchase, card)
        return _next(work) if seen is None else _after(work, seen)


def take(cashier: Cashier, step: Step) -> Seen | None:
    """Ask the processor, outside of any transaction: what is seen then, if it is about a try.

    Raises `PaymentsUnavailable`: what was asked may have happened or not.
    """
    purchase = step.purchase
    if step.verb == "settle":
        settle(cashier, purchase.account_id, purchase.id)
        return None
    if step.verb == "cancel":
        return _seen(purchase, cashier.gateway.cancel_payment(purchase.payment_id or ""))
    try:
        if step.verb == "confirm":
            return _seen(purchase, confirm(cashier, step))
        keep_payment(cashier, purchase, create_payment(cashier, purchase))
    except PaymentRefused as error:
        if step.verb == "create" and purchase.unanswered <= _SAME_KEY:
            # Perhaps the key alone, which stands for what was asked before: then a key of its own will do.
            raise
        return _refused(cashier, purchase, error)
    return None


def create_payment(cashier: Cashier, purchase: Purchase) -> str:
    """The id of a payment that nobody has confirmed. One that is made and then lost never can be."""
    with cashier.database.snapshot() as connection:
        customer_id = payment_customers.find_customer(connection, purchase.account_id)
        email = accounts.get_account(connection, purchase.account_id).email
    if customer_id is None:
        raise PaymentRefused("There is no saved card.")
    if purchase.unanswered:
        found = cashier.gateway.find_payment(customer_id, purchase.id, since=purchase.created_at - _SKEW)
        if found is not None:
            return found
    return cashier.gateway.create_payment(
        account_id=purchase.account_id,
        top_up_id=purchase.id,
        customer_id=customer_id,
        amount=purchase.amount_pico // CENT_PICO,
        receipt_email=email,
        idempotency_key=f"topup-{purchase.id}-create-{purchase.attempts + 1}{_again(purchase)}",
    )


def keep_payment(cashier: Cashier, purchase: Purchase, payment_id: str) -> None:
    """Make it the purchase's one payment, unless there is one; and fix the bonus."""
    percent = cashier.policy.bonus_percent(purchase.amount_pico)
    bonus_pico = bonus_of(purchase.amount_pico, percent)
    with cashier.database.transaction() as connection:
        raw = driver(connection)
        lock_account(raw, purchase.account_id)
        purchases.keep_payment(raw, purchase, payment_id, bonus_percent=percent, bonus_pico=bonus_pico)


def confirm(cashier: Cashier, step: Step) -> Payment:
    """Charge the card, once for the payment's whole life at the most."""
    purchase, card_id = step.purchase, step.card.id if step.card else ""
    # What a key stands for never changes: the card is part of it.
    key = f"topup-{purchase.id}-confirm-{purchase.attempts + 1}{_again(purchase)}-{card_id}"
    return cashier.gateway.confirm_payment(purchase.payment_id or "", card_id, idempotency_key=key)


def _again(purchase: Purchase) -> str:
    """What tells a repeated call's key apart, from the second repetition on.

    The first hears the answer that was lost. But an error on the processor's side is kept under the key too,
    and would be all that is heard for a day.
    """
    return f"-again-{purchase.unanswered}" if purchase.unanswered > _SAME_KEY else ""


def _seen(purchase: Purchase, payment: Payment) -> Seen:
    return Seen(purchase.attempts + 1, payment.state, payment.failure)


def _refused(cashier: Cashier, purchase: Purchase, error: PaymentRefused) -> Seen:
    """Why the processor refuses: the payment is decided already, or the card can't be used any more."""
    failure = Failure(error.code, error.message)
    if purchase.payment_id is None:
        return Seen(purchase.attempts + 1, PaymentState.OPEN, failure)
    payment = cashier.gateway.get_payment(purchase.payment_id)
    if payment.state is PaymentState.OPEN:
        sync_cards(cashier, purchase.account_id)
        return _seen(purchase, payment._replace(failure=failure))
    return _seen(purchase, payment)


def _after(work: _Work, seen: Seen) -> Step | None:
    """Keep what was seen; what is next."""
    purchase = work.purchase
    if seen.state is PaymentState.SUCCEEDED:
        return Step("settle", purchase)
    if seen.state is PaymentState.PROCESSING:
        # With another key: the answer under this one would be the same for a day.
        until, unanswered = work.now + _LOOK_AGAIN, purchase.unanswered + 2
        purchases.postpone(work.raw, purchase, unanswered=unanswered, until=until)
        return None
    if seen.state is PaymentState.CANCELED:
        _close(work, _why_not(work) or Stop("canceled"))
        return None
    if work.asked.is_enabled and not _count_decline(work, seen):
        return None
    return _next(work)


def _next(work: _Work) -> Step | None:
    """What to ask next; a purchase that must not be made is closed, once its payment can't succeed."""
    stop, purchase = _why_not(work), work.purchase
    if stop is None:
        return Step("create" if purchase.payment_id is None else "confirm", purchase, work.card)
    if purchase.payment_id is not None:
        return Step("cancel", purchase)
    _close(work, stop)
    return None


def _why_not(work: _Work) -> Stop | None:
    asked, now = work.asked, work.now
    lately = max(now - work.policy.brake_window, asked.enabled_at or now)
    bought = purchases.get_bought(
        work.raw, asked.account_id, day=day_of(now), month=month_of(now), lately=lately
    )
    stop = why_not(asked, work.purchase.amount_pico, work.books.posted_pico, bought, work.policy, now)
    if stop is None and work.card is None:
        return Stop(OffReason.CARD_REMOVED, off_reason=OffReason.CARD_REMOVED)
    return stop


def _count_decline(work: _Work, seen: Seen) -> bool:
    """Count a decline, and tell of it: whether it was the last."""
    purchase, failure = work.purchase, seen.failure or _DECLINED
    if seen.attempt != purchase.attempts + 1:
        return False  # another worker saw it too, and counted it
    wait = wait_after_decline(work.policy, seen.attempt, is_final=failure.is_final)
    next_attempt_at = work.now + (wait or timedelta(0))
    purchases.keep_decline(work.raw, purchase, failure.code, failure.message, next_attempt_at)
    told = {
        "top_up_id": purchase.id,
        "card": work.card and work.card.name,
        "failure_code": failure.code,
        "failure_message": failure.message,
        "attempt": seen.attempt,
    }
    if wait is None:
        reason = OffReason.AUTHENTICATION if failure.needs_customer else OffReason.DECLINED
        switch_off(work.raw, work.books, reason, work.now, **told)
        work.asked = work.asked._replace(is_enabled=False, off_reason=reason)
        work.purchase = purchase._replace(attempts=seen.attempt)
        return True
    data = {
        **told,
        "origin": "auto",
        "amount": to_number(purchase.amount_pico),
        "currency": CURRENCY,
        "needs_customer": failure.needs_customer,
        "next_attempt_at": next_attempt_at.isoformat(),
    }
    notices.append(work.raw, purchase.account_id, ids.new_id(), NoticeType.TOP_UP_FAILED, data, work.now)
    return False


def _close(work: _Work, stop: Stop) -> None:
    """End the purchase, whose payment can't succeed (any more); it may be that another is wanted instead."""
    raw, purchase, asked, now = work.raw, work.purchase, work.asked, work.now
    if purchase.attempts and asked.off_reason in {OffReason.DECLINED, OffReason.AUTHENTICATION}:
        purchases.close(raw, purchase, "failed", None, now)
    else:
        purchases.close(raw, purchase, "canceled", stop.code, now)
    if stop.off_reason is not None:
        switch_off(raw, work.books, stop.off_reason, now, top_up_id=purchase.id)
    if stop.paused_until is not None:
        auto_topups.pause(raw, purchase.account_id, stop.paused_until)
        until = stop.paused_until.isoformat()
        data = {"reason": stop.code, "paused_until": until, **terms_told(asked), "top_up_id": purchase.id}
        notices.append(raw, purchase.account_id, ids.new_id(), NoticeType.AUTO_TOPUP_PAUSED, data, now)
    if work.books.posted_pico < asked.threshold_pico:
        auto_topups.open_purchase(raw, purchase.account_id, ids.new_id(), now)


def _put_off(database: Database, account_id: str, top_up_id: str) -> None:
    """Come back to it soon, and later each time."""
    with database.transaction() as connection:
        raw = driver(connection)
        _, now = lock_account(raw, account_id)
        purchase = purchases.find_open(raw, account_id)
        if purchase is not None and purchase.id == top_up_id:
            unanswered = purchase.unanswered + 1
            until = now + wait_for_answer(unanswered)
            purchases.postpone(raw, purchase, unanswered=unanswered, until=until)
