"""What a key may spend in a day, a month or in all."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import NamedTuple


class BudgetPeriod(StrEnum):
    """How often a budget begins anew, by the calendar of UTC; `total` never does."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"

    def begins(self, now: datetime) -> date:
        """The first day that counts at `now`."""
        today = now.astimezone(UTC).date()
        if self is BudgetPeriod.TOTAL:
            return date.min
        return today.replace(day=1) if self is BudgetPeriod.MONTH else today


class BudgetTerms(NamedTuple):
    """At most `amount_pico` picodollars in each period."""

    amount_pico: int
    period: BudgetPeriod
