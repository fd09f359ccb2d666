"""How a charge turns quantity into money: a file, a registry line and a golden example for each model.

A charge model takes a `Charge` and one of its meters and returns a `Price`: a function from the usage's
quantity, and the upstream cost where it is known, to the charge's line items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from metering.pricing.book import Charge
from metering.rating.charge_models import dynamic, flat, graduated, package, per_unit, percentage, volume
from metering.rating.charge_models.price import Price

REGISTRY: Final[Mapping[str, Callable[[Charge, str], Price]]] = {
    "per_unit": per_unit.price,
    "flat": flat.price,
    "volume": volume.price,
    "graduated": graduated.price,
    "package": package.price,
    "percentage": percentage.price,
    "dynamic": dynamic.price,
}
