"""Rows of grants: what was given, under which idempotency key, and the first answer."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from metering.ledger.grants import GrantKind
from metering.storage.keyed_rows import find_row, insert_row
from metering.storage.ledger_tables import grants


class Grant(NamedTuple):
    """A grant as recorded; `balance_after_pico` is the posted balance that it left."""

    id: str
    account_id: str
    transfer_id: str
    kind: GrantKind
    amount_pico: int
    reason: str
    actor: str
    priority: int
    expires_at: datetime | None
    idempotency_key: str
    body_digest: bytes
    balance_after_pico: int
    created_at: datetime


def insert_grant(connection: Connection, grant: Grant) -> None:
    """Record a grant whose transfer is recorded."""
    insert_row(connection, grants, grant)


def find_by_idempotency_key(connection: Connection, account_id: str, idempotency_key: str) -> Grant | None:
    """The account's grant under this key."""
    return find_row(connection, grants, Grant, account_id, idempotency_key)
