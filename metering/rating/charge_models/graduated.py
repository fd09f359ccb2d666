"""Graduated pricing: each tier prices the part of the quantity that lies in it."""

from __future__ import annotations

from metering.pricing.book import Charge
from metering.rating.charge_models import per_unit
from metering.rating.charge_models.price import Price
from metering.rating.rating import LineItem
from metering.usage.meters import Quantity, less


def price(charge: Charge, meter: str) -> Price:
    """The slice between the tier's bounds at the tier's rate; None where the quantity doesn't reach it."""
    of_slice = per_unit.price(charge, meter)
    above = (charge.tier.above if charge.tier else None) or 0
    up_to = charge.tier.up_to if charge.tier else None

    def price_slice(quantity: Quantity, upstream: Quantity | None) -> LineItem | None:
        end = quantity if up_to is None else min(quantity, up_to)
        return of_slice(less(end, above), upstream) if end > above else None

    return price_slice
