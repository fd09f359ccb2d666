"""Where the money of one transfer came from and went: its events or reason, and the lots behind it."""

from __future__ import annotations

from typing import Final, NamedTuple

from metering.errors import NotFound
from metering.ledger.chart import Kind, LedgerAccount
from metering.services.lots import allocate
from metering.storage import lot_history, transfers
from metering.storage.database import Database, driver
from metering.storage.lot_history import EventShare, KeptLot, Moved, PaidFor, PartOf
from metering.storage.transfers import RecordedTransfer

# Of what a lot paid for; a lot of a busy account pays for a hundred thousand transfers.
MAX_PAID_FOR: Final = 100


class Payment(NamedTuple):
    """What a lot paid for the transfer, in picodollars; negative where it got something back."""

    lot: KeptLot
    amount_pico: int


class Trace(NamedTuple):
    """A transfer, what it was for, and what paid for it; amounts are picodollars.

    `owed_pico` is what no lot has paid yet. `settled` are debts, cancelled without a lot: by this transfer,
    or of it. Where the transfer brought credit, `lot` is what became of it and `paid_for` its newest uses.
    """

    transfer: RecordedTransfer
    events: list[EventShare]
    payments: list[Payment]
    owed_pico: int
    settled: list[Moved]
    lot: KeptLot | None
    paid_for: list[PaidFor]
    part_of: PartOf | None


def trace_transfer(database: Database, transfer_id: str) -> Trace:
    """All of it, with the account's lots brought up to date first; raises `NotFound`."""
    with database.snapshot() as connection:
        found = lot_history.find_accounts(driver(connection), transfer_id)
    if not found:
        raise NotFound("There is no such transfer.", param="transfer_id")
    # Ids are unique: a second account could only have it by a slip that nobody is meant to make.
    account_id = found[0]
    allocate(database, account_id)
    with database.snapshot() as connection:
        raw = driver(connection)
        recorded = transfers.find(raw, account_id, transfer_id)
        if recorded is None:
            raise NotFound("There is no such transfer.", param="transfer_id")
        moved = lot_history.list_movements(raw, account_id, transfer_id)
        paid: dict[str, int] = {}
        for one in moved:
            if one.lot_id is not None:
                paid[one.lot_id] = paid.get(one.lot_id, 0) + one.amount_pico
        lots = [(lot_history.find_lot(raw, account_id, lot_id), amount) for lot_id, amount in paid.items()]
        cost_pico = _cost_of(recorded)
        return Trace(
            recorded,
            lot_history.list_event_shares(raw, account_id, transfer_id, recorded.recorded_at, cost_pico)
            if cost_pico
            else [],
            [Payment(lot, amount) for lot, amount in lots if lot is not None],
            lot_history.find_owed(raw, account_id, transfer_id),
            [one for one in moved if one.lot_id is None],
            lot_history.find_lot(raw, account_id, transfer_id),
            lot_history.list_paid_for(raw, account_id, transfer_id, MAX_PAID_FOR),
            lot_history.find_top_up(raw, account_id, transfer_id),
        )


def _cost_of(recorded: RecordedTransfer) -> int:
    """What the transfer's events cost together: zero where it has to do with no revenue of usage."""
    one = recorded.transfer
    if one.source is LedgerAccount.CUSTOMER_CREDIT and _is_revenue(one.target):
        return one.amount_pico
    return -one.amount_pico if _is_revenue(one.source) else 0


def _is_revenue(account: LedgerAccount) -> bool:
    return account.kind is Kind.INCOME and account is not LedgerAccount.BREAKAGE
