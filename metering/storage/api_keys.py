"""Rows of api_keys: the hash of each key, and what its owner may see of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from metering.storage.tables import api_keys


class ApiKey(NamedTuple):
    """A customer's key without its secret."""

    id: str
    account_id: str
    name: str | None
    prefix: str
    last_four: str
    created_at: datetime
    revoked_at: datetime | None = None


_COLUMNS: Final = [api_keys.c[name] for name in ApiKey._fields]


def insert_api_key(connection: Connection, key: ApiKey, key_hash: bytes) -> None:
    """Record a new key."""
    connection.execute(insert(api_keys).values(key_hash=key_hash, **key._asdict()))


def count_open(connection: Connection, account_id: str) -> int:
    """How many of the account's keys are not revoked."""
    query = select(func.count()).where(api_keys.c.account_id == account_id, api_keys.c.revoked_at.is_(None))
    return connection.execute(query).scalar_one()


def list_api_keys(connection: Connection, account_id: str, *, limit: int) -> list[ApiKey]:
    """The account's newest `limit` keys, revoked ones too, oldest first."""
    query = select(*_COLUMNS).where(api_keys.c.account_id == account_id)
    newest = connection.execute(query.order_by(api_keys.c.id.desc()).limit(limit))
    return [_key(*row) for row in newest][::-1]


def find_by_hash(connection: Connection, key_hash: bytes) -> ApiKey | None:
    """The key with this hash, unless it was revoked."""
    query = select(*_COLUMNS).where(api_keys.c.key_hash == key_hash, api_keys.c.revoked_at.is_(None))
    row = connection.execute(query).first()
    return None if row is None else _key(*row)


def revoke(connection: Connection, account_id: str, key_id: str, now: datetime) -> ApiKey | None:
    """Revoke the key, unless it was revoked before; None if the account has no such key."""
    row = connection.execute(
        update(api_keys)
        .where(api_keys.c.account_id == account_id, api_keys.c.id == key_id)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, now))
        .returning(*_COLUMNS)
    ).one_or_none()
    return None if row is None else _key(*row)


def _key(key_id: object, account_id: object, *rest: Any) -> ApiKey:  # noqa: ANN401  (a row's columns)
    return ApiKey(str(key_id), str(account_id), *rest)
