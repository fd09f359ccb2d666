"""A fee per request: one unless the usage says `requests`."""

from __future__ import annotations

from metering.pricing.book import Charge
from metering.rating.charge_models import per_unit
from metering.rating.charge_models.price import Price


def price(charge: Charge, meter: str) -> Price:
    """The fee, times the requests."""
    return per_unit.price(charge, meter)
