"""Settle a top-up: bring it to how its payment stands at the processor now.

A message, the answer to a call, a sweep and a retry are hints that something may have changed, and no more:
each leads here. Outside of any transaction the processor is asked how the payment stands; within one, under
the account's lock, that is applied, unless something else was applied since before the question: then it is
asked again. What is applied once is not applied twice: success is in the top-up's row, and each refund,
dispute and movement has a row of its own. So hints may come doubled, in any order, late, early or never.

What the processor says was paid is credited, whatever we thought of the top-up; nothing is ever taken back
because an answer lacks it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, NamedTuple

from metering import clock, ids, telemetry
from metering.errors import MeteringError, Unavailable
from metering.ledger.notices import NoticeType
from metering.ledger.posting_rules import post_bonus, post_tax, post_top_up
from metering.ledger.top_ups import CENT_PICO
from metering.money import to_number
from metering.payments.gateway import Checkout, Failure, Payment, PaymentGateway, PaymentState
from metering.services.cards import sync_cards
from metering.services.cashier import Cashier
from metering.services.disputes import apply_disputes
from metering.services.processor_movements import apply_movements
from metering.services.seen_refunds import apply_refunds
from metering.services.stopping import Stopped, never
from metering.services.top_up_books import TopUpBooks
from metering.services.top_ups import UNTOLD_AFTER
from metering.storage import top_ups
from metering.storage.top_ups import TopUp

_TRIES: Final = 20
_AGAIN_AFTER: Final = timedelta(hours=1)
_MISMATCH: Final = "amount_mismatch"
_LOG: Final = telemetry.log(__name__)


class _Seen(NamedTuple):
    """What the processor says: the page, where the top-up is open and has one, and the payment."""

    page: Checkout | None
    payment: Payment | None


def settle(cashier: Cashier, account_id: str, top_up_id: str, *, payment_id: str | None = None) -> TopUp:
    """Bring the top-up to how its payment stands at the processor; the top-up as it is then.

    `payment_id` is the payment that a message names, which may be the first to tell of it. Raises
    `NotFound`, `AccountNotFound`, `PaymentsUnavailable`, `PaymentRefused` and `Unavailable`.
    """
    for _ in range(_TRIES):
        with cashier.database.snapshot() as connection:
            known = top_ups.get_top_up(connection, account_id, top_up_id)
        seen = _ask(cashier.gateway, known, payment_id)
        with cashier.database.transaction() as connection:
            settled = _apply(cashier, connection, known, seen)
        if settled is not None:
            if settled.saves_card and settled.state == "succeeded" != known.state:
                _sync_cards(cashier, account_id)
            return settled
    raise Unavailable("Too much happens to this top-up at once. Send the same again in a few seconds.")


def settle_open(cashier: Cashier, *, most: int = 200, stopped: Stopped = never) -> int:
    """Settle up to `most` open checkouts whose page has ended: how many."""
    now = clock.now()
    with cashier.database.snapshot() as connection:
        due = top_ups.list_due_checkouts(connection, now, most)
    settled = 0
    for account_id, top_up_id in due:
        if stopped():
            break
        until = now + _AGAIN_AFTER
        with cashier.database.transaction() as connection:
            if not top_ups.put_off(connection, account_id, top_up_id, now=now, until=until):
                continue
        settled += 1
        try:
            settle(cashier, account_id, top_up_id)
        except MeteringError as error:
            _LOG.warning("top-up not settled", top_up_id=top_up_id, error=error.message)
    return settled


def _ask(gateway: PaymentGateway, known: TopUp, hint: str | None) -> _Seen:
    page = None
    if known.state == "open" and known.session_id is not None:
        # Asked before the payment: once the page is seen closed, the payment is seen as it was left.
        page = gateway.get_checkout(known.session_id)
    payment_id = known.payment_id or (page and page.payment_id)
    payment = None if payment_id is None else gateway.get_payment(payment_id)
    if hint is not None and hint != payment_id:
        payment = _choose(known, payment, gateway.get_payment(hint))
    return _Seen(page, payment)


def _choose(known: TopUp, payment: Payment | None, hinted: Payment) -> Payment | None:
    """Of the top-up's payment and the one that a message names, the one to go by."""
    if (hinted.account_id, hinted.top_up_id) != (known.account_id, known.id):
        _unsettled("foreign_payment", known, hinted)
        return payment
    if payment is not None and payment.state is PaymentState.SUCCEEDED:
        if hinted.state is PaymentState.SUCCEEDED:
            _unsettled("second_payment", known, hinted)
        return payment
    return hinted if payment is None or hinted.state is PaymentState.SUCCEEDED else payment


def _apply(cashier: Cashier, connection: Any, known: TopUp, seen: _Seen) -> TopUp | None:  # noqa: ANN401  (storage's)
    """The top-up with what was seen applied; None where it moved since it was `known`."""
    work = TopUpBooks(connection, known.account_id, known.id)
    if work.top_up.version != known.version:
        return None
    page, payment = seen
    if payment is not None and payment.state is PaymentState.SUCCEEDED:
        if work.top_up.state == "succeeded" or _is_as_asked(work, payment):
            _apply_success(cashier, work, payment)
    elif work.top_up.state == "open" and work.top_up.origin == "checkout":
        _apply_open(work, page, payment)
    work.keep()
    return work.top_up


def _apply_success(cashier: Cashier, work: TopUpBooks, payment: Payment) -> None:
    if payment.refunds or payment.disputes:
        work.lock_lots()
    if work.top_up.state != "succeeded":
        _credit(cashier, work, payment)
    apply_movements(work, payment.movements)
    if payment.refunds:
        apply_refunds(work, payment.refunds)
    if payment.disputes:
        apply_disputes(work, payment.disputes)
        # A dispute may turn, and turn back: what was seen in between must not be applied after this.
        work.moved()


def _is_as_asked(work: TopUpBooks, payment: Payment) -> bool:
    """Whether what was paid is what was to be paid; if not, it waits for somebody to look at it."""
    paid_pico = (payment.amount - payment.tax) * CENT_PICO
    if payment.currency == "usd" and paid_pico == work.top_up.amount_pico:
        return True
    if work.top_up.failure_code != _MISMATCH:
        _unsettled(_MISMATCH, work.top_up, payment)
    told = "What was paid is not what was asked for; we look into it."
    work.change(payment_id=payment.id, failure_code=_MISMATCH, failure_message=told, next_attempt_at=None)
    return False


def _credit(cashier: Cashier, work: TopUpBooks, payment: Payment) -> None:
    """Give what was paid for, once: the state says that it was given."""
    top_up = work.top_up
    account_id, amount_pico, bonus_pico = top_up.account_id, top_up.amount_pico, top_up.bonus_pico
    at = min(payment.succeeded_at or work.now, work.now)
    tax_pico = payment.tax * CENT_PICO
    transfer_id, bonus_transfer_id = ids.new_id(), ids.new_id() if bonus_pico else None
    work.post(post_top_up(transfer_id, account_id, amount_pico, at))
    if bonus_transfer_id is not None:
        work.post(post_bonus(bonus_transfer_id, account_id, bonus_pico, at))
    if tax_pico:
        work.post(post_tax(ids.new_id(), account_id, tax_pico, at))
    number = 1 + top_ups.count_succeeded(work.connection, account_id)
    work.change(
        state="succeeded",
        tax_pico=tax_pico,
        transfer_id=transfer_id,
        bonus_transfer_id=bonus_transfer_id,
        payment_id=payment.id,
        paid_with=payment.paid_with,
        # The account's id begins with when it was made, and ends at random.
        receipt_number=f"{account_id.rpartition('-')[2]}-{number:04}",
        receipt_url=payment.receipt_url,
        failure_code=None,
        failure_message=None,
        next_attempt_at=None,
        succeeded_at=at,
        closed_at=work.now,
    )
    _tell_success(cashier, work)


def _tell_success(cashier: Cashier, work: TopUpBooks) -> None:
    top_up = work.top_up
    work.tell(
        NoticeType.TOP_UP_SUCCEEDED,
        origin=top_up.origin,
        receipt_number=top_up.receipt_number,
        amount=to_number(top_up.amount_pico),
        bonus=to_number(top_up.bonus_pico),
        bonus_percent=top_up.bonus_percent,
        tax=to_number(top_up.tax_pico),
        total=to_number(top_up.parts.paid_pico),
        credit=to_number(top_up.amount_pico + top_up.bonus_pico),
        paid_with=top_up.paid_with,
        receipt_url=top_up.receipt_url,
        statement_descriptor=cashier.policy.statement_descriptor,
        succeeded_at=top_up.succeeded_at,
    )


def _apply_open(work: TopUpBooks, page: Checkout | None, payment: Payment | None) -> None:
    """Close a checkout that can't be paid any more; note its payment if there is one."""
    if payment is not None:
        work.change(payment_id=payment.id)
    closed = {"closed_at": work.now, "next_attempt_at": None}
    if page is None:
        is_untold = payment is None and work.top_up.session_id is None
        if is_untold and work.now - work.top_up.created_at > UNTOLD_AFTER:
            work.change(state="canceled", **closed)
    elif page.is_open:
        return
    elif payment is None or payment.state is PaymentState.CANCELED:
        work.change(state="canceled", **closed)
    elif payment.state is PaymentState.OPEN and payment.failure is not None:
        _fail(work, payment.failure)
        work.change(state="failed", **closed)


def _fail(work: TopUpBooks, failure: Failure) -> None:
    """Tell of a payment that was under way for a while, and failed."""
    work.change(failure_code=failure.code, failure_message=failure.message)
    work.tell(
        NoticeType.TOP_UP_FAILED,
        origin=work.top_up.origin,
        amount=to_number(work.top_up.amount_pico),
        failure_code=failure.code,
        failure_message=failure.message,
        next_attempt_at=None,
    )


def _sync_cards(cashier: Cashier, account_id: str) -> None:
    """Know the card that was saved; if that fails, messages about it lead to the same."""
    try:
        sync_cards(cashier, account_id)
    except MeteringError as error:
        _LOG.info("cards not copied", account_id=account_id, error=error.message)


def _unsettled(reason: str, top_up: TopUp, payment: Payment) -> None:
    telemetry.UNSETTLED_TOTAL.labels(reason).inc()
    _LOG.error("payment not settled", reason=reason, top_up_id=top_up.id, payment_id=payment.id)
