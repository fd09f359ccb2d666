"""From the parsed `top_ups.yml` to a `TopUpPolicy`, or every reason why not: file, section, key, reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final, cast

from metering.errors import PriceBookError
from metering.money import to_pico
from metering.pricing import schema
from metering.pricing.top_ups import AutoTopUpPolicy, BonusTier, Ceiling, Seller, TopUpPolicy

FILE: Final = "top_ups.yml"
# Stripe's rule for what a card's statement says: the account's prefix (2 to 10), "* ", and our suffix, in all
# at most 22 characters, in Latin letters and without < > \ ' " and further stars.
_DESCRIPTOR: Final = re.compile(r"""[^<>\\'"*]{2,10}\*[^<>\\'"*]+""")
_LONGEST_DESCRIPTOR: Final = 21  # and the blank that Stripe puts after the star
# Below it no processor takes a payment in dollars.
_LEAST_PAYMENT_PICO: Final = to_pico("0.50")

Section = Mapping[str, object]


def compile_policy(document: object) -> TopUpPolicy:
    """Compile the parsed file; raises `PriceBookError` whose `problems` name the section, key and reason."""
    problems = [f"{FILE}: {problem}" for problem in _shape_problems(document, schema.TOP_UPS)]
    if problems:
        raise PriceBookError(problems)
    content = cast("Mapping[str, Section]", document)
    policy = _policy(content["top_ups"], content["auto_top_up"], content["seller"])
    problems = [f"{FILE}: {problem}" for problem in _rule_problems(policy)]
    if problems:
        raise PriceBookError(problems)
    return policy


def _shape_problems(value: object, keys: Mapping[str, schema.Key]) -> Iterator[str]:
    """What is wrong with the shape of a section, and of those in it."""
    yield from schema.shape_problems(value, keys)
    for name, key in keys.items():
        inner = value.get(name) if isinstance(value, dict) else None
        if key.of is None:
            continue
        if isinstance(inner, dict):
            yield from (f"{name}: {problem}" for problem in _shape_problems(inner, key.of))
        elif isinstance(inner, list):
            for position, item in enumerate(inner, 1):
                yield from (
                    f"{name} (line {position}): {problem}" for problem in _shape_problems(item, key.of)
                )


def _policy(limits: Section, auto: Section, seller: Section) -> TopUpPolicy:
    brake = cast("Section", auto["brake"])
    return TopUpPolicy(
        minimum_pico=_pico(limits, "minimum"),
        maximum_pico=_pico(limits, "maximum"),
        bonuses=tuple(
            BonusTier(_pico(tier, "from"), _count(tier, "percent"))
            for tier in cast("list[Section]", limits.get("bonuses", []))
        ),
        statement_descriptor=str(limits["statement_descriptor"]),
        low_balance_pico=_pico(limits, "low_balance"),
        auto=AutoTopUpPolicy(
            minimum_threshold_pico=_pico(auto, "minimum_threshold"),
            minimum_amount_of_threshold=_count(auto, "minimum_amount_of_threshold"),
            per_day=_ceiling(cast("Section", auto["per_day"])),
            per_month=_ceiling(cast("Section", auto["per_month"])),
            retry_after=tuple(_duration(wait) for wait in cast("list[object]", auto["retry_after"])),
            brake_purchases=_count(brake, "purchases"),
            brake_window=_duration(brake["within"]),
        ),
        seller=Seller(
            name=str(seller["name"]),
            address=tuple(cast("list[str]", seller.get("address", []))),
            email=str(seller["email"]),
            tax_id=cast("str | None", seller.get("tax_id")),
        ),
    )


def _rule_problems(policy: TopUpPolicy) -> Iterator[str]:
    """What the shape alone can't say."""
    yield from _limit_problems(policy)
    auto = policy.auto
    if not auto.minimum_threshold_pico:
        yield "auto_top_up: `minimum_threshold` must be above zero"
    if auto.minimum_amount_of_threshold < 1:
        yield "auto_top_up: `minimum_amount_of_threshold` must be at least 1"
    if auto.minimum_threshold_pico * auto.minimum_amount_of_threshold > policy.maximum_pico:
        yield "auto_top_up: no amount is possible: the least is above the `maximum` of top-ups"
    for name, ceiling in (("per_day", auto.per_day), ("per_month", auto.per_month)):
        if ceiling.purchases < 1:
            yield f"auto_top_up: {name}: `purchases` must be at least 1"
        if ceiling.amount_pico < policy.maximum_pico:
            yield f"auto_top_up: {name}: `amount` is below the `maximum` of top-ups: it could never be bought"
    if (
        auto.per_day.purchases > auto.per_month.purchases
        or auto.per_day.amount_pico > auto.per_month.amount_pico
    ):
        yield "auto_top_up: `per_day` allows more than `per_month`"
    if auto.brake_purchases < 1:
        yield "auto_top_up: brake: `purchases` must be at least 1"
    if "@" not in policy.seller.email:
        yield f"seller: `email` is no address: {policy.seller.email!r}"


def _limit_problems(policy: TopUpPolicy) -> Iterator[str]:
    if policy.minimum_pico < _LEAST_PAYMENT_PICO:
        yield 'top_ups: `minimum` must be at least "0.50"'
    if policy.maximum_pico < policy.minimum_pico:
        yield "top_ups: `maximum` is below `minimum`"
    if not policy.low_balance_pico:
        yield "top_ups: `low_balance` must be above zero"
    descriptor = policy.statement_descriptor
    if not (
        descriptor.isascii()
        and descriptor.isprintable()
        and len(descriptor) <= _LONGEST_DESCRIPTOR
        and _DESCRIPTOR.fullmatch(descriptor)
        and any(letter.isalpha() for letter in descriptor.partition("*")[2])
    ):
        yield (
            "top_ups: `statement_descriptor` must be a prefix of 2 to 10 characters, *, and a text with a"
            f" letter, at most {_LONGEST_DESCRIPTOR} characters in all, not {descriptor!r}"
        )
    for position, tier in enumerate(policy.bonuses, 1):
        before = policy.bonuses[position - 2] if position > 1 else BonusTier(0, 0)
        if not 1 <= tier.percent <= 100:
            yield f"top_ups: bonuses (line {position}): `percent` must be from 1 to 100"
        if tier.from_pico <= before.from_pico or tier.percent <= before.percent:
            yield f"top_ups: bonuses (line {position}): must be more, for more, than the line before"
        if tier.from_pico > policy.maximum_pico:
            yield f"top_ups: bonuses (line {position}): can't be reached: top-ups end at `maximum`"


def _pico(section: Section, name: str) -> int:
    return to_pico(str(section[name]))


def _count(section: Section, name: str) -> int:
    return schema.count(section[name]) or 0


def _duration(value: object) -> timedelta:
    return schema.duration(value) or timedelta(0)


def _ceiling(section: Section) -> Ceiling:
    return Ceiling(_count(section, "purchases"), _pico(section, "amount"))
