"""A naive oracle of the whole grammar: what usage costs by the documents alone, in fractions, line by line.

It is written from the price book's README and the usage vocabulary, shares no code with the product but the
names of errors, and prepares nothing: every question is asked of the documents again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any

PICO = 10**12
TOKENS_IN, TOKENS_OUT = "prompt_tokens", "completion_tokens"
READ, WRITE = "cache_read_input_tokens", "cache_creation_input_tokens"
CACHED = {"prompt_tokens_details.cached_tokens": READ, "input_tokens_details.cached_tokens": READ}
OTHER_NAMES = CACHED | {"output_tokens": TOKENS_OUT}
TASK_MODELS = {"percentage", "dynamic"}
Line = Mapping[str, Any]


class BadUsage(Exception):
    """The usage is bad input."""


class NoPrice(Exception):
    """No line fits the meter's quantity."""

    def __init__(self, meter: str) -> None:
        super().__init__(meter)
        self.meter = meter


@dataclass(frozen=True)
class Item:
    """A line item: its exact price and what is charged, both in picodollars."""

    charge: str
    meter: str
    exact: Fraction
    amount: int


def price(
    documents: Mapping[str, Any],
    model: str,
    usage: Mapping[str, object],
    moment: datetime,
    *,
    failed: bool = False,
) -> list[Item]:
    """The line items of one event; raises `BadUsage` or `NoPrice`."""
    card = _card(documents, model, moment)
    lines = [line for line in card["charges"] if "note" not in line]
    event = _Event(documents["meters.yml"], usage, lines, failed=failed)
    items: list[Item] = []
    for meter in dict.fromkeys(meter for line in lines for meter in meters_of(line)):
        quantity = event.quantity_to_price(meter)
        if quantity > 0:
            items += event.price(meter, quantity)
    total = sum(item.amount for item in items)
    least, most = (
        Fraction(card.get(key, other)) * PICO for key, other in (("minimum", "0"), ("maximum", "1e30"))
    )
    held = max(least, min(most, Fraction(total))) if items else Fraction(0)
    if held != total:
        items.append(Item("limit", "requests", held - total, int(held - total)))
    return items


def _card(documents: Mapping[str, Any], model: str, moment: datetime) -> Line:
    bodies = [
        document["models"][model]
        for document in documents.values()
        if "provider" in document and model in document["models"]
    ]
    card = bodies[0]
    for edition in bodies[0].get("editions", []):
        if _start(edition["effective"]) <= moment:
            card = edition
    return dict(card)


def _start(effective: object) -> datetime:
    if isinstance(effective, str):
        effective = datetime.fromisoformat(effective)
    if isinstance(effective, datetime):
        return effective
    assert isinstance(effective, date)
    return datetime.combine(effective, time.min, UTC)


def meters_of(line: Line) -> Sequence[str]:
    """The meters that a line prices."""
    if line.get("model") == "flat":
        return ["requests"]
    if "rates" in line:
        return list(line["rates"])
    meter = line.get("meter", "upstream_cost_usd")
    return meter if isinstance(meter, list) else [meter]


def units_of(per: str) -> int:
    """How many units of the meter a `per` names."""
    match = re.fullmatch(r"([\d,]+)(\w?) (.*)", per)
    number, thousands, word = match.groups() if match else ("1", "", per)
    seconds = 3600 if word.startswith("hour") else 60 if word.startswith("minute") else 1
    return int(number.replace(",", "")) * {"": 1, "k": 1000, "K": 1000, "M": 10**6}[thousands] * seconds


def bound(value: object) -> int | None:
    """`32K` and the like, None where a tier has no such end."""
    if value is None:
        return None
    return int(str(value).replace("K", "000").replace("M", "000000"))


class _Event:
    """One event's usage against the lines of one card."""

    def __init__(
        self, vocabulary: Line, usage: Mapping[str, object], lines: Sequence[Line], *, failed: bool
    ) -> None:
        self.meters: Line = vocabulary["meters"]
        self.fields: Line = vocabulary["fields"]
        self.usage = usage
        self.lines = lines
        self.failed = failed
        self.stated = self._read()

    def _read(self) -> dict[str, Fraction]:
        """Every count by its meter, the three token shapes made one."""
        found: dict[str, Fraction] = {}
        for path, value in self._leaves():
            number = self._checked(path, value)
            name = OTHER_NAMES.get(path, tool_name(path))
            if number is not None and found.setdefault(name, number) != number:
                raise BadUsage(path)
        stated = found.pop("input_tokens", None)
        if stated is not None:
            cached = found.get(READ, Fraction(0)) + found.get(WRITE, Fraction(0))
            includes_cached = isinstance(self.usage.get("input_tokens_details"), dict)
            if TOKENS_IN in found:
                includes_cached = stated == found[TOKENS_IN]
            prompt = stated if includes_cached else stated + cached
            if found.setdefault(TOKENS_IN, prompt) != prompt:
                raise BadUsage("input_tokens")
        for name, meter in self.meters.items():
            if "part_of" in meter and found.get(name, 0) > found.get(meter["part_of"], 0):
                raise BadUsage(name)
        if found.get(READ, 0) + found.get(WRITE, 0) > found.get(TOKENS_IN, 0):
            raise BadUsage(WRITE)
        return found

    def _leaves(self) -> Iterator[tuple[str, object]]:
        for name, value in self.usage.items():
            known = name in self.meters or name in self.fields or name in {"input_tokens", "output_tokens"}
            if isinstance(value, dict | list) and known:
                raise BadUsage(name)
            yield from leaves(name, value)

    def _checked(self, path: str, value: object) -> Fraction | None:
        """The number in a field, None where it is none and need not be."""
        kind = self.fields.get(path, {}).get("type")
        if kind in {"string", "boolean"}:
            if not isinstance(value, str if kind == "string" else bool):
                raise BadUsage(path)
            return None
        name = tool_name(path)
        is_tool = name.startswith("tools.")
        counted = is_tool or name in self.meters or path in OTHER_NAMES or path == "input_tokens"
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            if counted or kind == "number":
                raise BadUsage(path)
            return None
        number = _exact(path, value, *((15, 18) if counted or kind == "number" else (30, 30)))
        if counted and number < 0:
            raise BadUsage(path)
        whole = counted and self.meters.get(name, {}).get("type") != "number"
        if whole and number.denominator != 1:
            raise BadUsage(path)
        return number

    def quantity(self, name: str) -> Fraction:
        """A meter's whole quantity: as stated, or as it follows from others, or none."""
        meter = self.meters.get(name, {})
        if name in self.stated or not self.is_known(name):
            return self.stated.get(name, Fraction(0))
        if "sum_of" in meter:
            return sum((self.quantity(part) for part in meter["sum_of"]), Fraction(0))
        result = Fraction(1)
        for factor in meter["product_of"]:
            result *= self.stated.get(factor, Fraction(self.meters[factor].get("default", 0)))
        return result

    def is_known(self, name: str) -> bool:
        """Whether the usage states the meter, or another that it follows from."""
        meter = self.meters.get(name, {})
        others = [*meter.get("sum_of", []), *meter.get("product_of", [])]
        return name in self.stated or any(other in self.stated for other in others)

    def quantity_to_price(self, meter: str) -> Fraction:
        """What the meter's own lines price: the whole without the parts that have lines; a request is one."""
        upstream = self.quantity("upstream_cost_usd")
        by_task = any(line.get("model") in TASK_MODELS for line in self.lines if meter in meters_of(line))
        if meter != "upstream_cost_usd" and self.is_known(meter):
            whole = self.quantity(meter)
        elif by_task and upstream:
            return Fraction(1)
        elif meter in {"requests", "upstream_cost_usd"}:
            return Fraction(0 if self.failed and not self._something_done() else 1)
        else:
            whole = Fraction(0)
        if not whole:
            return whole
        priced = {name for line in self.lines for name in meters_of(line)}
        parts = sum(
            self.quantity(name)
            for name, body in self.meters.items()
            if body.get("part_of") == meter and name in priced
        )
        if parts > whole:
            raise BadUsage(meter)
        return whole - parts

    def _something_done(self) -> bool:
        return any(self.quantity(meter) for line in self.lines for meter in meters_of(line))

    def price(self, meter: str, quantity: Fraction) -> list[Item]:
        """The items of every line that fits the meter."""
        fitting = []
        for line in self.lines:
            if meter in meters_of(line):
                wholes = [line] if "percent_off" not in line else self._lines_of_whole(meter)
                fitting += [(line, whole) for whole in wholes if self._fits(line) and self._fits(whole)]
        if not fitting:
            raise NoPrice(meter)
        ends = [bound(line.get("up_to")) for line, _ in fitting if line.get("model") == "graduated"]
        items = [item for line, whole in fitting for item in self._apply(line, whole, meter, quantity)]
        if not items:
            raise NoPrice("upstream_cost_usd")
        if ends and None not in ends and quantity > max(end for end in ends if end is not None):
            raise NoPrice(meter)
        return items

    def _lines_of_whole(self, part: str) -> list[Line]:
        whole = self.meters[part]["part_of"]
        return [line for line in self.lines if whole in meters_of(line) and "percent_off" not in line]

    def _fits(self, line: Line) -> bool:
        for field, choice in line.get("when", {}).items():
            known = self.fields.get(field) or self.meters[field]
            value: object = self.usage.get(field)
            if known["type"] not in {"string", "boolean"}:
                value = self.quantity(field) if self.is_known(field) else None
            if value is None:
                value = known.get("default")
            if value not in (choice if isinstance(choice, list) else [choice]):
                return False
        if line.get("model") != "volume":
            return True
        basis = self.quantity(str(line.get("tier_by", meters_of(line)[0])))
        above, up_to = bound(line.get("above")), bound(line.get("up_to"))
        return (above is None or basis > above) and (up_to is None or basis <= up_to)

    def _apply(self, line: Line, whole: Line, meter: str, quantity: Fraction) -> list[Item]:
        kind = line.get("model", "per_unit")
        if kind in TASK_MODELS:
            exact = self._task(line)
            return [] if exact is None else [_item(line, meter, exact)]
        if "percent_off" in line:
            wanted = self.meters[meter]["part_of"]
            left = 1 - Fraction(line["percent_off"]) / 100
            return [_item(line, meter, quantity * left * _rate(whole, wanted) / units_of(whole["per"]))]
        if kind == "package":
            return [_item(line, meter, ceil(quantity / units_of(line["per"])) * _rate(line, meter))]
        if kind == "graduated":
            start, end = bound(line.get("above")) or 0, bound(line.get("up_to"))
            quantity = (quantity if end is None else min(quantity, Fraction(end))) - start
            if quantity <= 0:
                return []
        return [_item(line, meter, quantity * _rate(line, meter) / units_of(line["per"]))]

    def _task(self, line: Line) -> Fraction | None:
        """The price of one task in picodollars, None where nobody knows it."""
        if "upstream_cost_usd" in self.stated:
            cost = self.stated["upstream_cost_usd"] * (100 + Fraction(line.get("percent", "0"))) / 100
        elif "default" in line:
            cost = Fraction(line["default"])
        else:
            return None
        cost = max(cost, Fraction(line.get("minimum", "0")))
        return min(cost, Fraction(line["maximum"])) * PICO if "maximum" in line else cost * PICO


def leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Every value below a name that is not null, with its dotted path."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(f"{path}.{name}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(f"{path}[{index}]", inner)
    elif value is not None:
        yield path, value


def tool_name(path: str) -> str:
    """Both ways to say that a tool was called."""
    match = re.fullmatch(r"tool_usage\.(.+)|tool_calls_details\.(.+)\.invocation", path)
    return f"tools.{match[1] or match[2]}" if match else path


def _exact(path: str, value: int | Decimal, digits: int, places: int) -> Fraction:
    if isinstance(value, Decimal) and (not value.is_finite() or int(value.as_tuple().exponent) < -places):
        raise BadUsage(path)
    if not -(10**digits) < value < 10**digits:
        raise BadUsage(path)
    return Fraction(value)


def _rate(line: Line, meter: str) -> Fraction:
    return Fraction(line["rates"][meter] if "rates" in line else line["rate"]) * PICO


def _item(line: Line, meter: str, exact: Fraction) -> Item:
    return Item(line["charge"], meter, exact, round(exact))  # of a Fraction: half to even
