"""Which line of a rate card prices a meter: by variant, then by tier.

A rate card is prepared once into `Group`s, one for each meter that it prices, so that rating an event
touches only what can apply to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from metering.money import PICO_PER_USD, plain
from metering.pricing.book import Charge, RateCard
from metering.rating.charge_models import REGISTRY
from metering.rating.charge_models.price import Price, linear
from metering.rating.rating import Term
from metering.usage.meters import REQUESTS, TOTAL, UPSTREAM_COST, Quantity, Scalar, Vocabulary
from metering.usage.normalize import LIMIT

_LINEAR: Final = frozenset({"per_unit", "flat", "volume"})


class Condition(NamedTuple):
    """A field that must hold one of the values; numbers are looked up as normalized, texts as sent."""

    field: str
    values: frozenset[Scalar]
    default: Scalar | None
    is_number: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A charge, ready to price one meter: its conditions, its tier, and its price.

    Where the rate is a whole number of picodollars a unit, as nearly all are, it stands in `unit` beside
    the `term` of the line items, so that the hot path multiplies and is done; else `unit` is zero.
    """

    price: Price
    term: Term
    unit: int
    conditions: tuple[Condition, ...]
    tier_by: str | None
    above: int
    up_to: int
    model: str

    def applies(self, usage: Mapping[str, object], quantities: Mapping[str, Quantity]) -> bool:
        """Whether the usage is of this line's variant, and in its tier."""
        for field, values, default, is_number in self.conditions:
            stated = quantities.get(field) if is_number else usage.get(field)
            if (default if stated is None else stated) not in values:
                return False
        if self.tier_by is None or self.model == "graduated":
            return True
        return self.above < quantities.get(self.tier_by, 0) <= self.up_to


@dataclass(frozen=True, slots=True)
class Group:
    """The lines that price one meter; at most one applies to an event, or one ladder of graduated tiers.

    `parts` are the meters that are part of this one and have lines of their own: the group prices the
    rest. `implied`: an event carries it once unless it says otherwise. `tasks`: some line prices a task
    by the provider's figure. `only` is the single unconditional line; `ladder_by` the meter that picks
    the line where nothing but its quantity does; both are shortcuts to what `applies` says of each line.
    `single` says that one line at most applies, and has a price for any quantity.
    """

    meter: str
    lines: tuple[Line, ...]
    parts: tuple[str, ...]
    implied: bool
    tasks: bool
    only: Line | None
    ladder_by: str | None
    single: bool


@dataclass(frozen=True, slots=True)
class PreparedCard:
    """A rate card ready for rating: its groups, and the names of usage that it covers."""

    groups: tuple[Group, ...]
    covered: frozenset[str]
    derived: tuple[str, ...]
    minimum_pico: int | None
    maximum_pico: int | None


def prepare(card: RateCard, vocabulary: Vocabulary) -> PreparedCard:
    """Group the card's charges by meter, in the order of the price list."""
    by_meter: dict[str, list[Line]] = {}
    for charge in card.charges:
        for meter in charge.meters:
            by_meter.setdefault(meter, []).extend(_lines(charge, meter, card, vocabulary))
    groups = tuple(_group(meter, lines, by_meter, vocabulary) for meter, lines in by_meter.items())
    named = set(by_meter)
    for charge in card.charges:
        named |= charge.when.keys() if charge.when else set()
        named |= {charge.tier.by} if charge.tier else set()
        named |= {UPSTREAM_COST} if charge.model in {"dynamic", "percentage"} else set()
    derived = tuple(
        name
        for name in sorted(named)
        if (known := vocabulary.meters.get(name)) and (known.sum_of or known.product_of)
    )
    return PreparedCard(groups, _covered(named, vocabulary), derived, card.minimum_pico, card.maximum_pico)


def _lines(charge: Charge, meter: str, card: RateCard, vocabulary: Vocabulary) -> list[Line]:
    """The charge as a line; a percentage off becomes one line for each line of the whole meter."""
    if charge.percent_off is None:
        rate = charge.rates.get(meter)
        term = Term(charge.name, meter, rate.text if rate else "0", charge.per, charge.label)
        linear_rate = rate.pico_per_unit if rate is not None and charge.model in _LINEAR else None
        price = REGISTRY[charge.model](charge, meter)
        return [_line(charge, charge, charge.when or {}, (price, term, linear_rate), vocabulary)]
    known = vocabulary.meter(meter)
    whole = known.part_of if known is not None else None
    left = 1 - Fraction(charge.percent_off) / 100
    lines = []
    for other in card.charges:
        if whole is not None and whole in other.rates:
            discounted = other.rates[whole].pico_per_unit * left
            dollars = discounted * other.size / PICO_PER_USD
            text = plain(Decimal(dollars.numerator) / Decimal(dollars.denominator))
            term = Term(charge.name, meter, text, other.per, charge.label or other.label)
            when = _both(charge.when or {}, other.when or {})
            if all(when.values()):
                priced = (linear(term, discounted), term, discounted)
                lines.append(_line(charge, other, when, priced, vocabulary))
    return lines


def _both(
    one: Mapping[str, frozenset[Scalar]], other: Mapping[str, frozenset[Scalar]]
) -> dict[str, frozenset[Scalar]]:
    """The variant that is in both; a field without values where there is none."""
    shared = {name: one[name] & other[name] for name in one.keys() & other.keys()}
    return {**other, **one, **shared}


def _line(
    charge: Charge,
    tiered: Charge,
    when: Mapping[str, frozenset[Scalar]],
    priced: tuple[Price, Term, Fraction | None],
    vocabulary: Vocabulary,
) -> Line:
    conditions = []
    for name, values in when.items():
        field = vocabulary.fields.get(name)
        default = vocabulary.meters[name].default if field is None else field.default
        conditions.append(Condition(name, values, default, field is None or field.kind == "number"))
    tier = tiered.tier
    price, term, rate = priced
    return Line(
        price=price,
        term=term,
        unit=rate.numerator if rate is not None and rate.denominator == 1 else 0,
        conditions=tuple(conditions),
        tier_by=tier.by if tier else None,
        above=-1 if tier is None or tier.above is None else tier.above,
        up_to=LIMIT if tier is None or tier.up_to is None else tier.up_to,
        model=charge.model,
    )


def _group(
    meter: str, lines: list[Line], by_meter: Mapping[str, list[Line]], vocabulary: Vocabulary
) -> Group:
    parts = tuple(
        name
        for name in by_meter
        if (known := vocabulary.meters.get(name)) is not None and known.part_of == meter
    )
    tasks = any(line.model in {"dynamic", "percentage"} for line in lines)
    single = not tasks and not any(line.model == "graduated" for line in lines)
    simple = single and not any(line.conditions for line in lines)
    bases = {line.tier_by for line in lines}
    return Group(
        meter,
        tuple(lines),
        parts,
        implied=meter in {REQUESTS, UPSTREAM_COST},
        tasks=tasks,
        only=lines[0] if simple and bases == {None} else None,
        ladder_by=bases.pop() if simple and len(bases) == 1 else None,
        single=single,
    )


def _covered(named: set[str], vocabulary: Vocabulary) -> frozenset[str]:
    """The names that the card's charges name, and what they imply: parts, sums, summands and factors."""
    covered = set(named)
    for meter in vocabulary.meters.values():
        if meter.part_of in named or named.intersection(meter.sum_of):
            covered.add(meter.name)
        if meter.name in named:
            covered.update(meter.sum_of, meter.product_of)
    if TOTAL in named:
        covered.update(meter.name for meter in vocabulary.meters.values() if meter.part_of in covered)
    return frozenset(covered)
