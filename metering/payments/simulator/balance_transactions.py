"""Balance transactions: every movement of the simulated account's money, with its fee."""

from __future__ import annotations

from typing import Final

from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.forms import Form, currency, listing, moments, text
from metering.payments.simulator.refusals import Json
from metering.payments.simulator.state import State

# Stripe's price of a card payment in the United States: 2.9 % and 30 cents.
_FEE_PER_MILLE: Final = 29
_FEE_CENTS: Final = 30
_DAYS_UNTIL_AVAILABLE: Final = 2


def processing_fee(amount: int) -> int:
    """Cents taken of a payment of so many cents; half a cent is rounded up."""
    return (amount * _FEE_PER_MILLE + 500) // 1_000 + _FEE_CENTS


def move(
    state: State,
    type: str,
    amount: int,
    source: Json,
    *,
    fee: int = 0,
    category: str = "",
    description: str = "",
) -> Json:
    """Book `amount` less `fee`, in cents; `source` is the charge, refund or dispute it is for."""
    return state.add(
        {
            "id": state.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": state.now() + _DAYS_UNTIL_AVAILABLE * 86_400,
            "balance_type": "payments",
            "created": state.now(),
            "currency": source["currency"],
            "description": description or None,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [_fee_detail(fee, source)] if fee else [],
            "net": amount - fee,
            "reporting_category": category or type,
            "source": source["id"],
            "status": "pending",
            "type": type,
        }
    )


def _fee_detail(fee: int, source: Json) -> Json:
    what = "Dispute fee" if source["object"] == "dispute" else "Stripe processing fees"
    return {
        "amount": fee,
        "application": None,
        "currency": source["currency"],
        "description": what,
        "type": "stripe_fee",
    }


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("balance_transaction", id)


def _list(call: Call) -> Json:
    wanted = {name: call.form.get(name) for name in ("source", "type", "currency")}
    return call.page("balance_transaction", **wanted)


RESOURCE = Resource(
    "balance_transaction",
    (
        Route(
            "GET", "/v1/balance_transactions/{id}", _retrieve, Form(sdk="BalanceTransactionRetrieveParams")
        ),
        Route(
            "GET",
            "/v1/balance_transactions",
            _list,
            listing(
                "BalanceTransactionListParams", source=text, type=text, currency=currency, created=moments
            ),
        ),
    ),
    expandable=frozenset({"source"}),
)
