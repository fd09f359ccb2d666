"""The public price list: rows of text, made from the same lines that price usage."""

from __future__ import annotations

import string
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from metering.money import PICO_PER_USD, plain
from metering.pricing.book import Charge, ModelPrices, PricingRow, RateCard
from metering.usage.meters import CACHE_READ, COMPLETION, PROMPT, REQUESTS

_IMAGES: Final = "images"


class PlaceholderError(ValueError):
    """A display text asks for something that its line does not have."""


def row(line: Mapping[str, object]) -> PricingRow:
    """One line of the price list from one line of the price book; raises `PlaceholderError`."""
    tier = tier_text(line)
    per = line.get("per")
    default_spec = "{tier}, per {per}" if tier else "per {per}"
    words = {"tier": tier, "per": per, "above": line.get("above"), "up_to": line.get("up_to")}
    spec = _fill(str(line.get("spec", default_spec)), words)
    if "note" in line:
        return PricingRow(str(line["charge"]), spec, str(line["note"]))
    amounts = {
        key: line.get(key) for key in ("rate", "minimum", "maximum", "default", "percent", "percent_off")
    }
    rates = line.get("rates")
    text = _fill(_rate_template(line), {**amounts, **(rates if isinstance(rates, dict) else {})})
    list_rate = line.get("list_rate")
    return PricingRow(str(line["charge"]), spec, text, None if list_rate is None else f"${list_rate}")


def tier_text(line: Mapping[str, object]) -> str | None:
    """`≤32K`, `32K-128K` or `>128K`; None for a line without a tier."""
    above, up_to = line.get("above"), line.get("up_to")
    if up_to is None:
        return None if above is None else f">{above}"
    return f"{above}-{up_to}" if above not in {None, 0} else f"≤{up_to}"


def plan_rows(fee: str, included: Mapping[str, int]) -> tuple[PricingRow, ...]:
    """The rows of a plan: its fee, and what the fee covers."""
    rows = [PricingRow("Monthly fee", "per month", f"${fee}")]
    rows += [PricingRow("Included", f"{meter} per month", f"{limit:,}") for meter, limit in included.items()]
    return tuple(rows)


def discount(card: RateCard) -> dict[str, object] | None:
    """`{"label": "Save up to 20%", "percent": 20}` for the largest saving against a list rate, else None."""
    savings = [
        (Decimal(charge.list_rate) - Decimal(rate.text)) / Decimal(charge.list_rate) * 100
        for charge in card.charges
        if charge.list_rate is not None and Decimal(charge.list_rate)
        for rate in charge.rates.values()
    ]
    percent = int(max(savings, default=Decimal(0)).to_integral_value(ROUND_HALF_EVEN))
    return {"label": f"Save up to {percent}%", "percent": percent} if percent > 0 else None


def pricing(card: RateCard) -> dict[str, object] | list[dict[str, object]]:
    """Prices per token, image and request as strings, in the words of OpenRouter's model list.

    A context-tiered model gives two: its cheapest tier, then its highest with `min_context`, the number of
    tokens above which that tier applies. Where a price depends on a variant, the first line stands.
    """
    tiers = sorted(
        {
            charge.tier.above or 0
            for charge in card.charges
            if charge.tier is not None and charge.tier.by == PROMPT
        }
    )
    base: dict[str, object] = {
        "prompt": _unit_price(card, PROMPT, 0),
        "completion": _unit_price(card, COMPLETION, 0),
        "image": _unit_price(card, _IMAGES, 0),
        "request": _unit_price(card, REQUESTS, 0),
        "input_cache_read": _unit_price(card, CACHE_READ, 0),
    }
    if len(tiers) < 2:
        return base
    highest: dict[str, object] = {
        "prompt": _unit_price(card, PROMPT, tiers[-1]),
        "completion": _unit_price(card, COMPLETION, tiers[-1]),
        "input_cache_read": _unit_price(card, CACHE_READ, tiers[-1]),
        "min_context": tiers[-1],
    }
    return [base, highest]


def public_entry(model: ModelPrices, card: RateCard) -> dict[str, object]:
    """What the price list says of one model."""
    window = model.facts.get("context_window")
    entry: dict[str, object] = {
        "id": model.id,
        "object": "model",
        "owned_by": model.provider,
        **model.facts,
        "context_window": window,
        "pricing": pricing(card),
        "pricing_rows": [
            {"charge": line.charge, "spec": line.spec, "rate": line.rate}
            | ({} if line.list_rate is None else {"list_rate": line.list_rate})
            for line in card.rows
        ],
    }
    saving = discount(card)
    return entry if saving is None else entry | {"discount": saving}


def _rate_template(line: Mapping[str, object]) -> str:
    if "text" in line:
        return str(line["text"])
    if "percent_off" in line:
        return "{percent_off}% off"
    if "percent" in line:
        return "cost + {percent}%"
    if str(line.get("model")) == "dynamic":
        return "${minimum} - ${maximum}" if "minimum" in line else "~${default}"
    return "${rate}"


def _fill(template: str, words: Mapping[str, object]) -> str:
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise PlaceholderError(f"{template!r} can't be filled in: {error}") from error
    filled = ""
    for literal, name, form, conversion in pieces:
        filled += literal
        if name is not None:
            if words.get(name) is None or form or conversion:
                raise PlaceholderError(f"{template!r} asks for {{{name}}}, which the line does not have")
            filled += str(words[name])
    return filled


def _unit_price(card: RateCard, meter: str, context: int) -> str:
    """Dollars for one unit where the prompt has just more than `context` tokens; "0" where it is free."""
    for charge in card.charges:
        if meter in charge.meters and _applies(charge, context):
            if charge.percent_off is not None:
                whole = Decimal(_unit_price(card, PROMPT, context))
                return plain(whole * (100 - Decimal(charge.percent_off)) / 100)
            if meter in charge.rates:
                fraction = charge.rates[meter].pico_per_unit / PICO_PER_USD
                return plain(Decimal(fraction.numerator) / Decimal(fraction.denominator))
    return "0"


def _applies(charge: Charge, context: int) -> bool:
    tier = charge.tier
    return tier is None or tier.by != PROMPT or (tier.above or 0) == context
