"""The control API, below `/_simulator`: what test cards alone can't bring about.

`control_faults.py` and `control_webhooks.py` have the part that makes calls and deliveries go wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from metering.payments.simulator import attempts, disputes, refunds
from metering.payments.simulator.calls import Call, Resource, Route
from metering.payments.simulator.cards import DECLINES
from metering.payments.simulator.checkout_paying import expire_overdue
from metering.payments.simulator.forms import Fields, Form, Reader, between, choice, flag, integer, text
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.setup_intents import finish_setup_action
from metering.payments.simulator.state import State

_FIRST: Final = "/_simulator"


def _dispute(call: Call, id: str) -> Json:
    form = dict(call.form)
    status = form.pop("status", None)
    made = disputes.open_dispute(call.state, call.state.get("charge", id), **form)
    return disputes.move_to(call.state, made, status) if status else made


def _move_dispute(call: Call, id: str, action: str) -> Json:
    state, dispute = call.state, call.state.get("dispute", id)
    acts: dict[str, Callable[[], Json]] = {
        "win": lambda: disputes.win(state, dispute),
        "lose": lambda: disputes.lose(state, dispute),
        "withdraw": lambda: disputes.withdraw_funds(state, dispute),
        "reinstate": lambda: disputes.reinstate_funds(state, dispute, call.form.get("fee_returned", 0)),
        "escalate": lambda: disputes.escalate(state, dispute),
        "move": lambda: disputes.move_to(state, dispute, call.form.get("status", "")),
    }
    if action not in acts:
        raise Refusal(f"A dispute can {', '.join(acts)}", status=404)
    return acts[action]()


def _refund_in_dashboard(call: Call, id: str) -> Json:
    charge = call.state.get("charge", id)
    return refunds.refund(call.state, charge, call.form.get("amount"), call.form.get("reason"), {})


def _settle_refund(call: Call, id: str) -> Json:
    return refunds.settle_refund(call.state, call.state.get("refund", id))


def _fail_refund(call: Call, id: str) -> Json:
    return refunds.fail_refund(
        call.state, call.state.get("refund", id), why=call.form.get("reason", "unknown")
    )


def _settle_payment(call: Call, id: str) -> Json:
    return attempts.settle(call.state, _processing(call.state, id))


def _fail_payment(call: Call, id: str) -> Json:
    decline = call.form.get("decline", "insufficient_funds")
    return attempts.fail(call.state, _processing(call.state, id), decline)


def _processing(state: State, id: str) -> Json:
    intent = state.get("payment_intent", id)
    if intent["status"] != "processing":
        raise Refusal(f"The payment is {intent['status']}, not processing.")
    return intent


def _authenticate(call: Call, id: str) -> Json:
    succeeded = call.form.get("succeeded", True)
    if setup := call.state.find("setup_intent", id):
        return finish_setup_action(call.state, _waiting(setup), succeeded=succeeded)
    intent = _waiting(call.state.get("payment_intent", id))
    return attempts.finish_action(call.state, intent, succeeded=succeeded)


def _waiting(intent: Json) -> Json:
    if intent["status"] != "requires_action":
        raise Refusal(f"The intent is {intent['status']}: it waits for no action.")
    return intent


def _change_card(call: Call, id: str) -> Json:
    method, form = call.state.get("payment_method", id), call.form
    kept = ("decline", "authentication", "dispute", "refund")
    behaviour = {**method["_behaviour"], **{name: form[name] or "" for name in kept if name in form}}
    if "decline" in form:
        # It was attached already: it is when it is charged that it declines from now on.
        behaviour["declines_early"] = False
    changes: Json = {"_behaviour": behaviour}
    if "set_up" in form:
        changes["_set_up"] = form["set_up"]
    expiry = {name: form[name] for name in ("exp_month", "exp_year") if name in form}
    if expiry:
        changes["card"] = {**method["card"], **expiry}
    call.state.change(method, **changes)
    if expiry:
        # The issuer told Stripe of the new card.
        call.state.tell("payment_method.automatically_updated", method)
    return method


def _advance(call: Call) -> Json:
    call.state.ahead += timedelta(seconds=call.form["seconds"])
    expire_overdue(call.state)
    return {"now": call.state.now()}


def _counts(call: Call) -> Json:
    """How many charges succeeded, and cents, by payment intent and by customer."""
    succeeded = list(call.state.iter_kind("charge", status="succeeded"))
    return {
        "charges_succeeded": len(succeeded),
        "cents_succeeded": sum(charge["amount"] for charge in succeeded),
        "charges_by_customer": Counter(charge["customer"] or "" for charge in succeeded),
        "charges_by_payment_intent": Counter(charge["payment_intent"] for charge in succeeded),
        "objects": {kind: len(kept) for kind, kept in call.state.objects.items() if not kind.startswith("_")},
    }


def _reset(call: Call) -> Json:
    call.simulator.reset()
    return {"reset": True}


def _post(path: str, handler: Callable[..., Json], *needed: str, **fields: Reader) -> Route:
    return Route("POST", f"{_FIRST}/{path}", handler, Form(fields, needed))


_CARD: Fields = {
    "authentication": choice("always", "never", "on_session", "unless_set_up"),
    "decline": choice(*DECLINES),
    "dispute": text,
    "exp_month": between(1, 12),
    "exp_year": between(2_000, 2_100),
    "refund": choice("fails", "pending"),
    "set_up": flag,
}
RESOURCE = Resource(
    "_control",
    (
        _post(
            "charges/{id}/dispute",
            _dispute,
            amount=integer,
            fee=integer,
            inquiry=flag,
            reason=text,
            status=choice(*disputes.STATUSES),
            withdraw=flag,
        ),
        _post(
            "disputes/{id}/{action}", _move_dispute, fee_returned=integer, status=choice(*disputes.STATUSES)
        ),
        _post("charges/{id}/refund", _refund_in_dashboard, amount=integer, reason=text),
        _post("refunds/{id}/settle", _settle_refund),
        _post("refunds/{id}/fail", _fail_refund, reason=text),
        _post("payment_intents/{id}/settle", _settle_payment),
        _post("payment_intents/{id}/fail", _fail_payment, decline=choice(*DECLINES)),
        _post("intents/{id}/authenticate", _authenticate, succeeded=flag),
        _post("payment_methods/{id}", _change_card, **_CARD),
        _post("advance", _advance, "seconds", seconds=integer),
        Route("GET", f"{_FIRST}/counts", _counts),
        _post("reset", _reset),
    ),
)
