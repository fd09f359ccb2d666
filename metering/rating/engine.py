"""The rating engine: usage in, `Rating` or `Unpriced` out; the same answer to the same question for ever."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from metering.errors import InvalidUsage
from metering.money import to_number
from metering.pricing.book import ModelPrices, PriceBook
from metering.rating.charge_models.price import held_between
from metering.rating.matching import Group, Line, PreparedCard, prepare
from metering.rating.rating import LineItem, Rating, Term, Unpriced
from metering.usage.meters import REQUESTS, UPSTREAM_COST, Quantity, less, plus, times
from metering.usage.normalize import LIMIT, normalize

_ONE_TASK = 1
# What a NamedTuple's own constructor calls, without its frame: a seventh of the whole rating.
_make = tuple.__new__


class _Unpriceable(Exception):
    def __init__(self, meter: str, reason: str) -> None:
        super().__init__(reason)
        self.meter = meter
        self.reason = reason


class Rater:
    """Prices events by one price book."""

    def __init__(self, book: PriceBook) -> None:
        self.book = book
        self._models: dict[str, tuple[ModelPrices, tuple[PreparedCard, ...]]] = {
            name: (model, tuple(prepare(card, book.vocabulary) for card in model.cards))
            for name, model in book.models.items()
        }

    def rate(
        self, model: str, usage: Mapping[str, object], created_at: datetime, *, failed: bool = False
    ) -> Rating | Unpriced:
        """Price one event's usage by the edition in force at `created_at`.

        `failed` says that the request ended in an error: then a request is only counted, where usage
        does not say `requests`, if something else was done. Raises `InvalidUsage` for bad usage.
        """
        quantities = normalize(usage, self.book.vocabulary)
        known = self._models.get(model)
        if known is None:
            unbilled = {name: quantity for name, quantity in quantities.items() if quantity}
            return Unpriced(None, f"unknown model {model!r}", quantities, unbilled)
        prices, cards = known
        card = cards[0] if len(cards) == 1 else cards[prices.edition_at(created_at)]
        if card.derived:
            self._derive(card, quantities)
        unbilled = {}
        if not card.covered.issuperset(quantities):
            unbilled = {
                name: count for name, count in quantities.items() if count and name not in card.covered
            }
        try:
            items = _line_items(card, usage, quantities, failed=failed)
        except _Unpriceable as reason:
            return Unpriced(reason.meter, reason.reason, quantities, unbilled)
        cost, label = 0, None
        for item in items:
            cost += item.amount_pico
            label = label or item.term.label
        return _make(Rating, (items, cost, label, quantities, unbilled))

    def _derive(self, card: PreparedCard, quantities: dict[str, Quantity]) -> None:
        """Add the meters that follow from others, where the usage states one of those but not the meter."""
        for name in card.derived:
            meter = self.book.vocabulary.meters[name]
            if name in quantities or quantities.keys().isdisjoint(meter.sum_of or meter.product_of):
                continue
            derived: Quantity = 0 if meter.sum_of else 1
            for other in meter.sum_of:
                derived = plus(derived, quantities.get(other, 0))
            for other in meter.product_of:
                derived = times(derived, quantities.get(other, self.book.vocabulary.meters[other].default))
            if meter.product_of and derived >= LIMIT:
                raise InvalidUsage(f"makes {name} {LIMIT} or more", param=meter.product_of[0])
            quantities[name] = derived


def _line_items(
    card: PreparedCard, usage: Mapping[str, object], quantities: Mapping[str, Quantity], *, failed: bool
) -> list[LineItem]:
    """The hot path: everything else here is for what is rarer than tokens."""
    items: list[LineItem] = []
    for group in card.groups:
        quantity = quantities.get(group.meter, 0)
        if group.implied or group.tasks:
            quantity = _implied(group, card, quantities, failed=failed)
        if not quantity:
            continue
        for part in group.parts:
            quantity = less(quantity, quantities.get(part, 0))
        line = group.only
        if line is None and group.single:
            line = _pick(group, usage, quantities)
        if line is not None and line.unit and type(quantity) is int and quantity > 0:
            items.append(_make(LineItem, (line.term, quantity, quantity * line.unit)))
        elif quantity > 0:
            items += _price(group, quantity, usage, quantities)
        elif quantity < 0:
            raise InvalidUsage(f"has parts that exceed it: {', '.join(group.parts)}", param=group.meter)
    if items and (card.minimum_pico is not None or card.maximum_pico is not None):
        _hold_total(card, items)
    return items


def _pick(group: Group, usage: Mapping[str, object], quantities: Mapping[str, Quantity]) -> Line | None:
    """The one line that applies; by its tier alone where nothing else tells the lines apart."""
    if group.ladder_by is not None:
        basis = quantities.get(group.ladder_by, 0)
        for line in group.lines:
            if line.above < basis <= line.up_to:
                return line
        return None
    for line in group.lines:
        if line.applies(usage, quantities):
            return line
    return None


def _implied(
    group: Group, card: PreparedCard, quantities: Mapping[str, Quantity], *, failed: bool
) -> Quantity:
    """How often an event carries what it need not state: a request, or a task with the provider's figure."""
    if group.meter != UPSTREAM_COST and group.meter in quantities:
        return quantities[group.meter]
    if group.tasks and quantities.get(UPSTREAM_COST):
        return _ONE_TASK
    nothing_done = failed and not any(quantities.get(other.meter) for other in card.groups)
    return _ONE_TASK if group.implied and not nothing_done else 0


def _price(
    group: Group, quantity: Quantity, usage: Mapping[str, object], quantities: Mapping[str, Quantity]
) -> list[LineItem]:
    """The line items of one group; raises `_Unpriceable` where no line fits."""
    lines = [line for line in group.lines if line.applies(usage, quantities)]
    if not lines:
        raise _Unpriceable(group.meter, _no_line(group, quantity, usage, quantities))
    upstream = quantities.get(UPSTREAM_COST)
    items = [item for line in lines if (item := line.price(quantity, upstream)) is not None]
    if not items:
        raise _Unpriceable(UPSTREAM_COST, "the usage states no upstream_cost_usd")
    if lines[0].model == "graduated":
        _check_reach(group, lines, quantity)
    return items


def _check_reach(group: Group, lines: list[Line], quantity: Quantity) -> None:
    """A graduated ladder must reach the whole quantity."""
    last = max(line.up_to for line in lines)
    if quantity > last:
        raise _Unpriceable(group.meter, f"no rate for {group.meter} above {last}")


def _no_line(
    group: Group, quantity: Quantity, usage: Mapping[str, object], quantities: Mapping[str, Quantity]
) -> str:
    """Why no line of the group fits, naming the fields and quantities that would pick one."""
    named = sorted({condition.field for line in group.lines for condition in line.conditions})
    named += sorted({line.tier_by for line in group.lines if line.tier_by})
    stated = {**usage, **quantities}
    given = ", ".join(f"{name}={stated.get(name)}" for name in named)
    return f"no rate for {group.meter}={quantity}" + (f" with {given}" if given else "")


def _hold_total(card: PreparedCard, items: list[LineItem]) -> None:
    """Bring the sum within the card's minimum and maximum per request by a line item of its own."""
    total = sum(item.amount_pico for item in items)
    held = held_between(total, card.minimum_pico, card.maximum_pico)
    if held != total:
        name = "Minimum per request" if held > total else "Maximum per request"
        term = Term(name, REQUESTS, to_number(held - total), "request", None)
        items.append(LineItem(term, 1, held - total))
