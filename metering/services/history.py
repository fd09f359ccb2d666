"""An account's usage as its owner sees it: a page of events, its summary, the balance and the spend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from metering import clock
from metering.ledger.auto_topups import AutoTopUp
from metering.ledger.balance import Balance
from metering.services.lots import settle_expiry
from metering.storage import auto_topups, balances, usage_history
from metering.storage.database import Database, driver
from metering.usage.history import Cursor, EventStory, Filters, RecordedEvent


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
    auto_topup: AutoTopUp | None


def get_account_usage(
    database: Database, account_id: str, filters: Filters, *, before: Cursor | None, limit: int
) -> AccountUsage:
    """A page of at most `limit` events, and the spend of the window, which ignores the other filters."""
    now = clock.now()
    usage = _read_usage(database, account_id, filters, before, limit, now)
    if not usage.balance.may_expire(now):
        return usage
    settle_expiry(database, account_id)
    return _read_usage(database, account_id, filters, before, limit, clock.now())


def _read_usage(
    database: Database, account_id: str, filters: Filters, before: Cursor | None, limit: int, now: datetime
) -> AccountUsage:
    with database.snapshot() as connection:
        balance = balances.find_many(driver(connection), [account_id], now)[account_id]
        auto_topup = auto_topups.find(driver(connection), account_id)
        # One more than asked for tells whether there is another page.
        found = usage_history.list_events(connection, account_id, filters, before, limit + 1)
        spend = usage_history.spend_by_source(connection, account_id, filters.since, filters.until)
    events = found[:limit]
    last = events[-1] if len(found) > limit else None
    next_cursor = None if last is None else Cursor(last.created_at, last.sequence)
    return AccountUsage(balance, events, next_cursor, spend, auto_topup)


def find_events(database: Database, event_id: str) -> list[EventStory]:
    """Each event of this id, which is unique per account only, as it stands and how it came to that."""
    with database.snapshot() as connection:
        return usage_history.find_events(connection, event_id)


def list_unpriced(database: Database) -> list[tuple[str, str, int, datetime, datetime]]:
    """(model, reason, events, first and last created_at) of what has no price yet, most first."""
    with database.snapshot() as connection:
        return usage_history.unpriced_by_model(connection)
