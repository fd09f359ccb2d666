"""Rows of what moved on our account at the processor, each with the transfers that say so in the books."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from metering.storage.keyed_rows import insert_row
from metering.storage.payment_tables import processor_movements

_ROW: Final = processor_movements.c


class RecordedMovement(NamedTuple):
    """A movement, negative where it left us, and its fee; a payment's own amount came with the top-up."""

    account_id: str
    id: str
    top_up_id: str
    kind: str
    amount_pico: int
    fee_pico: int
    transfer_id: str | None
    fee_transfer_id: str | None
    occurred_at: datetime
    recorded_at: datetime


def insert_movement(connection: Connection, movement: RecordedMovement) -> None:
    """Record a movement."""
    insert_row(connection, processor_movements, movement)


def list_known(connection: Connection, account_id: str, movement_ids: list[str]) -> set[str]:
    """Those of the movements that are recorded."""
    query = select(_ROW.id).where(_ROW.account_id == account_id, _ROW.id.in_(movement_ids))
    return set(connection.scalars(query))
