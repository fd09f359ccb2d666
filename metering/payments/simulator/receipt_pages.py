"""Receipts: the page behind a charge's `receipt_url`."""

from __future__ import annotations

from datetime import UTC, datetime

from metering.payments.simulator.calls import Call, Page, Resource, Route
from metering.payments.simulator.pages import dollars, notice, page, table
from metering.payments.simulator.refusals import Json
from metering.payments.simulator.state import State


def _show(call: Call, id: str) -> Page:
    charge = call.state.find("charge", id)
    if charge is None or charge["status"] != "succeeded":
        return notice("Nothing here", "There is no such receipt.", status=404)
    rows = [
        ("Date paid", f"{datetime.fromtimestamp(charge['created'], UTC):%B %-d, %Y}"),
        ("Payment method", _paid_with(charge["payment_method_details"])),
        ("On your statement", charge["calculated_statement_descriptor"]),
        *_lines(call.state, charge),
        ("Amount charged", dollars(charge["amount"])),
    ]
    if charge["amount_refunded"]:
        rows.append(("Refunded", dollars(charge["amount_refunded"])))
    head = f'<h1>Receipt</h1><p class="amount">{dollars(charge["amount"])}</p>'
    return page("Receipt", f'<div class="narrow">{head}{table(rows)}</div>')


def _lines(state: State, charge: Json) -> list[tuple[str, str]]:
    """What was bought, where it was bought in Checkout."""
    intent = state.get("payment_intent", charge["payment_intent"])
    session = state.find("checkout.session", intent.get("_checkout_session"))
    if session is None:
        return [(charge["description"] or "Payment", dollars(charge["amount"]))]
    lines = [(line["description"], dollars(line["amount_subtotal"])) for line in session["_line_items"]]
    tax = session["total_details"]["amount_tax"]
    return [*lines, ("Tax", dollars(tax))] if tax else lines


def _paid_with(details: Json) -> str:
    method = details[details["type"]]
    return f"{method.get('brand', 'bank account').capitalize()} •••• {method['last4']}"


RESOURCE = Resource("_receipt_pages", (Route("GET", "/receipts/{id}", _show, None),))
