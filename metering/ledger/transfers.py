"""A transfer: one positive amount from one ledger account to another, never changed once recorded."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

from metering.ledger.chart import LedgerAccount


class TransferKind(StrEnum):
    """Why money moved. The first five are the cost of usage; a reversal is the mirror of any other.

    The last three pass the customer's credit by: tax on a top-up, the processor's fee, and money that the
    processor paid out or took for a refund or a dispute.
    """

    USAGE = "usage"
    AMENDMENT = "amendment"
    RATING = "rating"
    RERATING = "rerating"
    EVENT_REVERSAL = "event_reversal"
    REVERSAL = "reversal"
    GRANT = "grant"
    ADJUSTMENT = "adjustment"
    GOODWILL = "goodwill"
    EXPIRY = "expiry"
    TOP_UP = "top_up"
    BONUS = "bonus"
    REFUND = "refund"
    DISPUTE = "dispute"
    TAX = "tax"
    FEE = "fee"
    SETTLEMENT = "settlement"


# What brings new credit; all other kinds, towards the customer, give back what was taken.
NEW_CREDIT: Final = frozenset(
    {
        TransferKind.GRANT,
        TransferKind.ADJUSTMENT,
        TransferKind.GOODWILL,
        TransferKind.TOP_UP,
        TransferKind.BONUS,
    }
)


class _Fields(NamedTuple):
    id: str
    account_id: str
    kind: TransferKind
    source: LedgerAccount
    target: LedgerAccount
    amount_pico: int
    effective_at: datetime
    reason: str | None = None
    actor: str | None = None
    reverses_id: str | None = None


class Transfer(_Fields):
    """One movement of `amount_pico` picodollars on the books of `account_id`.

    `effective_at` is when it happened; when it was recorded is the database's to say. `reverses_id` names
    the transfer that this one mirrors. Raises `ValueError` for what would not be a movement, as the table's
    CHECKs would.
    """

    __slots__ = ()

    def __new__(cls, *fields: Any, **named: Any) -> Self:  # noqa: ANN401  (the fields say what they are)
        """Refuse what the table's CHECKs refuse, before it gets there."""
        transfer = super().__new__(cls, *fields, **named)
        if transfer.amount_pico <= 0:
            raise ValueError(f"a transfer moves a positive amount, not {transfer.amount_pico}")
        if transfer.source is transfer.target:
            raise ValueError(f"a transfer moves between two accounts, not within {transfer.source}")
        return transfer

    @property
    def effect_pico(self) -> int:
        """What it adds to the customer's credit: negative where it takes, zero where it passes by."""
        if self.target is LedgerAccount.CUSTOMER_CREDIT:
            return self.amount_pico
        return -self.amount_pico if self.source is LedgerAccount.CUSTOMER_CREDIT else 0
