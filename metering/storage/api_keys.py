"""Rows of api_keys: the hash of each key, and what its owner may see of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from metering.storage.tables import api_keys

_COLUMNS: Final = (
    api_keys.c.id,
    api_keys.c.account_id,
    api_keys.c.name,
    api_keys.c.prefix,
    api_keys.c.last_four,
    api_keys.c.created_at,
    api_keys.c.revoked_at,
)


class ApiKey(NamedTuple):
    """A customer's key without its secret."""

    id: str
    account_id: str
    name: str | None
    prefix: str
    last_four: str
    created_at: datetime
    revoked_at: datetime | None = None


def insert_api_key(connection: Connection, key: ApiKey, key_hash: bytes) -> None:
    """Record a new key."""
    connection.execute(insert(api_keys).values(key_hash=key_hash, **key._asdict()))


def count_open(connection: Connection, account_id: str) -> int:
    """How many of the account's keys are not revoked."""
    query = (
        select(func.count())
        .select_from(api_keys)
        .where(api_keys.c.account_id == account_id, api_keys.c.revoked_at.is_(None))
    )
    return connection.execute(query).scalar_one()


def list_api_keys(connection: Connection, account_id: str, *, before: str | None, limit: int) -> list[ApiKey]:
    """Up to `limit` of the account's keys, revoked ones too, newest first, beginning after the id `before`."""
    query = select(*_COLUMNS).where(api_keys.c.account_id == account_id)
    if before is not None:
        query = query.where(api_keys.c.id < before)
    return [_key(row) for row in connection.execute(query.order_by(api_keys.c.id.desc()).limit(limit))]


def find_by_hash(connection: Connection, key_hash: bytes) -> ApiKey | None:
    """The key with this hash, unless it was revoked."""
    query = select(*_COLUMNS).where(api_keys.c.key_hash == key_hash, api_keys.c.revoked_at.is_(None))
    row = connection.execute(query).first()
    return None if row is None else _key(row)


def revoke(connection: Connection, account_id: str, key_id: str, now: datetime) -> bool:
    """Revoke the key, for the first time if it wasn't; False if the account has no such key."""
    answer = connection.execute(
        update(api_keys)
        .where(api_keys.c.account_id == account_id, api_keys.c.id == key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, now))
    )
    return answer.rowcount == 1


def _key(row: Sequence[Any]) -> ApiKey:
    key_id, account_id, *rest = row
    return ApiKey(str(key_id), str(account_id), *rest)
