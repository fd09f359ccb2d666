"""Accounts' books, locked and kept: how every use case moves money.

Lock the accounts, read the clock, post, keep. Where a balance falls below one of its thresholds, the
transaction that made it fall notes so: one purchase of the auto top-up at a time, and a notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from metering import clock, ids
from metering.errors import AccountNotFound
from metering.ledger.books import Books
from metering.ledger.notices import NoticeType
from metering.money import to_number
from metering.storage import auto_topups, balances, notices, transfers


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
        if books.fell_below(books.auto_topup_below_pico):
            auto_topups.open_purchase(connection, books.account_id, ids.new_id(), books.moment(now))
        if books.fell_below(books.low_balance_pico):
            told = {
                "balance": to_number(books.posted_pico),
                "threshold": to_number(books.low_balance_pico or 0),
            }
            kind = NoticeType.BALANCE_LOW
            notices.append(connection, books.account_id, ids.new_id(), kind, told, books.moment(now))
