"""Rows that say under which id the processor knows a customer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from metering.storage.payment_tables import payment_customers


def find_customer(connection: Connection, account_id: str) -> str | None:
    """The processor's id of the account's customer."""
    row = payment_customers.c
    return connection.scalar(select(row.customer_id).where(row.account_id == account_id))


def find_account(connection: Connection, customer_id: str) -> str | None:
    """The account whose customer the processor knows under this id."""
    row = payment_customers.c
    found = connection.scalar(select(row.account_id).where(row.customer_id == customer_id).limit(1))
    return None if found is None else str(found)


def find_oldest(connection: Connection) -> datetime | None:
    """When the processor first heard of a customer of ours."""
    oldest: datetime | None = connection.scalar(select(func.min(payment_customers.c.created_at)))
    return oldest


def keep_customer(connection: Connection, account_id: str, customer_id: str, now: datetime) -> None:
    """Note the processor's id of the account's customer, unless another one was noted before."""
    query = insert(payment_customers).values(account_id=account_id, customer_id=customer_id, created_at=now)
    connection.execute(query.on_conflict_do_nothing())
