"""Auto top-up switched off, whatever the reason, or resumed after a pause; the customer alone turns it on."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from metering import clock, ids
from metering.ledger.auto_topups import AutoTopUp, OffReason
from metering.ledger.books import Books
from metering.ledger.notices import NoticeType
from metering.money import to_number
from metering.storage import auto_topups, balances, notices, purchases
from metering.storage.books import lock_account
from metering.storage.database import Database, driver

CURRENCY: Final = "USD"
_PAGE: Final = 1_000


def switch_off(raw: Any, books: Books, reason: OffReason, now: datetime, **told: object) -> bool:  # noqa: ANN401  (the driver's)
    """Turn the account's off within a transaction, and tell the customer why; False where it was off.

    The books are locked, `now` is their moment; `told` goes into the notice. A purchase that is open is
    closed soon, by the worker.
    """
    asked = auto_topups.find(raw, books.account_id)
    if asked is None or not asked.is_enabled:
        return False
    auto_topups.switch_off(raw, books.account_id, reason, now)
    watch(raw, books, None)
    purchases.hasten(raw, books.account_id, now)
    data = {"reason": reason, "message": reason.says, **terms_told(asked), **told}
    notices.append(raw, books.account_id, ids.new_id(), NoticeType.AUTO_TOPUP_OFF, data, now)
    return True


def watch(raw: Any, books: Books, threshold_pico: int | None) -> None:  # noqa: ANN401  (the driver's)
    """Notice a fall of the balance below the threshold from now on; None: notice none."""
    books.auto_topup_below_pico = threshold_pico
    balances.set_thresholds(raw, books)


def terms_told(asked: AutoTopUp) -> dict[str, object]:
    """What was asked for, as a notice says it."""
    threshold, amount = to_number(asked.threshold_pico), to_number(asked.amount_pico)
    return {"threshold": threshold, "amount": amount, "currency": CURRENCY}


def resume_paused(database: Database) -> int:
    """End the pauses whose time is up, and buy where the balance is below the threshold: how many."""
    resumed = 0
    while True:
        with database.snapshot() as connection:
            found = auto_topups.list_paused(driver(connection), clock.now(), _PAGE)
        for account_id in found:
            with database.transaction() as connection:
                resumed += _resume(driver(connection), account_id)
        if len(found) < _PAGE:
            return resumed


def _resume(raw: Any, account_id: str) -> bool:  # noqa: ANN401  (the driver's)
    books, now = lock_account(raw, account_id)
    asked = auto_topups.find(raw, account_id)
    if asked is None or asked.paused_until is None or asked.paused_until > now:
        return False
    auto_topups.pause(raw, account_id, None)
    if books.posted_pico < asked.threshold_pico:
        auto_topups.open_purchase(raw, account_id, ids.new_id(), now)
    return True
