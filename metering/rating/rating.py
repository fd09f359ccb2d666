"""The result of pricing one event: a `Rating` with its line items, or `Unpriced` with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from metering.money import to_number
from metering.usage.meters import TOOLS, Quantity


class Term:
    """What a line item says of its charge, made once per line of a rate card and shared by all its items.

    `rate` is dollars per `per` as text. `label` is the tier or variant, None where there is only one.
    `head` and `tail` are the ends of the item's JSON: `head`, quantity, `,"amount":`, amount, `tail`.
    """

    __slots__ = ("charge", "head", "label", "meter", "per", "rate", "tail")

    def __init__(self, charge: str, meter: str, rate: str, per: str | None, label: str | None) -> None:
        self.charge = charge
        self.meter = meter
        self.rate = rate
        self.per = per
        self.label = label
        named = {"charge": charge, "meter": meter}
        self.head = json.dumps(named, ensure_ascii=False, separators=(",", ":"))[:-1] + ',"quantity":'
        texts = json.dumps({"per": per, "label": label}, ensure_ascii=False, separators=(",", ":"))
        self.tail = f',"rate":{rate},{texts[1:]}'


class LineItem(NamedTuple):
    """One charge applied: `quantity` of the term's meter at its rate, rounded once to `amount_pico`.

    For dynamic and percentage charges the quantity is one task and the rate is its price: our own cost
    is never shown.
    """

    term: Term
    quantity: Quantity
    amount_pico: int

    def as_json(self) -> str:
        """The item as a JSON object; numbers in plain decimals."""
        quantity = self.quantity if type(self.quantity) is int else f"{self.quantity:f}"
        return f'{self.term.head}{quantity},"amount":{to_number(self.amount_pico)}{self.term.tail}'


class Rating(NamedTuple):
    """A priced event: `cost_pico` is the sum of its line items.

    `quantities` is the usage as normalized, by meter; `unbilled` is what of it no charge names.
    """

    line_items: list[LineItem]
    cost_pico: int
    pricing_tier_label: str | None
    quantities: Mapping[str, Quantity]
    unbilled: Mapping[str, Quantity]

    def tool_breakdown(self) -> list[tuple[str, Quantity, str, int]]:
        """Per tool: its name, invocations, dollars each as text, and cost in picodollars."""
        return [
            (item.term.meter.removeprefix(TOOLS), item.quantity, item.term.rate, item.amount_pico)
            for item in self.line_items
            if item.term.meter.startswith(TOOLS)
        ]


class Unpriced(NamedTuple):
    """An event without a price: `meter` is the quantity that no row fits, None for an unknown model."""

    meter: str | None
    reason: str
    quantities: Mapping[str, Quantity]
    unbilled: Mapping[str, Quantity]
