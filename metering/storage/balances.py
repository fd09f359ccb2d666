"""Rows of balances: locked in order, then moved once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from metering.ledger.balance import Balance
from metering.ledger.books import Books
from metering.money import to_number, to_pico
from metering.storage.asked import ACCOUNTS_ASKED, Asked
from metering.storage.copying import array, moments

# Sorted, so that two transactions that want the same accounts wait for each other and never in a circle.
_LOCK_THOSE: Final = """
    SELECT account_id::text, (posted_usd * 1000000000000)::numeric(38,0)::text,
           (held_usd * 1000000000000)::numeric(38,0)::text, event_count, transfer_count, updated_at,
           next_expiry_at, (frozen_usd * 1000000000000)::numeric(38,0)::text,
           (auto_topup_below_usd * 1000000000000)::numeric(38,0)::text,
           (low_balance_usd * 1000000000000)::numeric(38,0)::text
      FROM balances WHERE account_id = ANY({}) ORDER BY balances.account_id FOR UPDATE
"""
_LOCK: Final = _LOCK_THOSE.format("%s::uuid[]").encode()
_LOCK_ASKED: Final = _LOCK_THOSE.format(ACCOUNTS_ASKED).encode()
_MOVE: Final = """
    UPDATE balances AS kept
       SET posted_usd = moved.posted_usd, held_usd = moved.held_usd, event_count = moved.event_count,
           transfer_count = moved.transfer_count, updated_at = moved.updated_at
      FROM unnest(%s::uuid[], %s::numeric[], %s::numeric[], %s::bigint[], %s::bigint[], %s::timestamptz[])
           AS moved (account_id, posted_usd, held_usd, event_count, transfer_count, updated_at)
     WHERE kept.account_id = moved.account_id
"""
_SET_HELD: Final = """
    UPDATE balances AS kept SET held_usd = moved.held_usd
      FROM unnest(%s::uuid[], %s::numeric[]) AS moved (account_id, held_usd)
     WHERE kept.account_id = moved.account_id
"""
_SET_FROZEN: Final = "UPDATE balances SET frozen_usd = %s WHERE account_id = %s"
_SET_THRESHOLDS: Final = """
    UPDATE balances SET auto_topup_below_usd = %s, low_balance_usd = %s WHERE account_id = %s
"""
_FIND_LOW: Final = "SELECT low_balance_usd FROM balances WHERE account_id = %s"
_SET_EXPIRY: Final = "UPDATE balances SET next_expiry_at = %s WHERE account_id = %s"
# A hold whose time is up counts for nothing, also before anybody has closed it.
_FIND: Final = """
    SELECT account_id::text, posted_usd, held_usd - coalesce((
               SELECT sum(amount_usd) FROM holds
                WHERE holds.account_id = balances.account_id AND state = 'open' AND expires_at <= %s), 0),
           updated_at, next_expiry_at, frozen_usd
      FROM balances WHERE account_id = ANY(%s::uuid[])
"""
_OPEN: Final = "INSERT INTO balances (account_id, low_balance_usd) VALUES (%s, %s)"


def open_account(connection: Connection[Any], account_id: str, low_balance_pico: int | None) -> None:
    """Give a new account its balance of zero, and below what its customer is to be told of it."""
    low = None if low_balance_pico is None else to_number(low_balance_pico)
    connection.execute(_OPEN, [account_id, low])


def lock_many(connection: Connection[Any], account_ids: Sequence[str]) -> Iterable[Books]:
    """The books of those accounts that exist, locked until the end; in a pipeline, to be read after it."""
    return connection.cursor(row_factory=_books).execute(_LOCK, [array(account_ids)])


def lock_asked(connection: Connection[Any], asked: Asked) -> Iterable[Books]:
    """The same for accounts that are named by a key or a hold."""
    return connection.cursor(row_factory=_books).execute(_LOCK_ASKED, asked)


def _books(_cursor: object) -> Callable[[Sequence[Any]], Books]:
    def made(row: Sequence[Any]) -> Books:
        account_id, posted, held, events, transfers, updated_at, next_expiry_at, frozen, *thresholds = row
        below, low = (None if one is None else int(one) for one in thresholds)
        return Books(
            account_id,
            int(posted),
            int(held),
            events,
            transfers,
            updated_at,
            next_expiry_at,
            int(frozen),
            below,
            low,
        )

    return made


def move_many(connection: Connection[Any], moved: Sequence[Books], now: datetime) -> None:
    """Keep what became of the books, each moved at its moment; but for `next_expiry_at`."""
    if moved:
        columns = [
            array(books.account_id for books in moved),
            array(to_number(books.posted_pico) for books in moved),
            array(to_number(books.held_pico) for books in moved),
            array(books.event_count for books in moved),
            array(books.transfer_count for books in moved),
            moments(books.moment(now) for books in moved),
        ]
        connection.execute(_MOVE, columns)


def set_held(connection: Connection[Any], held: Sequence[Books]) -> None:
    """Keep what is held, of books that nothing was posted to: the posted balance hasn't moved."""
    if held:
        columns = [
            array(books.account_id for books in held),
            array(to_number(books.held_pico) for books in held),
        ]
        connection.execute(_SET_HELD, columns)


def set_next_expiry(connection: Connection[Any], account_id: str, at: datetime | None) -> None:
    """Note when the account's next credit ends; its books are locked."""
    connection.execute(_SET_EXPIRY, [at, account_id])


def set_frozen(connection: Connection[Any], books: Books) -> None:
    """Keep how much is under dispute."""
    connection.execute(_SET_FROZEN, [to_number(books.frozen_pico), books.account_id])


def set_thresholds(connection: Connection[Any], books: Books) -> None:
    """Keep below what a fall is noticed."""
    below, low = (
        None if one is None else to_number(one)
        for one in (books.auto_topup_below_pico, books.low_balance_pico)
    )
    connection.execute(_SET_THRESHOLDS, [below, low, books.account_id])


def find_low_balance(connection: Connection[Any], account_id: str) -> int | None:
    """Below what balance, in picodollars, an account that exists wants to be told."""
    row = connection.execute(_FIND_LOW, [account_id]).fetchone()
    return None if row is None or row[0] is None else to_pico(row[0])


def find_many(connection: Connection[Any], account_ids: Iterable[str], now: datetime) -> dict[str, Balance]:
    """The balances of those accounts that exist as they are at `now`, without a lock."""
    rows = connection.execute(_FIND, [now, array(account_ids)])
    return {
        account_id: Balance(to_pico(posted), to_pico(held), updated_at, next_expiry_at, to_pico(frozen))
        for account_id, posted, held, updated_at, next_expiry_at, frozen in rows
    }
