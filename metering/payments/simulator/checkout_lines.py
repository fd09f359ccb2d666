"""What a Checkout session sells: its line items, their prices, the tax on them."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from metering.payments.simulator.forms import Items, between, choice, currency, metadata, nested, text
from metering.payments.simulator.refusals import Json
from metering.payments.simulator.state import State

_PRODUCT = nested({"description": text, "metadata": metadata, "name": text}, "name")
_PRICE = nested(
    {
        "currency": currency,
        "product_data": _PRODUCT,
        "tax_behavior": choice("exclusive", "inclusive", "unspecified"),
        "unit_amount": between(0, 99_999_999),
    },
    "currency",
    "product_data",
    "unit_amount",
)
LINE_ITEMS = Items(
    nested(
        {"metadata": metadata, "price_data": _PRICE, "quantity": between(1, 1_000_000)},
        "price_data",
        "quantity",
    )
)


def make_line_item(state: State, form: Json) -> Json:
    """A line and its price, which exists for this line alone."""
    data = form["price_data"]
    amount = data["unit_amount"] * form["quantity"]
    return {
        "id": state.new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": data["currency"],
        "description": data["product_data"]["name"],
        "metadata": form.get("metadata", {}),
        "price": {
            "id": state.new_id("price"),
            "object": "price",
            "active": False,
            "billing_scheme": "per_unit",
            "created": state.now(),
            "currency": data["currency"],
            "custom_unit_amount": None,
            "livemode": False,
            "lookup_key": None,
            "metadata": {},
            "nickname": None,
            "product": state.new_id("prod"),
            "recurring": None,
            "tax_behavior": data.get("tax_behavior", "unspecified"),
            "tiers_mode": None,
            "transform_quantity": None,
            "type": "one_time",
            "unit_amount": data["unit_amount"],
            "unit_amount_decimal": str(data["unit_amount"]),
        },
        "quantity": form["quantity"],
    }


def taxed(line: Json, percent: Decimal) -> Json:
    """The line with this tax on it, or within it where its price includes tax; to the cent, half up."""
    amount = Decimal(line["amount_subtotal"])
    if line["price"]["tax_behavior"] == "inclusive":
        tax = _cents(amount * percent / (100 + percent))
        return {**line, "amount_tax": tax, "amount_total": line["amount_subtotal"]}
    tax = _cents(amount * percent / 100)
    return {**line, "amount_tax": tax, "amount_total": line["amount_subtotal"] + tax}


def totals(lines: list[Json]) -> Json:
    """What a session says of its lines together."""
    return {
        "amount_subtotal": sum(line["amount_subtotal"] for line in lines),
        "amount_total": sum(line["amount_total"] for line in lines),
        "total_details": {
            "amount_discount": 0,
            "amount_shipping": 0,
            "amount_tax": sum(line["amount_tax"] for line in lines),
        },
    }


def _cents(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))
