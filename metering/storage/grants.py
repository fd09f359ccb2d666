"""Rows of grants: what was asked for, under which idempotency key, and the first answer."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection, insert, select

from metering.ledger.grants import GrantTerms
from metering.money import to_decimal, to_pico
from metering.storage.tables import grants

_COLUMNS: Final = (
    grants.c.id,
    grants.c.transfer_id,
    grants.c.kind,
    grants.c.amount_usd,
    grants.c.reason,
    grants.c.priority,
    grants.c.expires_at,
    grants.c.actor,
    grants.c.idempotency_key,
    grants.c.balance_after_usd,
    grants.c.created_at,
)


class Grant(NamedTuple):
    """A grant as recorded; `posted_after_pico` is the posted balance that the first answer gave."""

    id: str
    account_id: str
    transfer_id: str
    terms: GrantTerms
    actor: str
    idempotency_key: str
    posted_after_pico: int
    created_at: datetime


def insert_grant(connection: Connection, grant: Grant) -> None:
    """Record a grant whose transfer is recorded."""
    connection.execute(
        insert(grants).values(
            id=grant.id,
            account_id=grant.account_id,
            transfer_id=grant.transfer_id,
            kind=grant.terms.kind,
            amount_usd=to_decimal(grant.terms.amount_pico),
            reason=grant.terms.reason,
            priority=grant.terms.priority,
            expires_at=grant.terms.expires_at,
            body_digest=grant.terms.digest(),
            actor=grant.actor,
            idempotency_key=grant.idempotency_key,
            balance_after_usd=to_decimal(grant.posted_after_pico),
            created_at=grant.created_at,
        )
    )


def find_by_idempotency_key(
    connection: Connection, account_id: str, idempotency_key: str
) -> tuple[Grant, bytes] | None:
    """The account's grant under this key and its terms' digest, or None."""
    query = select(grants.c.body_digest, *_COLUMNS).where(
        grants.c.account_id == account_id, grants.c.idempotency_key == idempotency_key
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    terms = GrantTerms(row.kind, to_pico(row.amount_usd), row.reason, row.priority, row.expires_at)
    grant = Grant(
        str(row.id),
        account_id,
        str(row.transfer_id),
        terms,
        row.actor,
        row.idempotency_key,
        to_pico(row.balance_after_usd),
        row.created_at,
    )
    return grant, row.body_digest
