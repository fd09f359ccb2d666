"""Receipts of what was paid."""

from __future__ import annotations

from metering.errors import NotFound
from metering.ledger.receipts import Receipt
from metering.storage import receipts
from metering.storage.database import Database, driver


def get_receipt(database: Database, account_id: str, top_up_id: str) -> Receipt:
    """The receipt of the account's top-up; raises `NotFound` where it wasn't paid."""
    with database.snapshot() as connection:
        found = receipts.find(driver(connection), account_id, top_up_id)
    if found is None:
        raise NotFound("The account has no such top-up that was paid.", param="top_up_id")
    return found
