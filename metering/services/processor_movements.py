"""What moved on our account at the processor: its fees, and the money of refunds and disputes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from metering import ids, telemetry
from metering.ledger.chart import LedgerAccount
from metering.ledger.posting_rules import post_fee, post_settlement
from metering.ledger.top_ups import CENT_PICO
from metering.payments.gateway import Movement, MovementKind
from metering.services.top_up_books import TopUpBooks
from metering.storage import processor_movements
from metering.storage.processor_movements import RecordedMovement

# A payment's own amount came in with its top-up.
_CLEARING: Final[dict[MovementKind, LedgerAccount]] = {
    "refund": LedgerAccount.REFUNDS,
    "refund_failure": LedgerAccount.REFUNDS,
    "dispute": LedgerAccount.DISPUTES,
    "dispute_reversal": LedgerAccount.DISPUTES,
}
_LOG: Final = telemetry.log(__name__)


def apply_movements(work: TopUpBooks, seen: Sequence[Movement]) -> None:
    """Post those movements of a succeeded payment that were not posted yet."""
    key = work.connection, work.top_up.account_id
    known = processor_movements.list_known(*key, [one.id for one in seen])
    for one in seen:
        if one.id in known:
            continue
        if one.currency == "usd":
            _post(work, one)
        else:
            telemetry.UNSETTLED_TOTAL.labels("movement_currency").inc()
            _LOG.error("movement in another currency", movement_id=one.id, currency=one.currency)


def _post(work: TopUpBooks, one: Movement) -> None:
    account_id, at = work.top_up.account_id, min(one.occurred_at, work.now)
    amount_pico, fee_pico = one.amount * CENT_PICO, one.fee * CENT_PICO
    transfer_id = fee_transfer_id = None
    clearing = _CLEARING.get(one.kind)
    if clearing is not None and amount_pico:
        transfer_id = ids.new_id()
        work.post(post_settlement(transfer_id, account_id, clearing, amount_pico, at))
    if fee_pico:
        fee_transfer_id = ids.new_id()
        work.post(post_fee(fee_transfer_id, account_id, fee_pico, at))
    recorded = RecordedMovement(
        account_id=account_id,
        id=one.id,
        top_up_id=work.top_up.id,
        kind=one.kind,
        amount_pico=amount_pico,
        fee_pico=fee_pico,
        transfer_id=transfer_id,
        fee_transfer_id=fee_transfer_id,
        occurred_at=one.occurred_at,
        recorded_at=work.now,
    )
    processor_movements.insert_movement(work.connection, recorded)
    work.moved()
