"""An account's usage as its owner sees it: a page of events, its summary, the balance and the spend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from metering import clock
from metering.ledger.balance import Balance
from metering.storage import balances, usage_history
from metering.storage.database import Database, driver
from metering.usage.history import Cursor, Filters, RecordedEvent


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """One moment of an account: everything here was read in the same snapshot.

    `events` are newest first; `next_cursor` is where the next page begins, None at
    the end. `spend` is picodollars by source over the filters' window.
    """

    balance: Balance
    events: list[RecordedEvent]
    next_cursor: Cursor | None
    spend: dict[str, int]


def get_account_usage(
    database: Database, account_id: str, filters: Filters, *, before: Cursor | None, limit: int
) -> AccountUsage:
    """A page of at most `limit` events, and the spend of the window, which ignores the other filters."""
    with database.snapshot() as connection:
        balance = balances.find_many(driver(connection), [account_id], clock.now())[account_id]
        # One more than asked for tells whether there is another page.
        found = usage_history.list_events(connection, account_id, filters, before, limit + 1)
        spend = usage_history.spend_by_source(connection, account_id, filters.since, filters.until)
    events = found[:limit]
    last = events[-1] if len(found) > limit else None
    next_cursor = None if last is None else Cursor(last.created_at, last.sequence)
    return AccountUsage(balance, events, next_cursor, spend)


def find_events(database: Database, event_id: str) -> list[tuple[str, RecordedEvent]]:
    """(account_id, event) of each event of this id, which is unique per account only."""
    with database.snapshot() as connection:
        return usage_history.find_events(connection, event_id)


def list_unpriced(database: Database) -> list[tuple[str, str, int, datetime, datetime]]:
    """(model, reason, events, first and last created_at) of what has no price yet, most first."""
    with database.snapshot() as connection:
        return usage_history.unpriced_by_model(connection)
