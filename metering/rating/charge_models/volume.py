"""Volume pricing: the tier that the request's whole quantity falls into prices all of it.

The tier is picked before the price is asked (`rating.matching`), so what is left is its own rate.
"""

from __future__ import annotations

from metering.pricing.book import Charge
from metering.rating.charge_models import per_unit
from metering.rating.charge_models.price import Price


def price(charge: Charge, meter: str) -> Price:
    """The whole quantity at the tier's rate."""
    return per_unit.price(charge, meter)
