"""An account's statement: everything that moved its balance, with the balance after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from metering import clock
from metering.ledger.balance import Balance
from metering.ledger.statements import Line, Window
from metering.services.lots import settle_expiry
from metering.storage import accounts, balances, statements
from metering.storage.database import Database, driver
from metering.usage.history import Cursor

# Lines read at a time where all are wanted.
PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Statement:
    """One moment of an account: lines, newest first, and the balance that they lead to.

    `next_cursor` is where the next page begins, None at the end.
    """

    balance: Balance
    lines: list[Line]
    next_cursor: Cursor | None


def get_statement(
    database: Database, account_id: str, window: Window, *, before: Cursor | None, limit: int
) -> Statement:
    """A page of at most `limit` lines; credit that has ended meanwhile is among them as expired.

    Raises `AccountNotFound`.
    """
    statement = _read(database, account_id, window, before, limit)
    if statement.balance.may_expire(clock.now()):
        settle_expiry(database, account_id)
        statement = _read(database, account_id, window, before, limit)
    return statement


def iter_statement(
    database: Database, account_id: str, window: Window, *, page: int = PAGE
) -> Iterator[list[Line]]:
    """All lines, newest first, up to `page` at a time, each page read when it is asked for.

    What is recorded meanwhile is newer than where it began, and left out. The first page is always there,
    and may be empty. Raises `AccountNotFound`.
    """
    statement = get_statement(database, account_id, window, before=None, limit=page)
    yield statement.lines
    while statement.next_cursor is not None:
        statement = get_statement(database, account_id, window, before=statement.next_cursor, limit=page)
        yield statement.lines


def _read(
    database: Database, account_id: str, window: Window, before: Cursor | None, limit: int
) -> Statement:
    with database.snapshot() as connection:
        accounts.get_account(connection, account_id)
        balance = balances.find_many(driver(connection), [account_id], clock.now())[account_id]
        # One more than asked for tells whether there is another page.
        found = statements.list_lines(connection, account_id, window, before, limit + 1)
    lines = found[:limit]
    next_cursor = _after(lines) if len(found) > limit else None
    return Statement(balance, lines, next_cursor)


def _after(lines: list[Line]) -> Cursor:
    return Cursor(lines[-1].recorded_at, lines[-1].sequence)
