"""So much per unit, pro rata: one token of `$1.08 per 1M tokens` costs a millionth of it."""

from __future__ import annotations

from metering.pricing.book import Charge
from metering.rating.charge_models.price import Price, linear, term_of


def price(charge: Charge, meter: str) -> Price:
    """The price of a charge with one rate; `per` already stands in the rate."""
    return linear(term_of(charge, meter), charge.rates[meter].pico_per_unit)
