"""A transfer: one positive amount from one ledger account to another, never changed once recorded."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, Self

from metering.ledger.chart import LedgerAccount


class _Fields(NamedTuple):
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
