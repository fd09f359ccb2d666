"""What a receipt says of a top-up that was paid."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Receipt(NamedTuple):
    """A paid top-up and its buyer. Amounts are picodollars; the bonus was given, so it isn't in the total."""

    number: str
    paid_at: datetime
    account_id: str
    name: str
    email: str | None
    amount_pico: int
    bonus_percent: int
    bonus_pico: int
    tax_pico: int
    paid_with: str | None
    is_automatic: bool

    @property
    def total_pico(self) -> int:
        """What was paid."""
        return self.amount_pico + self.tax_pico

    @property
    def credit_pico(self) -> int:
        """By how much the balance rose."""
        return self.amount_pico + self.bonus_pico
