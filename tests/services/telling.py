"""Accounts that are told things: notices as use cases write them."""

from __future__ import annotations

from typing import Any

from metering import clock, ids
from metering.ledger.notices import NoticeType
from metering.services.accounts import create_account
from metering.storage import notices
from metering.storage.books import lock_account
from metering.storage.database import Database, driver
from tests.messages.writing import DATA

_PAID = """
    INSERT INTO top_ups (account_id, id, origin, state, amount_usd, bonus_percent, bonus_usd, tax_usd,
                         paid_with, receipt_number, transfer_id, created_at, succeeded_at, closed_at)
    VALUES (%s, %s, 'checkout', 'succeeded', 1000, 5, 50, 70, 'Visa •••• 4242', 'ABC-0001', %s, %s, %s, %s)
"""


def an_account(database: Database, email: str | None = "ada@customer.example") -> str:
    """A new account that reads mail."""
    return create_account(database, "Ada", email=email).account.account_id


def tell(database: Database, account_id: str, kind: NoticeType, **data: Any) -> str:  # noqa: ANN401  (JSON)
    """Write a notice of the account; its id."""
    notice_id = ids.new_id()
    with database.transaction() as connection:
        raw = driver(connection)
        _, now = lock_account(raw, account_id)
        notices.append(raw, account_id, notice_id, kind, {**DATA.get(kind, {}), **data}, now)
    return notice_id


def a_paid_top_up(database: Database, account_id: str) -> str:
    """The row of a top-up of 1,000 that was paid, and of nothing else; its id."""
    top_up_id, now = ids.new_id(), clock.now()
    with database.transaction() as connection:
        driver(connection).execute(_PAID, [account_id, top_up_id, ids.new_id(), now, now, now])
    return top_up_id
