"""What every charge model computes with."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

from metering.money import divide_half_even, to_number
from metering.pricing.book import Charge
from metering.rating.rating import LineItem, Term
from metering.usage.meters import Quantity

# From the quantity and the upstream cost (None if absent) to a line item, or None if it can't be priced.
Price: TypeAlias = Callable[[Quantity, Quantity | None], LineItem | None]


def term_of(charge: Charge, meter: str) -> Term:
    """What line items say of a charge with a rate."""
    return Term(charge.name, meter, charge.rates[meter].text, charge.per, charge.label)


def times(quantity: Quantity, rate: Fraction) -> int:
    """`quantity` x `rate` in picodollars, exact until its one rounding, half to even."""
    numerator, denominator = quantity.as_integer_ratio()
    return divide_half_even(numerator * rate.numerator, denominator * rate.denominator)


def linear(term: Term, rate: Fraction) -> Price:
    """A price proportional to the quantity, `rate` picodollars a unit."""
    return lambda quantity, _: LineItem(term, quantity, times(quantity, rate))


def task(charge: Charge, meter: str, pico: int) -> LineItem:
    """One task at a price of its own, held between the charge's two amounts."""
    amount = held_between(pico, charge.minimum_pico, charge.maximum_pico)
    return LineItem(Term(charge.name, meter, to_number(amount), charge.per, charge.label), 1, amount)


def held_between(pico: int, minimum: int | None, maximum: int | None) -> int:
    """The amount, raised to the minimum and lowered to the maximum."""
    if minimum is not None and pico < minimum:
        return minimum
    return maximum if maximum is not None and pico > maximum else pico


def ceiling(quantity: Quantity, size: int) -> int:
    """How many packages of `size` the quantity begins."""
    numerator, denominator = Decimal(quantity).as_integer_ratio()
    return -(-numerator // (denominator * size))
