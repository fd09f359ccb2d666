"""What a rate card must not say, each check with its reason; the compiler names file, model and charge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import combinations, product
from typing import Final

from metering.pricing.book import Charge, ModelPrices
from metering.usage.meters import CACHE_READ, PROMPT, UPSTREAM_COST, Scalar, Vocabulary

UNUSUAL_RATIO: Final = 1000
_PRO_RATA: Final = frozenset({"per_unit", "volume"})

Finding = tuple[Charge, str]


def check_card(
    charges: Sequence[Charge], vocabulary: Vocabulary, context_window: int | None
) -> Iterator[Finding]:
    """Every finding in one rate card: the charge at fault and the reason."""
    for one, other in combinations(charges, 2):
        if both_apply(one, other):
            ladder = one.tier and other.tier and one.tier.by == other.tier.by and one.model == other.model
            yield (
                other,
                f"{'its tier overlaps that of' if ladder else 'matches the same usage as'} `{one.name}`",
            )
    for charge in charges:
        yield from _check_tier(charge, charges, context_window)
        if charge.percent_off is not None:
            yield from _check_percent_off(charge, charges, vocabulary)
        if is_above(charge.minimum_pico, charge.maximum_pico):
            yield charge, "`minimum` is above `maximum`"
    yield from _check_cached(charges, vocabulary)


def is_above(minimum: int | None, maximum: int | None) -> bool:
    """Whether the two amounts leave nothing between them."""
    return minimum is not None and maximum is not None and minimum > maximum


def both_apply(one: Charge, other: Charge) -> bool:
    """Whether some usage of a shared meter is priced by both charges."""
    if not set(one.meters) & set(other.meters) or _variants_disjoint(one, other):
        return False
    if (one.model == "graduated") != (other.model == "graduated"):
        return True  # a graduated tier has its slice of every quantity above it
    return not _tiers_disjoint(one, other)


def _tiers_disjoint(one: Charge, other: Charge) -> bool:
    mine, theirs = one.tier, other.tier
    return mine is not None and theirs is not None and mine.by == theirs.by and not mine.overlaps(theirs)


def _variants_disjoint(one: Charge, other: Charge) -> bool:
    mine, theirs = one.when or {}, other.when or {}
    return any(mine[field].isdisjoint(theirs[field]) for field in mine.keys() & theirs.keys())


def _check_tier(charge: Charge, charges: Sequence[Charge], context_window: int | None) -> Iterator[Finding]:
    """A tier can be reached, and starts at zero or where another one of the same usage ends."""
    tier = charge.tier
    if tier is None:
        return
    start = tier.above or 0
    if tier.up_to is not None and tier.up_to <= start:
        yield charge, "can't be reached: its tier is empty"
    elif tier.by == PROMPT and context_window is not None and start >= context_window:
        yield charge, f"can't be reached: the context window ends at {context_window}"
    if not start:
        return
    for variant, meter in product(_variants(charge), charge.meters):
        ends = [
            other.tier.up_to
            for other in charges
            if other.tier is not None and other.tier.by == tier.by and other.tier.up_to is not None
            if meter in other.meters and _fits(other, variant) and other.tier.up_to <= start
        ]
        end = max(ends, default=0)
        if end < start:
            yield charge, f"gap between tiers: nothing prices {end + 1} to {start}"
            return


def _variants(charge: Charge) -> Iterator[dict[str, Scalar]]:
    """Every choice of one value for each field of the charge's variant."""
    when = charge.when or {}
    for values in product(*when.values()):
        yield dict(zip(when, values, strict=True))


def _fits(charge: Charge, variant: Mapping[str, Scalar]) -> bool:
    when = charge.when or {}
    return all(value in when[field] for field, value in variant.items() if field in when)


def _check_percent_off(
    charge: Charge, charges: Sequence[Charge], vocabulary: Vocabulary
) -> Iterator[Finding]:
    for name in charge.meters:
        meter = vocabulary.meter(name)
        whole = meter.part_of if meter is not None else None
        if whole is None:
            yield charge, f"`percent_off` needs a meter that is part of another, which `{name}` is not"
        elif not any(whole in other.rates for other in charges):
            yield charge, f"`percent_off` needs a rate of `{whole}`"
        elif any(whole in other.rates and other.model not in _PRO_RATA for other in charges):
            yield charge, f"`percent_off` needs a rate of `{whole}` that is the same for each unit"
    if Fraction(charge.percent_off or 0) > 100:
        yield charge, "`percent_off` is above 100"


def _check_cached(charges: Sequence[Charge], vocabulary: Vocabulary) -> Iterator[Finding]:
    """A cached rate above the input's is a slip, unless the line accepts it."""
    meter = vocabulary.meters.get(CACHE_READ)
    whole = meter.part_of if meter is not None else None
    for cached in charges:
        if whole is None or CACHE_READ not in cached.rates or "cached_above_input" in cached.accepts:
            continue
        for plain in charges:
            apart = _variants_disjoint(cached, plain) or _tiers_disjoint(cached, plain)
            if whole in plain.rates and not apart:
                ours, theirs = cached.rates[CACHE_READ], plain.rates[whole]
                if ours.pico_per_unit > theirs.pico_per_unit:
                    yield (
                        cached,
                        f"cached rate {ours.text} is above the input rate {theirs.text} of `{plain.name}`",
                    )


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
            where = f"{models[model].file}: {model}: {charge.name}"
            yield f"{where}: rate {charge.rates[meter].text} is a thousand times off its neighbours'"


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
