"""Lots, brought up to date before anybody reads them: what is left of each credit, and when it ends.

Laying transfers on lots runs behind the request path and needs no lock of the balance; expiry moves the
balance, and takes both locks.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

from metering import clock, ids
from metering.errors import AccountNotFound
from metering.ledger.books import Books
from metering.ledger.lots import Entry, Needs, needs_of
from metering.ledger.posting_rules import post_expiry
from metering.storage import balances, lot_history, lots
from metering.storage.books import keep_books, lock_account
from metering.storage.database import Database, driver
from metering.storage.lot_history import KeptLot, Totals
from metering.storage.lots import Position

# Transfers laid in one transaction: what a crash makes it do again, and what it keeps in memory.
CHUNK: Final = 5_000
_PAGE: Final = 1_000


class LotsPage(NamedTuple):
    """Some of an account's lots in the order of spending, and the totals of them all, read in one moment."""

    lots: list[KeptLot]
    has_more: bool
    totals: Totals


def _silent(_laid: int) -> None:
    """Tell nobody."""


def allocate(
    database: Database, account_id: str, *, chunk: int = CHUNK, tell: Callable[[int], None] = _silent
) -> int:
    """Lay the account's transfers on its lots up to the last one; how many were new.

    A transaction for each `chunk`, so that it can be stopped at any time; after each one, `tell` hears how
    many transfers it laid. Raises `AccountNotFound`.
    """
    laid = 0
    while True:
        with database.transaction() as connection:
            raw = driver(connection)
            _, more = _lay(raw, account_id, _lock(raw, account_id), chunk)
        laid += more
        tell(more)
        if more < chunk:
            return laid


def allocate_all(database: Database, *, tell: Callable[[int], None] = _silent) -> int:
    """Bring every account's lots up to date, as `allocate` does; how many transfers were laid."""
    laid, after = 0, lots.NO_ACCOUNT
    while True:
        with database.snapshot() as connection:
            found = lots.list_behind(driver(connection), after, _PAGE)
        for account_id in found:
            laid += allocate(database, account_id, tell=tell)
        if len(found) < _PAGE:
            return laid
        after = found[-1]


def expire_locked(raw: Any, books: Books, now: datetime) -> None:  # noqa: ANN401  (the driver's, which stays in storage)
    """Post the expiry of what has ended by `now`; `raw` is the driver's connection, the books are locked.

    To be called before anything else is posted to the books, and outside of a pipeline. The caller keeps
    the books, at `now`, where something was posted. Sets `next_expiry_at` anew.
    """
    if books.posted:
        raise ValueError("what has ended expires before anything else is posted")
    position, more = _lock(raw, books.account_id), CHUNK
    while more == CHUNK:
        position, more = _lay(raw, books.account_id, position, CHUNK)
    laid = lots.read_allocation(raw, books.account_id, position, Needs(0, 0, all_lots=False))
    for lot in laid.ended(now):
        books.post(post_expiry(ids.new_id(), books.account_id, lot.rest_pico, now))
    entries = [
        Entry(transfer.id, sequence, now, transfer.kind, transfer.effect_pico)
        for transfer, sequence, _ in books.posted
    ]
    for entry in entries:
        laid.lay(entry)
    if entries:
        lots.keep_allocation(raw, books.account_id, laid, position, entries[-1])
    books.next_expiry_at = lots.find_next_end(raw, books.account_id, now)
    balances.set_next_expiry(raw, books.account_id, books.next_expiry_at)


def settle_expiry(database: Database, account_id: str) -> int:
    """Post the expiry of the account's credit that has ended: the number of lots; `AccountNotFound`.

    Takes the balance's lock only where there is something to look at.
    """
    allocate(database, account_id)
    with database.snapshot() as connection:
        raw, now = driver(connection), clock.now()
        balance = balances.find_many(raw, [account_id], now)[account_id]
        if not balance.may_expire(now) and not lots.has_ended(raw, account_id, now):
            return 0
    with database.transaction() as connection:
        raw = driver(connection)
        books, now = lock_account(raw, account_id)
        expire_locked(raw, books, now)
        if books.posted:
            keep_books(raw, [books], now)
    return len(books.posted)


def expire_due(database: Database, *, tell: Callable[[int], None] = _silent) -> int:
    """Bring all lots up to date, as `allocate_all` does, and expire what has ended: the number of lots."""
    allocate_all(database, tell=tell)
    expired, after = 0, lots.NO_ACCOUNT
    while True:
        with database.snapshot() as connection:
            found = lots.list_due(driver(connection), after, _PAGE, clock.now())
        for account_id in found:
            expired += settle_expiry(database, account_id)
        if len(found) < _PAGE:
            return expired
        after = found[-1]


def list_lots(
    database: Database, account_id: str, *, with_empty: bool = False, after: str | None = None, limit: int
) -> LotsPage:
    """Up to `limit` lots in the order of spending, those behind the lot `after`; first brought up to date.

    Only those with a rest, unless `with_empty`. Raises `AccountNotFound`.
    """
    settle_expiry(database, account_id)
    with database.snapshot() as connection:
        raw = driver(connection)
        found = lot_history.list_lots(raw, account_id, with_empty=with_empty, after=after, limit=limit + 1)
        totals = lot_history.get_totals(raw, account_id)
    return LotsPage(found[:limit], len(found) > limit, totals)


def _lock(raw: Any, account_id: str) -> Position:  # noqa: ANN401  (the driver's)
    position = lots.lock_position(raw, account_id)
    if position is None:
        raise AccountNotFound("There is no such account.", param="account_id")
    return position


def _lay(raw: Any, account_id: str, position: Position, most: int) -> tuple[Position, int]:  # noqa: ANN401
    """Lay up to `most` transfers behind the locked position: the position then, and how many."""
    entries = lots.list_entries(raw, account_id, position, most)
    if not entries:
        return position, 0
    laid = lots.read_allocation(raw, account_id, position, needs_of(entries))
    for entry in entries:
        laid.lay(entry)
    return lots.keep_allocation(raw, account_id, laid, position, entries[-1]), len(entries)
