"""What an account is told by mail: where to, and below what balance."""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

from metering.errors import InvalidParameter
from metering.money import PICO_PER_USD, to_number
from metering.services.texts import checked_email
from metering.storage import accounts, balances
from metering.storage.books import lock_account
from metering.storage.database import Database, driver

MAX_LOW_BALANCE_PICO: Final = 10**9 * PICO_PER_USD


class Notifications(NamedTuple):
    """Where to mail, None for nowhere; and below what balance to tell, None for never."""

    email: str | None
    low_balance_pico: int | None


class NotificationChanges(TypedDict, total=False):
    """What to change; None takes away."""

    email: str | None
    low_balance_pico: int | None


def get_notifications(database: Database, account_id: str) -> Notifications:
    """The account's settings; raises `AccountNotFound`."""
    with database.snapshot() as connection:
        account = accounts.get_account(connection, account_id)
        return Notifications(account.email, balances.find_low_balance(driver(connection), account_id))


def set_notifications(database: Database, account_id: str, changes: NotificationChanges) -> Notifications:
    """The account's settings as changed; raises `AccountNotFound` and `InvalidParameter`.

    Only a fall is told: a balance that is below the new threshold already is not.
    """
    email, low_pico = changes.get("email"), changes.get("low_balance_pico")
    if email is not None:
        email = checked_email(email, "email")
    if low_pico is not None and not 0 < low_pico <= MAX_LOW_BALANCE_PICO:
        most = to_number(MAX_LOW_BALANCE_PICO)
        raise InvalidParameter(f"must be more than zero and at most {most}", param="low_balance")
    with database.transaction() as connection:
        raw = driver(connection)
        books, _ = lock_account(raw, account_id)
        account = accounts.get_account(connection, account_id)
        if "email" in changes:
            account = accounts.update_account(connection, account_id, email=email)
        if "low_balance_pico" in changes:
            books.low_balance_pico = low_pico
            balances.set_thresholds(raw, books)
    return Notifications(account.email, books.low_balance_pico)
