"""The provider's own figure for the task, held between two amounts, or a default where there is none."""

from __future__ import annotations

from fractions import Fraction

from metering.money import PICO_PER_USD
from metering.pricing.book import Charge
from metering.rating.charge_models.price import Price, task, times
from metering.rating.rating import LineItem
from metering.usage.meters import Quantity


def price(charge: Charge, meter: str) -> Price:
    """One task at its upstream cost; None where that is absent and the charge has no default."""

    def price_task(_quantity: Quantity, upstream: Quantity | None) -> LineItem | None:
        pico = charge.default_pico if upstream is None else times(upstream, Fraction(PICO_PER_USD))
        return None if pico is None else task(charge, meter, pico)

    return price_task
