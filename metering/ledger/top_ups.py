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

    def plus(self, other: Parts) -> Parts:
        """Both together."""
        return Parts(*(one + more for one, more in zip(self, other, strict=True)))


NOTHING: Final = Parts(0, 0, 0)


def bonus_of(amount_pico: int, percent: int) -> int:
    """The bonus on an amount of whole cents: exact, for a hundredth of a cent is whole picodollars."""
    return amount_pico * percent // 100


def part_of(whole: Parts, percent: int, gone: Parts, more_pico: int) -> Parts:
    """What `more_pico` of the payment is made of, where `gone` of it has gone back already.

    Tax is shared out to the cent, downwards over all that goes back, so that all parts together are the
    whole. Else a part depends on its own amount alone: what goes back beyond the whole payment takes its
    bonus, too, and comes out the same in whatever order it is heard of.
    """
    due_pico = whole.tax_pico * (gone.paid_pico + more_pico) // whole.paid_pico // CENT_PICO * CENT_PICO
    tax_pico = max(0, min(due_pico - gone.tax_pico, more_pico))
    credit_pico = more_pico - tax_pico
    return Parts(credit_pico, bonus_of(credit_pico, percent), tax_pico)


def refundable_credit(percent: int, rest_pico: int, bonus_rest_pico: int) -> int:
    """How much of the credit bought can go back, in whole cents, where so much of it and its bonus is left.

    What goes back takes its share of the bonus along; where that is used, the credit pays for it. So
    1,000 with a bonus of 50, of which 630 are used (the bonus first), leave 420: 400 and their 20.
    """
    with_bonus = (rest_pico + bonus_rest_pico) * 100 // (100 + percent)
    return max(0, min(rest_pico, with_bonus)) // CENT_PICO * CENT_PICO


def refundable_payment(whole: Parts, percent: int, gone: Parts, credit_pico: int) -> int:
    """How much of the payment can go back, tax included, where `credit_pico` of its credit can."""
    most_pico = whole.paid_pico - gone.paid_pico
    pico = min(most_pico, credit_pico * whole.paid_pico // whole.credit_pico // CENT_PICO * CENT_PICO)
    # The share above is right but for a cent or two of tax.
    while 0 < pico < most_pico and part_of(whole, percent, gone, pico + CENT_PICO).credit_pico <= credit_pico:
        pico += CENT_PICO
    while pico > 0 and part_of(whole, percent, gone, pico).credit_pico > credit_pico:
        pico -= CENT_PICO
    return max(0, pico)
