"""A transfer: one positive amount from one ledger account to another, never changed once recorded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from metering.ledger.chart import LedgerAccount


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement of `amount_pico` picodollars on the books of `account_id`.

    `effective_at` is when it happened; when it was recorded is the database's to say. `reverses_id` names
    the transfer that this one mirrors. Raises `ValueError` for what would not be a movement.
    """

    id: str
    account_id: str
    kind: str
    source: LedgerAccount
    target: LedgerAccount
    amount_pico: int
    effective_at: datetime
    reason: str | None = None
    actor: str | None = None
    reverses_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what the table's CHECKs refuse, before it gets there."""
        if self.amount_pico <= 0:
            raise ValueError(f"a transfer moves a positive amount, not {self.amount_pico}")
        if self.source is self.target:
            raise ValueError(f"a transfer moves between two accounts, not within {self.source}")
