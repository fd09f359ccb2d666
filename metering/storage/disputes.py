"""Rows of disputes: how the processor says they stand, and what was made of that here."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from metering.ledger.disputes import Stage
from metering.ledger.top_ups import Parts
from metering.storage.keyed_rows import insert_row, read_row, select_rows, update_row
from metering.storage.payment_tables import disputes

_ROW: Final = disputes.c


class KnownDispute(NamedTuple):
    """A dispute; its parts are what it took, zero unless it is lost."""

    account_id: str
    id: str
    top_up_id: str
    status: str
    stage: Stage
    reason: str
    amount_pico: int
    opened_at: datetime
    updated_at: datetime
    credit_pico: int = 0
    bonus_pico: int = 0
    tax_pico: int = 0

    @property
    def parts(self) -> Parts:
        """What it took."""
        return Parts(self.credit_pico, self.bonus_pico, self.tax_pico)


def insert_dispute(connection: Connection, dispute: KnownDispute) -> None:
    """Record a dispute."""
    insert_row(connection, disputes, dispute)


def update_dispute(connection: Connection, account_id: str, dispute_id: str, **changes: Any) -> None:  # noqa: ANN401  (fields)
    """Change fields of a dispute; its account is locked."""
    update_row(connection, disputes, account_id, dispute_id, changes)


def list_disputes(connection: Connection, account_id: str, top_up_id: str) -> list[KnownDispute]:
    """The top-up's disputes, oldest first."""
    query = select_rows(disputes, KnownDispute, account_id).where(_ROW.top_up_id == top_up_id)
    return [read_row(KnownDispute, row) for row in connection.execute(query.order_by(_ROW.opened_at))]
