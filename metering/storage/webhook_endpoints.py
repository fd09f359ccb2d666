"""Rows of webhook_endpoints: where customers want to be told, and of what."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, update

from metering.storage.notice_tables import webhook_endpoints


class Endpoint(NamedTuple):
    """An endpoint without its secret; `off_reason` says why it was switched off, where we did so."""

    id: str
    account_id: str
    url: str
    types: list[str]
    is_enabled: bool
    off_reason: str | None
    created_at: datetime


_COLUMNS: Final = [webhook_endpoints.c[name] for name in Endpoint._fields]


def insert_endpoint(connection: Connection, endpoint: Endpoint, secret: str) -> None:
    """Record a new endpoint."""
    connection.execute(insert(webhook_endpoints).values(secret=secret, **endpoint._asdict()))


def count_endpoints(connection: Connection, account_id: str) -> int:
    """How many the account has."""
    query = select(func.count()).where(*_of(account_id))
    return connection.execute(query).scalar_one()


def list_endpoints(connection: Connection, account_id: str) -> list[Endpoint]:
    """The account's endpoints, oldest first."""
    query = select(*_COLUMNS).where(*_of(account_id)).order_by(webhook_endpoints.c.id)
    return [_endpoint(row) for row in connection.execute(query)]


def find_endpoint(connection: Connection, account_id: str, endpoint_id: str) -> Endpoint | None:
    """The account's endpoint, unless it was removed."""
    row = connection.execute(_one(account_id, endpoint_id)).one_or_none()
    return None if row is None else _endpoint(row)


def lock_endpoint(connection: Connection, account_id: str, endpoint_id: str) -> Endpoint | None:
    """The same, which nobody else changes before this transaction ends."""
    query = _one(account_id, endpoint_id).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    return None if row is None else _endpoint(row)


def update_endpoint(
    connection: Connection,
    account_id: str,
    endpoint_id: str,
    **values: Any,  # noqa: ANN401  (columns)
) -> Endpoint | None:
    """The account's endpoint with these columns changed, unless it was removed."""
    query = update(webhook_endpoints).where(*_of(account_id), webhook_endpoints.c.id == endpoint_id)
    row = connection.execute(query.values(**values).returning(*_COLUMNS)).one_or_none()
    return None if row is None else _endpoint(row)


def _one(account_id: str, endpoint_id: str) -> Select[Any]:
    return select(*_COLUMNS).where(*_of(account_id), webhook_endpoints.c.id == endpoint_id)


def _of(account_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return webhook_endpoints.c.account_id == account_id, webhook_endpoints.c.removed_at.is_(None)


def _endpoint(row: Any) -> Endpoint:  # noqa: ANN401  (a row)
    id_, account_id, *rest = row
    return Endpoint(str(id_), str(account_id), *rest)
