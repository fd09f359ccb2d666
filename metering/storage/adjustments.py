"""Rows of adjustments: credit given or taken by hand, under which idempotency key, and the first answer."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from metering.ledger.adjustments import AdjustmentKind
from metering.storage.keyed_rows import find_row, insert_row
from metering.storage.ledger_tables import adjustments


class Adjustment(NamedTuple):
    """An adjustment as recorded; `amount_pico` has the sign of its effect on the balance.

    `balance_after_pico` is the posted balance that it left.
    """

    id: str
    account_id: str
    transfer_id: str
    kind: AdjustmentKind
    amount_pico: int
    reason: str
    actor: str
    idempotency_key: str
    body_digest: bytes
    balance_after_pico: int
    created_at: datetime


def insert_adjustment(connection: Connection, adjustment: Adjustment) -> None:
    """Record an adjustment whose transfer is recorded."""
    insert_row(connection, adjustments, adjustment)


def find_by_idempotency_key(
    connection: Connection, account_id: str, idempotency_key: str
) -> Adjustment | None:
    """The account's adjustment under this key."""
    return find_row(connection, adjustments, Adjustment, account_id, idempotency_key)
