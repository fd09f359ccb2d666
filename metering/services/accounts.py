"""Accounts: open, read, change and list them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, TypedDict

from metering import clock, ids
from metering.ledger.balance import Balance
from metering.services.lots import settle_expiry
from metering.services.texts import checked, checked_email
from metering.storage import accounts, balances
from metering.storage.accounts import Account
from metering.storage.database import Database, driver

# The billing rules' defaults ("Access"); each is adjustable per account.
KEY_LIMIT: Final = 50
REQUESTS_PER_MINUTE: Final = 50
TOKENS_PER_MINUTE: Final = 2_000_000


class AccountView(NamedTuple):
    """An account and its balance, read in the same moment."""

    account: Account
    balance: Balance


class AccountChanges(TypedDict, total=False):
    """What to change of an account; metadata and an email that are None are taken away."""

    name: str
    metadata: Mapping[str, Any] | None
    key_limit: int
    requests_per_minute: int
    tokens_per_minute: int
    email: str | None


def create_account(
    database: Database,
    name: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    key_limit: int = KEY_LIMIT,
    requests_per_minute: int = REQUESTS_PER_MINUTE,
    tokens_per_minute: int = TOKENS_PER_MINUTE,
    email: str | None = None,
    low_balance_pico: int | None = None,
) -> AccountView:
    """A new account with a balance of zero; raises `InvalidParameter`.

    Its customer is told of a fall below `low_balance_pico`, None for never.
    """
    account = Account(
        ids.new_id(),
        checked(name, "name"),
        metadata,
        key_limit,
        requests_per_minute,
        tokens_per_minute,
        clock.now(),
        None if email is None else checked_email(email, "email"),
    )
    with database.transaction() as connection:
        accounts.insert_account(connection, account)
        balances.open_account(driver(connection), account.account_id, low_balance_pico)
    return AccountView(account, Balance(0, 0, None))


def get_account(database: Database, account_id: str) -> AccountView:
    """The account and its balance, less what has ended by now; raises `AccountNotFound`."""
    now = clock.now()
    view = _get_account(database, account_id, now)
    if not view.balance.may_expire(now):
        return view
    settle_expiry(database, account_id)
    return _get_account(database, account_id, clock.now())


def update_account(database: Database, account_id: str, changes: AccountChanges) -> AccountView:
    """The account as changed, and its balance; raises `AccountNotFound` and `InvalidParameter`.

    Limits hold from the next request on: keys beyond a lower `key_limit` go on working.
    """
    if "name" in changes:
        changes = {**changes, "name": checked(changes["name"], "name")}
    if changes.get("email") is not None:
        changes = {**changes, "email": checked_email(changes["email"] or "", "email")}
    if changes:
        with database.transaction() as connection:
            accounts.update_account(connection, account_id, **changes)
    return get_account(database, account_id)


def list_accounts(database: Database, *, after: str | None = None, limit: int) -> list[AccountView]:
    """Up to `limit` accounts in the order they were opened, those after the id `after`."""
    now = clock.now()
    views = _list_accounts(database, after, limit, now)
    ended = [view.account.account_id for view in views if view.balance.may_expire(now)]
    for account_id in ended:
        settle_expiry(database, account_id)
    return _list_accounts(database, after, limit, clock.now()) if ended else views


def _get_account(database: Database, account_id: str, now: datetime) -> AccountView:
    with database.snapshot() as connection:
        account = accounts.get_account(connection, account_id)
        return AccountView(account, balances.find_many(driver(connection), [account_id], now)[account_id])


def _list_accounts(database: Database, after: str | None, limit: int, now: datetime) -> list[AccountView]:
    with database.snapshot() as connection:
        found = accounts.list_accounts(connection, after=after, limit=limit)
        known = balances.find_many(driver(connection), [one.account_id for one in found], now)
    return [AccountView(account, known[account.account_id]) for account in found]
