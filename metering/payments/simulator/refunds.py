"""Refunds: of what was paid and not yet given back."""

from __future__ import annotations

from metering.payments.simulator.balance_transactions import move
from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.customers import merged
from metering.payments.simulator.forms import Fields, Form, choice, integer, listing, metadata, moments, text
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import State


def refund(state: State, charge: Json, amount: int | None, reason: str | None, given: dict[str, str]) -> Json:
    """Give back `amount` cents, or all that is left; a `Refusal` where that is more than was paid."""
    amount = _checked_amount(state, charge, amount)
    status = "pending" if charge["_behaviour"]["refund"] == "pending" else "succeeded"
    is_card = charge["payment_method_details"]["type"] == "card"
    made = {
        "id": state.new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": state.now(),
        "currency": charge["currency"],
        "destination_details": {
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        }
        if is_card
        else {"type": "us_bank_transfer", "us_bank_transfer": {"reference": None, "reference_status": None}},
        "metadata": merged({}, given),
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
    }
    made["balance_transaction"] = move(state, "refund", -amount, made, description="REFUND FOR PAYMENT")["id"]
    state.add(made, "refund.created")
    _change_charge(state, charge, amount)
    state.tell("charge.refunded", charge, {"amount_refunded": charge["amount_refunded"] - amount})
    return made


def settle_refund(state: State, made: Json) -> Json:
    """A pending refund has reached its customer."""
    if made["status"] != "pending":
        raise Refusal(f"The refund is {made['status']}, not pending.", param="id")
    return _told(state, state.change(made, status="succeeded"), {"status": "pending"})


def fail_refund(state: State, made: Json, status: str = "failed", why: str = "unknown") -> Json:
    """The money came back: the refund has "failed", or was "canceled" while it was pending."""
    if made["status"] not in {"pending", "succeeded"}:
        raise Refusal(f"The refund is {made['status']} already.", param="id")
    before = made["status"]
    back = move(state, "refund_failure", made["amount"], made, description="REFUND FAILURE")
    state.change(made, status=status, failure_balance_transaction=back["id"])
    if status == "failed":
        state.change(made, failure_reason=why)
    _change_charge(state, state.get("charge", made["charge"]), -made["amount"])
    _told(state, made, {"status": before})
    if status == "failed":
        state.tell("refund.failed", made, {"status": before})
    return made


def _told(state: State, made: Json, previous: Json) -> Json:
    state.tell("refund.updated", made, previous)
    state.tell("charge.refund.updated", made, previous)
    return made


def _checked_amount(state: State, charge: Json, amount: int | None) -> int:
    left = charge["amount"] - charge["amount_refunded"]
    if charge["status"] != "succeeded":
        raise Refusal(f"This charge has not succeeded: its status is {charge['status']}.", param="charge")
    if any(
        not dispute["is_charge_refundable"] for dispute in state.iter_kind("dispute", charge=charge["id"])
    ):
        raise Refusal(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    if not left:
        raise Refusal(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if amount is None:
        return int(left)
    if amount < 1:
        raise Refusal("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        whole = "unrefunded amount on" if charge["amount_refunded"] else "charge amount"
        raise Refusal(
            f"Refund amount (${amount // 100:,}.{amount % 100:02}) is greater than {whole} "
            f"{'charge ' if charge['amount_refunded'] else ''}(${left // 100:,}.{left % 100:02})",
            param="amount",
        )
    return amount


def _change_charge(state: State, charge: Json, amount: int) -> None:
    refunded = charge["amount_refunded"] + amount
    state.change(charge, amount_refunded=refunded, refunded=refunded == charge["amount"])


def _create(call: Call) -> Json:
    form, state = call.form, call.state
    if ("charge" in form) == ("payment_intent" in form):
        raise Refusal(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing" if "charge" not in form else None,
        )
    if "charge" in form:
        charge = state.get("charge", form["charge"], "charge")
    else:
        intent = state.get("payment_intent", form["payment_intent"], "payment_intent")
        found = state.find("charge", intent["latest_charge"])
        if found is None or intent["status"] != "succeeded":
            raise Refusal(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                param="payment_intent",
            )
        charge = found
    return refund(state, charge, form.get("amount"), form.get("reason"), form.get("metadata", {}))


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("refund", id)


def _update(call: Call, id: str) -> Json:
    made = call.state.get("refund", id)
    before = made["metadata"]
    call.state.change(made, metadata=merged(before, call.form.get("metadata", {})))
    return _told(call.state, made, {"metadata": before})


def _cancel(call: Call, id: str) -> Json:
    made = call.state.get("refund", id)
    if made["status"] != "pending":
        raise Refusal(f"You cannot cancel this refund: its status is {made['status']}.")
    return fail_refund(call.state, made, "canceled")


def _list(call: Call) -> Json:
    wanted = {name: call.form.get(name) for name in ("charge", "payment_intent")}
    return call.page("refund", **wanted)


_CREATING: Fields = {
    "amount": integer,
    "charge": text,
    "metadata": metadata,
    "payment_intent": text,
    "reason": choice("duplicate", "fraudulent", "requested_by_customer"),
}
RESOURCE = Resource(
    "refund",
    (
        Route("POST", "/v1/refunds", _create, Form(_CREATING, sdk="RefundCreateParams")),
        Route("GET", "/v1/refunds/{id}", _retrieve, Form(sdk="RefundRetrieveParams")),
        Route("POST", "/v1/refunds/{id}", _update, Form({"metadata": metadata}, sdk="RefundUpdateParams")),
        Route("POST", "/v1/refunds/{id}/cancel", _cancel, Form(sdk="RefundCancelParams")),
        Route(
            "GET",
            "/v1/refunds",
            _list,
            listing("RefundListParams", charge=text, payment_intent=text, created=moments),
        ),
    ),
    expandable=frozenset({"balance_transaction", "charge", "failure_balance_transaction", "payment_intent"}),
)
