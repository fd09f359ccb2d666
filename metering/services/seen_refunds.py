"""Refunds as the processor shows them: those that were asked for here, and those that were made there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from metering import ids
from metering.ledger.auto_topups import OffReason
from metering.ledger.notices import NoticeType
from metering.ledger.top_ups import CENT_PICO, part_of
from metering.ledger.transfers import TransferKind
from metering.money import to_number
from metering.payments import gateway
from metering.services.auto_topups import switch_off
from metering.services.top_up_books import PROCESSOR, TopUpBooks
from metering.storage import refunds
from metering.storage.refunds import Refund, RefundState

_ELSEWHERE: Final = "Refunded at the payment processor"
_FAILED: Final = "The refund failed"


def apply_refunds(work: TopUpBooks, seen: Sequence[gateway.Refund]) -> None:
    """Post what the refunds of a succeeded payment make necessary; the lots are locked."""
    known = refunds.list_refunds(work.connection, work.top_up.account_id, work.top_up.id)
    of_processor = {refund.processor_id: refund for refund in known}
    unseen = {refund.id: refund for refund in known if refund.processor_id is None}
    for one in seen:
        refund = of_processor.get(one.id) or unseen.pop(one.our_id or "", None) or _record(work, one)
        state: RefundState = "failed" if one.state == "canceled" else one.state
        move_refund(work, refund, state, failure=one.failure, processor_id=one.id)


def move_refund(
    work: TopUpBooks,
    refund: Refund,
    state: RefundState,
    *,
    failure: str | None,
    processor_id: str | None,
) -> None:
    """Let a refund reach a state: it is posted while it stands, and given back when it has failed."""
    reached = refund._replace(state=state, failure=failure, processor_id=processor_id, next_attempt_at=None)
    if reached == refund:
        return
    changes = {"state": state, "failure": failure, "processor_id": processor_id, "next_attempt_at": None}
    refunds.update_refund(work.connection, refund.account_id, refund.id, **changes)
    work.moved()
    if state == "failed" and refund.state != "failed":
        work.give_back(reason=_FAILED, refund_id=refund.id)
    elif state != "failed" and refund.state == "failed":
        post_parts(work, refund)
    if state != "failed" and (refund.processor_id is None or refund.state == "failed"):
        _tell(work, refund)


def post_parts(work: TopUpBooks, refund: Refund) -> None:
    """Take the refund's parts. Nothing is bought because of it: what went back would be charged again."""
    work.take(
        refund.parts, TransferKind.REFUND, reason=refund.reason, actor=refund.actor, refund_id=refund.id
    )
    if work.books.fell_below(work.books.auto_topup_below_pico):
        told = {"top_up_id": refund.top_up_id, "refund_id": refund.id}
        switch_off(work.raw, work.books, OffReason.REFUND, work.now, **told)


def _record(work: TopUpBooks, one: gateway.Refund) -> Refund:
    """A refund that was made at the processor; it is posted with its first state, unless that is failed."""
    amount_pico = one.amount * CENT_PICO
    top_up = work.top_up
    parts = part_of(top_up.parts, top_up.bonus_percent, work.gone(), amount_pico)
    refund = Refund(
        account_id=top_up.account_id,
        id=ids.new_id(),
        top_up_id=top_up.id,
        origin="processor",
        state="failed",
        amount_pico=amount_pico,
        **parts._asdict(),
        reason=_ELSEWHERE,
        actor=PROCESSOR,
        created_at=work.now,
    )
    refunds.insert_refund(work.connection, refund)
    return refund


def _tell(work: TopUpBooks, refund: Refund) -> None:
    work.tell(
        NoticeType.TOP_UP_REFUNDED,
        refund_id=refund.id,
        receipt_number=work.top_up.receipt_number,
        amount=to_number(refund.amount_pico),
        credit=to_number(refund.credit_pico),
        bonus=to_number(refund.bonus_pico),
        tax=to_number(refund.tax_pico),
        reason=refund.reason,
    )
