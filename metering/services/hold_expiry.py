"""Holds that nobody came back for, closed behind the request path.

Time alone ends a hold, and whoever next asks to hold something of the account closes those that have ended.
There may be many after an outage of a gateway, and they are not to be that caller's work.
"""

from __future__ import annotations

from typing import Any, Final

from metering import clock
from metering.ledger.holds import Closing, HoldState
from metering.storage import balances, holds
from metering.storage.books import lock_account
from metering.storage.database import Database, driver
from metering.storage.lots import NO_ACCOUNT

# Holds closed in one transaction: for so long its account's lock keeps the requests waiting.
CHUNK: Final = 1_000
_PAGE: Final = 1_000


def close_expired(database: Database, *, chunk: int = CHUNK) -> int:
    """Close the open holds of all accounts whose time is up: how many there were.

    A transaction for each account and `chunk`, so that it can be stopped at any time.
    """
    closed, after = 0, NO_ACCOUNT
    while True:
        with database.snapshot() as connection:
            found = holds.list_accounts_with_ended(driver(connection), after, clock.now(), _PAGE)
        for account_id in found:
            more = chunk
            while more == chunk:
                with database.transaction() as connection:
                    more = _close(driver(connection), account_id, chunk)
                closed += more
        if len(found) < _PAGE:
            return closed
        after = found[-1]


def _close(raw: Any, account_id: str, most: int) -> int:  # noqa: ANN401  (the driver's)
    """Close up to `most` of the account's: how many there were."""
    holds.pin_plans(raw)
    books, _ = lock_account(raw, account_id)
    # The clock's time, not the books': those may be of a machine whose clock is ahead.
    now = clock.now()
    ended = holds.list_ended(raw, account_id, now, most)
    if ended:
        holds.close_many(raw, [Closing(account_id, hold.id, HoldState.EXPIRED) for hold in ended], now)
        books.held_pico -= sum(hold.amount_pico for hold in ended)
        balances.set_held(raw, [books])
    return len(ended)
