"""Disputes: money that the customer's bank takes back, and the answer to it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from metering.payments.simulator.balance_transactions import move
from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.customers import merged
from metering.payments.simulator.forms import Form, flag, listing, metadata, moments, nested, text, text_of
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import State

# What Stripe takes for a dispute in the United States.
FEE_CENTS: Final = 1_500
_DAYS_TO_ANSWER: Final = 9
STATUSES: Final = (
    "warning_needs_response",
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "won",
    "lost",
)
_OPEN: Final = frozenset({"warning_needs_response", "needs_response"})
_CLOSED: Final = frozenset({"warning_closed", "won", "lost"})
_EVIDENCE: Final = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)


def open_dispute(
    state: State,
    charge: Json,
    *,
    reason: str = "fraudulent",
    inquiry: bool = False,
    amount: int | None = None,
    fee: int = FEE_CENTS,
    withdraw: bool = True,
) -> Json:
    """The customer disputes a charge. An inquiry takes no money yet; nor does one without `withdraw`."""
    if charge["status"] != "succeeded":
        raise Refusal(f"The charge is {charge['status']}: it can't be disputed.", param="charge")
    disputed = amount or charge["amount"] - charge["amount_refunded"]
    if not 0 < disputed <= charge["amount"]:
        raise Refusal("That is more than was charged, or nothing.", param="amount")
    due = state.now() + _DAYS_TO_ANSWER * 86_400
    dispute = {
        "id": state.new_id("du"),
        "object": "dispute",
        "amount": disputed,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": state.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": due,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "network_reason_code": None,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": _details(charge, inquiry=inquiry),
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
        "_fee": fee,
    }
    state.change(charge, disputed=True)
    state.add(dispute, "charge.dispute.created")
    if withdraw and not inquiry:
        withdraw_funds(state, dispute)
    return dispute


def _details(charge: Json, *, inquiry: bool) -> Json | None:
    if charge["payment_method_details"]["type"] != "card":
        return None
    brand = charge["payment_method_details"]["card"]["brand"]
    card = {
        "brand": brand,
        "case_type": "inquiry" if inquiry else "chargeback",
        "network": brand,
        "network_reason_code": "10.4",
    }
    return {"type": "card", "card": card}


def withdraw_funds(state: State, dispute: Json) -> Json:
    """The bank takes the money, and Stripe its fee."""
    category = "dispute"
    what = f"Chargeback withdrawal for {dispute['charge']}"
    booked = move(
        state,
        "adjustment",
        -dispute["amount"],
        dispute,
        fee=dispute["_fee"],
        category=category,
        description=what,
    )
    return _booked(state, dispute, booked, "charge.dispute.funds_withdrawn")


def reinstate_funds(state: State, dispute: Json, fee_returned: int = 0) -> Json:
    """The bank gives the money back; Stripe keeps its fee, but for `fee_returned` cents of it."""
    what = f"Chargeback reversal for {dispute['charge']}"
    booked = move(
        state,
        "adjustment",
        dispute["amount"],
        dispute,
        fee=-fee_returned,
        category="dispute_reversal",
        description=what,
    )
    return _booked(state, dispute, booked, "charge.dispute.funds_reinstated")


def _booked(state: State, dispute: Json, booked: Json, event: str) -> Json:
    return state.change(
        dispute,
        event,
        balance_transactions=[*dispute["balance_transactions"], booked],
        is_charge_refundable=False,
    )


def move_to(state: State, dispute: Json, status: str) -> Json:
    """The dispute's new status, told as updated or closed; no money moves."""
    if status not in STATUSES:
        raise Refusal(f"Invalid status: must be one of {', '.join(STATUSES)}", param="status")
    event = "charge.dispute.closed" if status in _CLOSED else "charge.dispute.updated"
    refundable = status.startswith("warning_")
    return state.change(dispute, event, status=status, is_charge_refundable=refundable)


def win(state: State, dispute: Json) -> Json:
    """We were right: closed, and what was withdrawn comes back."""
    if dispute["status"].startswith("warning_"):
        return move_to(state, dispute, "warning_closed")
    move_to(state, dispute, "won")
    taken = sum(booked["amount"] for booked in dispute["balance_transactions"])
    return reinstate_funds(state, dispute) if taken < 0 else dispute


def lose(state: State, dispute: Json) -> Json:
    """We were wrong: closed, and what was withdrawn is gone."""
    return move_to(state, dispute, "warning_closed" if dispute["status"].startswith("warning_") else "lost")


def escalate(state: State, dispute: Json) -> Json:
    """An inquiry becomes a chargeback."""
    move_to(state, dispute, "needs_response")
    return withdraw_funds(state, dispute)


# What test mode reads in the evidence's `uncategorized_text`.
_DECISIONS: Final = MappingProxyType(
    {"winning_evidence": win, "losing_evidence": lose, "escalate_inquiry_evidence": escalate}
)


def _retrieve(call: Call, id: str) -> Json:
    return call.state.get("dispute", id)


def _update(call: Call, id: str) -> Json:
    state, form = call.state, call.form
    dispute = state.get("dispute", id)
    changes: Json = {}
    if "metadata" in form:
        changes["metadata"] = merged(dispute["metadata"], form["metadata"])
    if form.get("evidence"):
        if dispute["status"] not in _OPEN:
            raise Refusal("This dispute is already closed or under review; evidence can't be added.")
        changes["evidence"] = {**dispute["evidence"], **form["evidence"]}
        changes["evidence_details"] = {**dispute["evidence_details"], "has_evidence": True}
    state.change(dispute, "charge.dispute.updated", **changes)
    if (
        dispute["status"] in _OPEN
        and dispute["evidence_details"]["has_evidence"]
        and form.get("submit", True)
    ):
        _submit(state, dispute)
    return dispute


def _submit(state: State, dispute: Json) -> None:
    details = {**dispute["evidence_details"], "submission_count": 1, "submission_method": "manual"}
    state.change(dispute, evidence_details=details)
    inquiry = dispute["status"].startswith("warning_")
    move_to(state, dispute, "warning_under_review" if inquiry else "under_review")
    decide = _DECISIONS.get(dispute["evidence"]["uncategorized_text"] or "")
    if decide:
        state.later(lambda: decide(state, dispute))


def _close(call: Call, id: str) -> Json:
    dispute = call.state.get("dispute", id)
    if dispute["status"] not in _OPEN:
        raise Refusal("This dispute is already closed.", code="dispute_already_closed")
    return move_to(call.state, dispute, "lost")


def _list(call: Call) -> Json:
    wanted = {name: call.form.get(name) for name in ("charge", "payment_intent")}
    return call.page("dispute", **wanted)


def _observe(state: State, type: str, about: Json, _previous: Json) -> None:
    """Some test cards are disputed as soon as they have paid."""
    if type == "charge.succeeded" and about["_behaviour"]["dispute"]:
        behaviour = about["_behaviour"]
        state.later(lambda: _disputed(state, about, behaviour["dispute"], inquiry=behaviour["inquiry"]))


def _disputed(state: State, charge: Json, reason: str, *, inquiry: bool) -> None:
    open_dispute(state, charge, reason=reason, inquiry=inquiry)


RESOURCE = Resource(
    "dispute",
    (
        Route("GET", "/v1/disputes/{id}", _retrieve, Form(sdk="DisputeRetrieveParams")),
        Route(
            "POST",
            "/v1/disputes/{id}",
            _update,
            Form(
                {
                    "evidence": nested(dict.fromkeys(_EVIDENCE, text_of(20_000))),
                    "metadata": metadata,
                    "submit": flag,
                },
                sdk="DisputeUpdateParams",
            ),
        ),
        Route("POST", "/v1/disputes/{id}/close", _close, Form(sdk="DisputeCloseParams")),
        Route(
            "GET",
            "/v1/disputes",
            _list,
            listing("DisputeListParams", charge=text, payment_intent=text, created=moments),
        ),
    ),
    expandable=frozenset({"charge", "payment_intent"}),
    observe=_observe,
)
