"""The money of a top-up: its bonus, what of it can go back, and how a part of the payment is shared out.

A refund, and a dispute, of a part of what was paid takes the same part of the credit, of the bonus and of the
tax (billing-rules: "A refund takes its share of the bonus back with it"). Amounts are picodollars.
"""

from __future__ import annotations

from typing import Final, NamedTuple

CENT_PICO: Final = 10**10


class Parts(NamedTuple):
    """What a payment, or a part of it, is made of: credit bought, the bonus on it, and tax."""

    credit_pico: int
    bonus_pico: int
    tax_pico: int

    @property
    def paid_pico(self) -> int:
        """What the customer paid: the bonus was given."""
        return self.credit_pico + self.tax_pico


def bonus_of(amount_pico: int, percent: int) -> int:
    """The bonus on an amount of whole cents: exact, for a hundredth of a cent is whole picodollars."""
    return amount_pico * percent // 100


def part_of(whole: Parts, percent: int, before_pico: int, more_pico: int) -> Parts:
    """What `more_pico` of the payment is made of, where `before_pico` of it has gone back already.

    Tax is shared out to the cent, downwards, so that all parts together are the whole.
    """
    tax_pico = _tax_until(whole, before_pico + more_pico) - _tax_until(whole, before_pico)
    credit_pico = more_pico - tax_pico
    return Parts(credit_pico, bonus_of(credit_pico, percent), tax_pico)


def _tax_until(whole: Parts, paid_pico: int) -> int:
    return whole.tax_pico * paid_pico // whole.paid_pico // CENT_PICO * CENT_PICO


def refundable_credit(percent: int, rest_pico: int, bonus_rest_pico: int) -> int:
    """How much of the credit bought can go back, in whole cents, where so much is left of it and of its bonus.

    What goes back takes its share of the bonus along; where that is used, the credit pays for it. So
    1,000 with a bonus of 50, of which 630 are used (the bonus first), leave 420: 400 and their 20.
    """
    with_bonus = (rest_pico + bonus_rest_pico) * 100 // (100 + percent)
    return max(0, min(rest_pico, with_bonus)) // CENT_PICO * CENT_PICO
