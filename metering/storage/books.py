"""Accounts' books, locked and kept: how every use case moves money.

Lock the accounts, read the clock, post, keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from metering import clock
from metering.errors import AccountNotFound
from metering.ledger.books import Books
from metering.storage import balances, transfers


def moment_of(books: Iterable[Books]) -> datetime:
    """Now, and never before the accounts' last movement: an account's transfers are in order of time.

    To be asked once the locks are had. Machines' clocks differ a little; a later one counts then.
    """
    moved = [one.updated_at for one in books if one.updated_at is not None]
    return max([clock.now(), *moved])


def lock_account(connection: Connection[Any], account_id: str) -> tuple[Books, datetime]:
    """The account's books, locked, and the moment of this transaction; raises `AccountNotFound`."""
    locked = list(balances.lock_many(connection, [account_id]))
    if not locked:
        raise AccountNotFound("There is no such account.", param="account_id")
    return locked[0], moment_of(locked)


def keep_books(connection: Connection[Any], moved: Sequence[Books], at: datetime) -> None:
    """Record the transfers posted to the books, and the balances they left."""
    transfers.append(connection, [posted for books in moved for posted in books.posted], at)
    balances.move_many(connection, moved, at)
