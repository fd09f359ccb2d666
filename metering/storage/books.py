"""Accounts' books, locked and kept: how every use case moves money.

Lock the accounts, read the clock, post, keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from metering import clock
from metering.errors import AccountNotFound
from metering.ledger.books import Books
from metering.storage import balances, transfers


def lock_account(connection: Connection[Any], account_id: str) -> tuple[Books, datetime]:
    """The account's books, locked, and their moment now; raises `AccountNotFound`."""
    locked = list(balances.lock_many(connection, [account_id]))
    if not locked:
        raise AccountNotFound("There is no such account.", param="account_id")
    return locked[0], locked[0].moment(clock.now())


def keep_books(connection: Connection[Any], moved: Sequence[Books], now: datetime) -> None:
    """Record the transfers posted to the books, and the balances they left, each at its books' moment."""
    transfers.append(connection, moved, now)
    balances.move_many(connection, moved, now)
    for books in moved:
        if books.ends_sooner:
            balances.set_next_expiry(connection, books.account_id, books.next_expiry_at)
