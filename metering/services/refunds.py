"""Refunds that we make: what is unused of a top-up, with its share of the bonus.

The credit is taken as the refund is asked for, so that it can't be spent meanwhile; then the processor is
told. What it made of that comes by `settle`, as everything does; where it refuses, the credit is given back.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from metering import clock, ids, telemetry
from metering.errors import (
    InvalidParameter,
    MeteringError,
    NotRefundable,
    PaymentRefused,
    PaymentsUnavailable,
    Unavailable,
)
from metering.ledger.top_ups import CENT_PICO, part_of, refundable_credit, refundable_payment
from metering.money import to_number
from metering.services.cashier import Cashier
from metering.services.idempotency import require_same
from metering.services.seen_refunds import move_refund, post_parts
from metering.services.settlement import settle
from metering.services.stopping import Stopped, never
from metering.services.texts import checked
from metering.services.top_up_books import TopUpBooks
from metering.storage import disputes, refunds, top_ups
from metering.storage.books import lock_account
from metering.storage.database import Database, driver
from metering.storage.refunds import Refund

MAX_REASON: Final = 2_000
# Longer than a call to the processor lasts: two that ask for one refund at once use one key.
_WAITS: Final = (timedelta(minutes=2), timedelta(minutes=5), timedelta(minutes=15))
_LAST_WAIT: Final = timedelta(hours=1)
_LOG: Final = telemetry.log(__name__)


class WantedRefund(NamedTuple):
    """What is to go back, tax included, None for all that can; the customer reads the reason."""

    amount_pico: int | None
    reason: str
    actor: str

    def digest(self, top_up_id: str) -> bytes:
        """SHA-256 of what is asked for, whoever asks: the same key with another digest is a conflict."""
        text = "\n".join([top_up_id, str(self.amount_pico), self.reason])
        return hashlib.sha256(text.encode()).digest()


def create_refund(
    cashier: Cashier, account_id: str, top_up_id: str, wanted: WantedRefund, idempotency_key: str
) -> tuple[Refund, bool]:
    """Give back what is unused of a top-up, once per idempotency key: the refund, and whether it is new.

    Where the processor doesn't answer, the refund stays requested, and is asked for again behind the scenes;
    where it refuses, the refund has failed. Raises `NotFound`, `NotRefundable`, `IdempotencyConflict` and
    `InvalidParameter`.
    """
    checked(wanted.reason, "reason", most=MAX_REASON)
    key = checked(idempotency_key, "idempotency_key")
    with cashier.database.transaction() as connection:
        work = TopUpBooks(connection, account_id, top_up_id)
        first = refunds.find_by_idempotency_key(connection, account_id, key)
        if first is not None:
            require_same(first.body_digest or b"", wanted.digest(top_up_id), used="for another refund")
            return first, False
        refund = _request(work, wanted, key)
        work.keep()
    _send(cashier, refund)
    with cashier.database.snapshot() as connection:
        return refunds.get_refund(connection, account_id, refund.id), True


def list_refunds(database: Database, account_id: str, top_up_id: str) -> list[Refund]:
    """The top-up's refunds, oldest first; raises `NotFound`."""
    with database.snapshot() as connection:
        top_ups.get_top_up(connection, account_id, top_up_id)
        return refunds.list_refunds(connection, account_id, top_up_id)


def finish_refunds(cashier: Cashier, *, most: int = 200, stopped: Stopped = never) -> int:
    """Ask again for up to `most` refunds of which the processor has not answered: how many."""
    with cashier.database.snapshot() as connection:
        due = refunds.list_due(connection, clock.now(), most)
    asked = 0
    for account_id, refund_id in due:
        if stopped():
            break
        refund = _claim(cashier.database, account_id, refund_id)
        if refund is None:
            continue
        asked += 1
        try:
            _ask_again(cashier, refund)
        except MeteringError as error:
            _LOG.warning("refund not finished", refund_id=refund_id, error=error.message)
    return asked


def _request(work: TopUpBooks, wanted: WantedRefund, key: str) -> Refund:
    """Take the credit, and note that its money is to go back."""
    most_pico = _refundable(work)
    amount_pico = most_pico if wanted.amount_pico is None else wanted.amount_pico
    if amount_pico % CENT_PICO:
        raise InvalidParameter("must be in whole cents", param="amount_usd")
    if wanted.amount_pico is not None and amount_pico <= 0:
        raise InvalidParameter("must be more than zero", param="amount_usd")
    if amount_pico > most_pico or not most_pico:
        most = to_number(most_pico)
        raise NotRefundable(
            f"At most {most} of this top-up can be refunded: the rest is used, held, or went back before.",
            param="amount_usd",
        )
    top_up = work.top_up
    parts = part_of(top_up.parts, top_up.bonus_percent, work.gone(), amount_pico)
    refund = Refund(
        account_id=top_up.account_id,
        id=ids.new_id(),
        top_up_id=top_up.id,
        origin="service",
        state="requested",
        amount_pico=amount_pico,
        **parts._asdict(),
        reason=wanted.reason,
        actor=wanted.actor,
        created_at=work.now,
        attempts=1,
        next_attempt_at=work.now + _WAITS[0],
        idempotency_key=key,
        body_digest=wanted.digest(top_up.id),
    )
    refunds.insert_refund(work.connection, refund)
    post_parts(work, refund)
    return refund


def _refundable(work: TopUpBooks) -> int:
    """How much of the payment can go back: what is unused, and promised to nobody. Locks the lots."""
    top_up = work.top_up
    if top_up.state != "succeeded":
        raise NotRefundable("This top-up was not paid.", param="top_up_id")
    known = disputes.list_disputes(work.connection, top_up.account_id, top_up.id)
    if any(one.stage in {"frozen", "lost"} for one in known):
        raise NotRefundable(
            "The payment of this top-up is disputed: its money goes back that way.", param="top_up_id"
        )
    work.lock_lots()
    rest_pico, all_pico = work.lots.rest_pico(top_up.lot_ids[:1]), work.lots.rest_pico(top_up.lot_ids)
    # What holds have set aside is not unused.
    bonus_rest_pico = min(all_pico, work.books.available_pico) - rest_pico
    credit_pico = refundable_credit(top_up.bonus_percent, rest_pico, bonus_rest_pico)
    return refundable_payment(top_up.parts, top_up.bonus_percent, work.gone(), credit_pico)


def _claim(database: Database, account_id: str, refund_id: str) -> Refund | None:
    """Take the next attempt at a refund that is due; None where it isn't any more."""
    with database.transaction() as connection:
        _, now = lock_account(driver(connection), account_id)
        refund = refunds.get_refund(connection, account_id, refund_id)
        if refund.state != "requested" or refund.next_attempt_at is None or refund.next_attempt_at > now:
            return None
        attempt = refund.attempts + 1
        claimed = refund._replace(attempts=attempt, next_attempt_at=_next_attempt(attempt, now))
        changes = {"attempts": attempt, "next_attempt_at": claimed.next_attempt_at}
        refunds.update_refund(connection, account_id, refund_id, **changes)
    return claimed


def _next_attempt(attempt: int, now: datetime) -> datetime:
    return now + (_WAITS[attempt - 1] if attempt <= len(_WAITS) else _LAST_WAIT)


def _ask_again(cashier: Cashier, refund: Refund) -> None:
    """Ask for a refund again, unless it turns out that the processor has it."""
    settle(cashier, refund.account_id, refund.top_up_id)
    with cashier.database.snapshot() as connection:
        now_known = refunds.get_refund(connection, refund.account_id, refund.id)
    if now_known.state == "requested":
        _send(cashier, refund)


def _send(cashier: Cashier, refund: Refund) -> None:
    """Tell the processor to give the money back; where it doesn't answer, somebody asks again."""
    with cashier.database.snapshot() as connection:
        top_up = top_ups.get_top_up(connection, refund.account_id, refund.top_up_id)
    try:
        _give_money_back(cashier, top_up.payment_id or "", refund)
    except (PaymentsUnavailable, Unavailable) as error:
        _LOG.info("refund not answered", refund_id=refund.id, error=error.message)


def _give_money_back(cashier: Cashier, payment_id: str, refund: Refund) -> None:
    refused = None
    try:
        cashier.gateway.create_refund(
            payment_id,
            refund_id=refund.id,
            amount=refund.amount_pico // CENT_PICO,
            reason=refund.reason,
            idempotency_key=_key(refund),
        )
    except PaymentRefused as error:
        refused = error
    # A refusal may be of the same call that was answered before.
    settle(cashier, refund.account_id, refund.top_up_id)
    if refused is not None:
        _fail(cashier.database, refund, refused.message)


def _key(refund: Refund) -> str:
    """One key for the first attempts, however they ended: the processor then does what they ask once.

    It also keeps an error of its own under the key for a day. So later attempts, each an hour after the one
    before, have their own: by then it is known whether any of those did something.
    """
    if refund.attempts <= len(_WAITS) + 1:
        return f"refund-{refund.id}"
    return f"refund-{refund.id}-{refund.attempts}"


def _fail(database: Database, refund: Refund, failure: str) -> None:
    """Give the credit back, unless the processor has the refund after all."""
    with database.transaction() as connection:
        work = TopUpBooks(connection, refund.account_id, refund.top_up_id)
        standing = refunds.get_refund(connection, refund.account_id, refund.id)
        if standing.state == "requested":
            work.lock_lots()
            move_refund(work, standing, "failed", failure=failure, processor_id=None)
            work.keep()
