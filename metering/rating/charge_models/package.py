"""A price per package, such as `per 5 URLs`: a begun package counts whole."""

from __future__ import annotations

from metering.pricing.book import Charge
from metering.rating.charge_models.price import Price, ceiling, term_of, times
from metering.rating.rating import LineItem
from metering.usage.meters import Quantity


def price(charge: Charge, meter: str) -> Price:
    """The packages that the quantity begins, each at the rate; the line item counts what was used."""
    term = term_of(charge, meter)
    package_pico = charge.rates[meter].pico_per_unit * charge.size

    def price_packages(quantity: Quantity, _upstream: Quantity | None) -> LineItem:
        return LineItem(term, quantity, times(ceiling(quantity, charge.size), package_pico))

    return price_packages
