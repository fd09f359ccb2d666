"""Lots, brought up to date before anybody reads them: what is left of each credit, and when it ends.

Laying transfers on lots runs behind the request path and needs no lock of the balance; expiry moves the
balance, and takes both locks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from metering import clock
from metering.services.laid_lots import CHUNK, LaidLots, lay_next, lock_lots
from metering.storage import balances, lot_history, lots
from metering.storage.books import keep_books, lock_account
from metering.storage.database import Database, driver
from metering.storage.lot_history import KeptLot, Totals

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
            _, more = lay_next(raw, account_id, lock_lots(raw, account_id), chunk)
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
        LaidLots.lock(raw, books, now)
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
