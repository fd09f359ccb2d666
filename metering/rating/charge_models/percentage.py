"""Cost plus a mark-up: the provider's own figure and so many percent, with a floor and a cap."""

from __future__ import annotations

from fractions import Fraction

from metering.money import PICO_PER_USD
from metering.pricing.book import Charge
from metering.rating.charge_models.price import Price, task, times
from metering.rating.rating import LineItem
from metering.usage.meters import Quantity


def price(charge: Charge, meter: str) -> Price:
    """One task at its upstream cost and the mark-up; None where the upstream cost is absent."""
    factor = (1 + Fraction(charge.percent or "0") / 100) * PICO_PER_USD

    def price_task(_quantity: Quantity, upstream: Quantity | None) -> LineItem | None:
        return None if upstream is None else task(charge, meter, times(upstream, factor))

    return price_task
