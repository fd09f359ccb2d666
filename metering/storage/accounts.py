"""Rows of accounts: who the customers are and what they may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, insert, select, update

from metering.errors import AccountNotFound
from metering.storage.tables import accounts

_COLUMNS: Final = (
    accounts.c.account_id,
    accounts.c.name,
    accounts.c.metadata,
    accounts.c.key_limit,
    accounts.c.requests_per_minute,
    accounts.c.tokens_per_minute,
    accounts.c.created_at,
)


class Limits(NamedTuple):
    """What an account may use, shared by all its keys; the defaults are the billing rules'."""

    keys: int = 50
    requests_per_minute: int = 50
    tokens_per_minute: int = 2_000_000


class Account(NamedTuple):
    """A customer's account; `id` is a UUID in canonical text, numbers in `metadata` are int or Decimal."""

    id: str
    name: str
    metadata: Mapping[str, Any] | None
    limits: Limits
    created_at: datetime


def insert_account(connection: Connection, account: Account) -> None:
    """Record a new account."""
    connection.execute(
        insert(accounts).values(account_id=account.id, created_at=account.created_at, **_values(account))
    )


def update_account(connection: Connection, account: Account) -> None:
    """Write what may change of an account that this transaction has locked."""
    connection.execute(update(accounts).where(accounts.c.account_id == account.id).values(**_values(account)))


def get_account(connection: Connection, account_id: str) -> Account:
    """The account; raises `AccountNotFound`."""
    return _get(connection, _one(account_id))


def lock_account(connection: Connection, account_id: str) -> Account:
    """The account, which nobody else changes before this transaction ends; raises `AccountNotFound`."""
    # A lock that lets foreign keys be checked meanwhile.
    return _get(connection, _one(account_id).with_for_update(key_share=True))


def list_accounts(connection: Connection, *, before: str | None, limit: int) -> list[Account]:
    """Up to `limit` accounts, newest first, beginning after the id `before`."""
    query = select(*_COLUMNS).order_by(accounts.c.account_id.desc()).limit(limit)
    if before is not None:
        query = query.where(accounts.c.account_id < before)
    return [_account(row) for row in connection.execute(query)]


def _one(account_id: str) -> Select[Any]:
    return select(*_COLUMNS).where(accounts.c.account_id == account_id)


def _get(connection: Connection, query: Select[Any]) -> Account:
    row = connection.execute(query).one_or_none()
    if row is None:
        raise AccountNotFound("There is no such account.", param="account_id")
    return _account(row)


def _account(row: Sequence[Any]) -> Account:
    account_id, name, metadata, *limits, created_at = row
    return Account(str(account_id), name, metadata, Limits(*limits), created_at)


def _values(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "metadata": account.metadata,
        "key_limit": account.limits.keys,
        "requests_per_minute": account.limits.requests_per_minute,
        "tokens_per_minute": account.limits.tokens_per_minute,
    }
