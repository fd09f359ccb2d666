"""Disputes as the processor shows them: credit frozen, clawed back, restored (accounting.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from metering import telemetry
from metering.ledger.auto_topups import OffReason
from metering.ledger.disputes import Stage, stage_of
from metering.ledger.top_ups import CENT_PICO, NOTHING, part_of
from metering.ledger.transfers import TransferKind
from metering.payments import gateway
from metering.services.auto_topups import switch_off
from metering.services.top_up_books import TopUpBooks
from metering.storage import disputes, top_ups
from metering.storage.database import Database
from metering.storage.disputes import KnownDispute

_LOST: Final = "Chargeback"
_REVERSED: Final = "The chargeback was reversed"
_IS_AGAINST: Final[frozenset[Stage]] = frozenset({"frozen", "lost"})
_LOG: Final = telemetry.log(__name__)


def apply_disputes(work: TopUpBooks, seen: Sequence[gateway.Dispute]) -> None:
    """Freeze, take and restore as the disputes of a succeeded payment make necessary; the lots are locked."""
    for one in seen:
        if one.currency == "usd":
            _move(work, one)
        else:
            telemetry.UNSETTLED_TOTAL.labels("dispute_currency").inc()
            _LOG.error("dispute in another currency", dispute_id=one.id, currency=one.currency)


def list_disputes(database: Database, account_id: str, top_up_id: str) -> list[KnownDispute]:
    """The top-up's disputes, oldest first; raises `NotFound`."""
    with database.snapshot() as connection:
        top_ups.get_top_up(connection, account_id, top_up_id)
        return disputes.list_disputes(connection, account_id, top_up_id)


def _move(work: TopUpBooks, one: gateway.Dispute) -> None:
    top_up = work.top_up
    known = {row.id: row for row in disputes.list_disputes(work.connection, top_up.account_id, top_up.id)}
    row = known.get(one.id)
    before: Stage | None = None if row is None else row.stage
    stage = stage_of(one.status, before)
    if row is None:
        row = _record(work, one, stage)
    elif (one.status, stage) != (row.status, row.stage):
        changes = {"status": one.status, "stage": stage, "updated_at": work.now}
        disputes.update_dispute(work.connection, row.account_id, row.id, **changes)
        work.moved()
    if stage == before:
        return
    others_freeze = any(other.stage == "frozen" for other in known.values() if other.id != one.id)
    # Thawed lots pay what is owed first, as they would have, had they never been frozen.
    if before == "frozen" and not others_freeze:
        work.lots.thaw(top_up.lot_ids)
    if stage == "lost":
        _claw_back(work, row)
    elif before == "lost":
        work.give_back(reason=_REVERSED, dispute_id=row.id)
        disputes.update_dispute(work.connection, row.account_id, row.id, **NOTHING._asdict())
    if stage == "frozen" and not others_freeze:
        work.lots.freeze(top_up.lot_ids)
    # Also once it is lost: what it takes is not to be bought again with the same card.
    if stage in _IS_AGAINST:
        told = {"top_up_id": top_up.id, "dispute_id": row.id}
        switch_off(work.raw, work.books, OffReason.DISPUTE, work.now, **told)


def _record(work: TopUpBooks, one: gateway.Dispute, stage: Stage) -> KnownDispute:
    row = KnownDispute(
        account_id=work.top_up.account_id,
        id=one.id,
        top_up_id=work.top_up.id,
        status=one.status,
        stage=stage,
        reason=one.reason,
        amount_pico=one.amount * CENT_PICO,
        opened_at=one.opened_at,
        updated_at=work.now,
    )
    disputes.insert_dispute(work.connection, row)
    work.moved()
    return row


def _claw_back(work: TopUpBooks, row: KnownDispute) -> None:
    """Take what the dispute took: of the payment, its share of the bonus and of the tax."""
    top_up = work.top_up
    parts = part_of(top_up.parts, top_up.bonus_percent, work.gone(), row.amount_pico)
    disputes.update_dispute(work.connection, row.account_id, row.id, **parts._asdict())
    work.take(parts, TransferKind.DISPUTE, reason=_LOST, dispute_id=row.id)
