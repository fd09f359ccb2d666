"""The policy of top-ups (billing-rules: "Top-ups", "Auto top-up"): limits, the volume bonus, and the brakes.

Like prices it is data: `pricing_rules/top_ups.yml`, compiled and checked by `metering.pricing.loader`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple


class BonusTier(NamedTuple):
    """From `from_pico` paid, `percent` of the whole amount is given on top."""

    from_pico: int
    percent: int


class Ceiling(NamedTuple):
    """How often, and how much together, may be bought by itself in a period."""

    purchases: int
    amount_pico: int


class AutoTopUpPolicy(NamedTuple):
    """`retry_after` are the waits between tries of a card that declines; after the last it is switched off.

    More than `brake_purchases` within `brake_window` look like a runaway, and switch it off.
    """

    minimum_threshold_pico: int
    minimum_amount_of_threshold: int
    per_day: Ceiling
    per_month: Ceiling
    retry_after: tuple[timedelta, ...]
    brake_purchases: int
    brake_window: timedelta


class Seller(NamedTuple):
    """Who sells, as a receipt says it."""

    name: str
    address: tuple[str, ...]
    email: str
    tax_id: str | None


class TopUpPolicy(NamedTuple):
    """Everything about top-ups that is policy. Amounts are picodollars; `bonuses` ascend."""

    minimum_pico: int
    maximum_pico: int
    bonuses: tuple[BonusTier, ...]
    statement_descriptor: str
    low_balance_pico: int
    auto: AutoTopUpPolicy
    seller: Seller

    def bonus_percent(self, amount_pico: int) -> int:
        """The percentage of the whole amount that is given on top."""
        return max((tier.percent for tier in self.bonuses if amount_pico >= tier.from_pico), default=0)
