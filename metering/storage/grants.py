"""Rows of grants: what was given, under which idempotency key, and the first answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, insert, select

from metering.ledger.grants import GrantKind
from metering.money import to_decimal, to_pico
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


_AMOUNTS: Final = ("amount", "balance_after")
_COLUMNS: Final = [grants.c[name.replace("_pico", "_usd")] for name in Grant._fields]


def insert_grant(connection: Connection, grant: Grant) -> None:
    """Record a grant whose transfer is recorded."""
    values: dict[str, Any] = grant._asdict()
    for name in _AMOUNTS:
        values[f"{name}_usd"] = to_decimal(values.pop(f"{name}_pico"))
    connection.execute(insert(grants).values(**values))


def find_by_idempotency_key(connection: Connection, account_id: str, idempotency_key: str) -> Grant | None:
    """The account's grant under this key."""
    query = select(*_COLUMNS).where(
        grants.c.account_id == account_id, grants.c.idempotency_key == idempotency_key
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
    for name in ("id", "account_id", "transfer_id"):
        values[name] = str(values[name])
    for name in _AMOUNTS:
        values[f"{name}_pico"] = to_pico(values.pop(f"{name}_usd"))
    return Grant(**values)
