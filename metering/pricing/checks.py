"""What a rate card must not say, each check with its reason; the compiler names file, model and charge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Final

from metering.pricing.book import Charge, ModelPrices
from metering.usage.meters import CACHE_READ, PROMPT, UPSTREAM_COST, Vocabulary

UNUSUAL_RATIO: Final = 1000

Finding = tuple[Charge, str]


def check_card(charges: Sequence[Charge], vocabulary: Vocabulary, context_window: int | None) -> Iterator[Finding]:
    """Every finding in one rate card: the charge at fault and the reason."""
    for one, other in combinations(charges, 2):
        if both_apply(one, other):
            yield other, f"matches the same usage as `{one.name}`"
    yield from _check_tiers(charges)
    for charge in charges:
        tier = charge.tier
        if tier is not None and tier.by == PROMPT and context_window is not None and (tier.above or 0) >= context_window:
            yield charge, f"can't be reached: the context window ends at {context_window}"
        if charge.percent_off is not None:
            yield from _check_percent_off(charge, charges, vocabulary)
        if charge.minimum_pico is not None and charge.maximum_pico is not None and charge.minimum_pico > charge.maximum_pico:
            yield charge, "`minimum` is above `maximum`"
    yield from _check_cached(charges, vocabulary)


def both_apply(one: Charge, other: Charge) -> bool:
    """Whether some usage of a shared meter is priced by both charges."""
    if not set(one.meters) & set(other.meters) or _variants_disjoint(one, other):
        return False
    return not (one.tier and other.tier and one.tier.by == other.tier.by and not one.tier.overlaps(other.tier))


def _variants_disjoint(one: Charge, other: Charge) -> bool:
    mine, theirs = one.when or {}, other.when or {}
    return any(mine[field].isdisjoint(theirs[field]) for field in mine.keys() & theirs.keys())


def _check_tiers(charges: Sequence[Charge]) -> Iterator[Finding]:
    """A ladder's tiers follow one another: each starts where the one before it ended."""
    ladders: dict[object, list[Charge]] = defaultdict(list)
    for charge in charges:
        if charge.tier is not None:
            variant = frozenset((charge.when or {}).items())
            ladders[charge.meters, charge.model, charge.tier.by, variant].append(charge)
            if charge.tier.up_to is not None and charge.tier.up_to <= (charge.tier.above or 0):
                yield charge, "can't be reached: its tier is empty"
    for ladder in ladders.values():
        steps = sorted(ladder, key=lambda charge: (charge.tier and charge.tier.above) or 0)
        for lower, upper in pairwise(steps):
            end, start = lower.tier and lower.tier.up_to, upper.tier and upper.tier.above
            if end is None or start is None or start < end:
                yield upper, f"its tier overlaps that of `{lower.name}` before it"
            elif start > end:
                yield upper, f"gap between tiers: nothing prices {end + 1} to {start}"
        if steps[0].model == "graduated" and steps[0].tier is not None and steps[0].tier.above:
            yield steps[0], f"gap between tiers: nothing prices 1 to {steps[0].tier.above}"


def _check_percent_off(charge: Charge, charges: Sequence[Charge], vocabulary: Vocabulary) -> Iterator[Finding]:
    for name in charge.meters:
        meter = vocabulary.meter(name)
        whole = meter.part_of if meter is not None else None
        if whole is None:
            yield charge, f"`percent_off` needs a meter that is part of another, which `{name}` is not"
        elif not any(whole in other.rates for other in charges):
            yield charge, f"`percent_off` needs a rate of `{whole}`"
    if Fraction(charge.percent_off or 0) > 100:  # noqa: PLR2004  (percent)
        yield charge, "`percent_off` is above 100"


def _check_cached(charges: Sequence[Charge], vocabulary: Vocabulary) -> Iterator[Finding]:
    """A cached rate above the input's is a slip, unless the line accepts it."""
    meter = vocabulary.meters.get(CACHE_READ)
    whole = meter.part_of if meter is not None else None
    for cached in charges:
        if whole is None or CACHE_READ not in cached.rates or "cached_above_input" in cached.accepts:
            continue
        for plain in charges:
            apart = _variants_disjoint(cached, plain) or (
                cached.tier and plain.tier and not cached.tier.overlaps(plain.tier)
            )
            if whole in plain.rates and not apart:
                ours, theirs = cached.rates[CACHE_READ], plain.rates[whole]
                if ours.pico_per_unit > theirs.pico_per_unit:
                    yield cached, f"cached rate {ours.text} is above the input rate {theirs.text} of `{plain.name}`"


def check_neighbours(models: Mapping[str, ModelPrices], vocabulary: Vocabulary) -> Iterator[str]:
    """A rate a thousand times its neighbours' is a slip of the decimal point, unless its line accepts it.

    Neighbours are the rates of the same unit in the same card and, over the whole book, of the same meter.
    """
    everywhere: dict[str, list[Fraction]] = defaultdict(list)
    rates = list(_all_rates(models))
    for _, _, meter, _, rate in rates:
        everywhere[meter].append(rate)
    medians = {meter: sorted(values)[len(values) // 2] for meter, values in everywhere.items()}
    in_card: dict[tuple[str, int, str], list[Fraction]] = defaultdict(list)
    for model, edition, meter, _, rate in rates:
        in_card[model, edition, _unit(meter, vocabulary)].append(rate)
    for model, edition, meter, charge, rate in rates:
        lowest = min(in_card[model, edition, _unit(meter, vocabulary)])
        median = medians[meter]
        high = rate >= lowest * UNUSUAL_RATIO or rate >= median * UNUSUAL_RATIO
        if (high or rate * UNUSUAL_RATIO <= median) and "unusual_rate" not in charge.accepts:
            yield f"{models[model].file}: {model}: {charge.name}: rate {charge.rates[meter].text} is a thousand times off its neighbours'"


def _all_rates(models: Mapping[str, ModelPrices]) -> Iterator[tuple[str, int, str, Charge, Fraction]]:
    for model in models.values():
        for edition, card in enumerate(model.cards):
            for charge in card.charges:
                for meter, rate in charge.rates.items():
                    if rate.pico_per_unit and meter != UPSTREAM_COST:
                        yield model.id, edition, meter, charge, rate.pico_per_unit


def _unit(meter: str, vocabulary: Vocabulary) -> str:
    known = vocabulary.meter(meter)
    return known.unit if known is not None else meter
