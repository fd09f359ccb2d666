"""Money, exactly: whole picodollars inside, decimal text at the edges.

A picodollar is 10^-12 of a US dollar, the last place that the billing rules keep, so every amount in
the product is an `int` and addition can't lose anything. Names end in `_pico`. The one rounding, half to
even, once per line item, is `divide_half_even`.
"""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final

PLACES: Final = 12
PICO_PER_USD: Final = 10**PLACES
# NUMERIC(38,12) holds 26 digits before the point; one fewer leaves room for sums.
MAX_EXPONENT: Final = 24
_LAST_PLACE: Final = Decimal(1).scaleb(-PLACES)
_EXACT: Final = Context(prec=64, traps=[Inexact, InvalidOperation])


class AmountError(ValueError):
    """A text or number that is not an amount of dollars with at most 12 decimal places."""


def to_pico(amount: str | int | Decimal) -> int:
    """Read an amount of dollars exactly: `"1.08"` gives `1_080_000_000_000`.

    Raises `AmountError` for what is not a finite number, has more than 12 places or is out of range.
    """
    try:
        value = Decimal(amount)
        if not value.is_finite() or value.adjusted() > MAX_EXPONENT:
            raise AmountError(f"{amount!r} is not a finite amount below 10^{MAX_EXPONENT + 1}")
        return int(value.quantize(_LAST_PLACE, context=_EXACT).scaleb(PLACES, context=_EXACT))
    except Inexact as error:
        raise AmountError(f"{amount!r} has more than {PLACES} decimal places") from error
    except InvalidOperation as error:
        raise AmountError(f"{amount!r} is not a decimal number") from error


def to_decimal(pico: int) -> Decimal:
    """The amount as a Decimal of dollars with 12 places."""
    return Decimal(to_text(pico))


def to_text(pico: int) -> str:
    """The amount in dollars with all 12 places, never an exponent: `"0.216145680000"`."""
    whole, fraction = divmod(abs(pico), PICO_PER_USD)
    return f"{'-' if pico < 0 else ''}{whole}.{fraction:012d}"


def to_number(pico: int) -> str:
    """The amount as the shortest JSON number, never an exponent: `"42.5"`, `"0"`."""
    if pico < 0:
        return f"-{to_number(-pico)}"
    whole, fraction = divmod(pico, PICO_PER_USD)
    return f"{whole}.{fraction:012d}".rstrip("0") if fraction else str(whole)


def plain(value: Decimal) -> str:
    """Any finite Decimal as the shortest plain text, never an exponent: `"0.00000009"`."""
    if not value:
        return "0"  # without the sign and the places that a zero may have
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def divide_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` to the nearest whole number, a tie to the even one; denominator > 0."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient
