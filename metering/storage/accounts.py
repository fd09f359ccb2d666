"""Rows of accounts: who the customers are and what they may use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from metering.errors import AccountNotFound
from metering.storage.tables import accounts


class Account(NamedTuple):
    """A customer's account; `account_id` is a UUID as text, the limits are shared by all its keys."""

    account_id: str
    name: str
    metadata: Mapping[str, Any] | None
    key_limit: int
    requests_per_minute: int
    tokens_per_minute: int
    created_at: datetime
    email: str | None = None


_ALL: Final = select(*(accounts.c[name] for name in Account._fields))


def insert_account(connection: Connection, account: Account) -> None:
    """Record a new account."""
    connection.execute(insert(accounts).values(**account._asdict()))


def get_account(connection: Connection, account_id: str) -> Account:
    """The account; raises `AccountNotFound`."""
    return _get(connection, _ALL.where(accounts.c.account_id == account_id))


def lock_account(connection: Connection, account_id: str) -> Account:
    """The account, which nobody else changes before this transaction ends; raises `AccountNotFound`."""
    # A lock that lets foreign keys be checked meanwhile.
    return _get(connection, _ALL.where(accounts.c.account_id == account_id).with_for_update(key_share=True))


def update_account(connection: Connection, account_id: str, **values: Any) -> Account:  # noqa: ANN401  (columns)
    """The account with these columns changed; raises `AccountNotFound`."""
    query = update(accounts).where(accounts.c.account_id == account_id).values(**values)
    return _get(connection, query.returning(*_ALL.selected_columns))


def list_accounts(connection: Connection, *, after: str | None, limit: int) -> list[Account]:
    """Up to `limit` accounts in the order they were opened, those after the id `after`."""
    query = _ALL.order_by(accounts.c.account_id).limit(limit)
    if after is not None:
        query = query.where(accounts.c.account_id > after)
    return [_account(*row) for row in connection.execute(query)]


def _get(connection: Connection, query: Select[Any] | ReturningUpdate[Any]) -> Account:
    row = connection.execute(query).one_or_none()
    if row is None:
        raise AccountNotFound("There is no such account.", param="account_id")
    return _account(*row)


def _account(account_id: object, *rest: Any) -> Account:  # noqa: ANN401  (a row's columns)
    return Account(str(account_id), *rest)
