"""Charges: the attempts to take money, successful or not."""

from __future__ import annotations

from typing import Final

from metering.payments.simulator.balance_transactions import move, processing_fee
from metering.payments.simulator.calls import Call, Resource, Route, paged
from metering.payments.simulator.cards import DECLINES
from metering.payments.simulator.customers import merged
from metering.payments.simulator.declines import outcome
from metering.payments.simulator.forms import Form, choice, listing, metadata, moments, nested, text
from metering.payments.simulator.refusals import Json
from metering.payments.simulator.state import State

# What the networks allow on a statement.
DESCRIPTOR_CHARACTERS: Final = 22
_NEVER_SET: Final = (
    "application",
    "application_fee",
    "application_fee_amount",
    "failure_balance_transaction",
    "on_behalf_of",
    "receipt_number",
    "review",
    "shipping",
    "source",
    "source_transfer",
    "transfer_data",
    "transfer_group",
)


def make_charge(state: State, intent: Json, method: Json, status: str, decline: str | None = None) -> Json:
    """The charge of an attempt on a payment intent: "succeeded", "pending", or "failed" for the reason."""
    why = DECLINES[decline] if decline else None
    charge_id = state.new_id("ch")
    suffix = intent["statement_descriptor_suffix"]
    charge = {
        "id": charge_id,
        "object": "charge",
        **dict.fromkeys(_NEVER_SET),
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if status == "succeeded" else 0,
        "amount_refunded": 0,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": _descriptor(state, intent["statement_descriptor"], suffix),
        "captured": status != "failed",
        "created": state.now(),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_code": why.code if why else None,
        "failure_message": why.message if why else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "outcome": outcome(decline),
        "paid": status != "failed",
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": _details(method, intent["amount"]),
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_url": f"{state.settings.base_url}/receipts/{charge_id}" if status == "succeeded" else None,
        "refunded": False,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": suffix,
        "status": status,
        "_behaviour": method["_behaviour"],
    }
    return state.add(charge, f"charge.{status}")


def take_funds(state: State, charge: Json) -> Json:
    """Book a successful charge and its fee."""
    booked = move(
        state,
        "charge" if charge["payment_method_details"]["type"] == "card" else "payment",
        charge["amount"],
        charge,
        fee=processing_fee(charge["amount"]),
        category="charge",
        description=charge["description"] or "",
    )
    return state.change(charge, balance_transaction=booked["id"])


def _descriptor(state: State, whole: str | None, suffix: str | None) -> str:
    prefix = state.settings.statement_descriptor
    return (whole or (f"{prefix}* {suffix}" if suffix else prefix))[:DESCRIPTOR_CHARACTERS]


def _details(method: Json, amount: int) -> Json:
    if method["type"] == "us_bank_account":
        known = method["us_bank_account"]
        named = ("account_holder_type", "account_type", "bank_name", "fingerprint", "last4", "routing_number")
        debit = {"expected_debit_date": None, "mandate": None, "payment_reference": None}
        return {
            "type": "us_bank_account",
            "us_bank_account": {**{name: known[name] for name in named}, **debit},
        }
    card = method["card"]
    kept = (
        "brand",
        "country",
        "exp_month",
        "exp_year",
        "fingerprint",
        "funding",
        "last4",
        "regulated_status",
    )
    checked = {name: "pass" if value else None for name, value in card["checks"].items()}
    unavailable = {"status": "unavailable"}
    return {
        "type": "card",
        "card": {
            **{name: card[name] for name in kept},
            "amount_authorized": amount,
            "authorization_code": "123456",
            "checks": checked,
            "extended_authorization": {"status": "disabled"},
            "incremental_authorization": unavailable,
            "installments": None,
            "mandate": None,
            "multicapture": unavailable,
            "network": card["brand"],
            "network_token": {"used": False},
            "network_transaction_id": "104102978678771",
            "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
            "three_d_secure": None,
            "wallet": None,
        },
    }


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("charge", id)


def _update(call: Call, id: str) -> Json:
    charge = call.state.get("charge", id)
    changes = {name: value for name, value in call.form.items() if name != "expand"}
    if "metadata" in changes:
        changes["metadata"] = merged(charge["metadata"], changes["metadata"])
    return call.state.change(charge, "charge.updated", **changes)


def _list(call: Call) -> Json:
    wanted = {name: call.form.get(name) for name in ("customer", "payment_intent")}
    return call.page("charge", **wanted)


def refunds_of(state: State, charge: Json) -> Json:
    """The list that `expand[]=refunds` shows."""
    call = Call(state, "GET", f"/v1/charges/{charge['id']}/refunds", {})
    return paged(call, list(state.iter_kind("refund", charge=charge["id"])))


_FRAUD = nested({"user_report": choice("fraudulent", "safe")})
RESOURCE = Resource(
    "charge",
    (
        Route("GET", "/v1/charges/{id}", _retrieve, Form(sdk="ChargeRetrieveParams")),
        Route(
            "POST",
            "/v1/charges/{id}",
            _update,
            Form(
                {
                    "description": text,
                    "fraud_details": _FRAUD,
                    "metadata": metadata,
                    "receipt_email": text,
                },
                sdk="ChargeUpdateParams",
            ),
        ),
        Route(
            "GET",
            "/v1/charges",
            _list,
            listing("ChargeListParams", customer=text, payment_intent=text, created=moments),
        ),
    ),
    expandable=frozenset(
        {"balance_transaction", "customer", "failure_balance_transaction", "payment_intent"}
    ),
    included={"refunds": refunds_of},
)
