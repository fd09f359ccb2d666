"""What happens to a Checkout session: somebody pays on its page, the payment goes on, or time runs out."""

from __future__ import annotations

from typing import NamedTuple

from metering.payments.simulator.attempts import attempt, finish_action
from metering.payments.simulator.checkout_lines import taxed, totals
from metering.payments.simulator.customers import make_customer
from metering.payments.simulator.payment_intents import make_intent
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.setup_intents import finish_setup_action, set_up
from metering.payments.simulator.state import State


class Buyer(NamedTuple):
    """What is asked of the customer on the page; `saves` is the box that lets the card be shown again."""

    email: str = ""
    name: str = ""
    country: str = ""
    postal_code: str = ""
    saves: bool = False


def pay(state: State, session: Json, method: Json, buyer: Buyer) -> Json:
    """Pay, or save the card in setup mode, with an unattached method; a decline is a `Refusal`.

    Afterwards the session is complete, or waits for 3-D Secure.
    """
    _check_open(session, "paid")
    _note_buyer(state, session, buyer)
    state.change(method, billing_details=_billing(session), allow_redisplay=_redisplay(session, buyer))
    page = f"{state.settings.base_url}/c/pay/{session['id']}"
    if session["mode"] == "setup":
        setup = state.get("setup_intent", session["setup_intent"])
        state.change(setup, customer=session["customer"], _return_url=page)
        set_up(state, setup, method)
    else:
        intent = _payment_of(state, session)
        usage = session["_intent_data"].get("setup_future_usage")
        kept_for = usage or ("on_session" if buyer.saves and session["customer"] else None)
        state.change(intent, setup_future_usage=kept_for, _return_url=page)
        attempt(state, intent, method)
    return session


def intent_of(state: State, session: Json) -> Json | None:
    """The session's payment intent or setup intent, if it has one yet."""
    if setup := state.find("setup_intent", session["setup_intent"]):
        return setup
    return state.find("payment_intent", session["payment_intent"])


def finish_authentication(state: State, intent: Json, *, succeeded: bool) -> None:
    """The customer passes 3-D Secure, or fails it; a card that declines then is a `Refusal`."""
    finish = finish_action if intent["object"] == "payment_intent" else finish_setup_action
    finish(state, intent, succeeded=succeeded)


def expire(state: State, session: Json) -> Json:
    """Close the page, and cancel what it had begun."""
    _check_open(session, "expired")
    if setup := state.find("setup_intent", session["setup_intent"]):
        state.change(setup, "setup_intent.canceled", status="canceled", next_action=None)
    if intent := state.find("payment_intent", session["payment_intent"]):
        state.change(
            intent,
            "payment_intent.canceled",
            status="canceled",
            canceled_at=state.now(),
            cancellation_reason="automatic",
            next_action=None,
        )
    return state.change(session, "checkout.session.expired", status="expired", url=None)


def expire_overdue(state: State) -> None:
    """Close the pages whose time has run out."""
    now = state.now()
    for session in list(state.iter_kind("checkout.session", status="open")):
        if session["expires_at"] <= now:
            expire(state, session)


def follow(state: State, event: str, about: Json, _previous: Json) -> None:
    """A session goes where its intent goes."""
    session = state.find("checkout.session", about.get("_checkout_session"))
    if session is None or not event.startswith(("payment_intent.", "setup_intent.")):
        return
    is_waiting = session["status"] == "complete" and session["payment_status"] == "unpaid"
    match event.partition(".")[2]:
        case "succeeded" if is_waiting:
            state.change(session, "checkout.session.async_payment_succeeded", payment_status="paid")
        case "payment_failed" if is_waiting:
            state.tell("checkout.session.async_payment_failed", session)
        case "succeeded" | "processing" as outcome:
            _complete(state, session, is_paid=outcome == "succeeded")
        case _:
            pass


def _complete(state: State, session: Json, *, is_paid: bool) -> None:
    status = session["payment_status"]
    if status == "unpaid" and is_paid:
        status = "paid"
    customer, details = state.find("customer", session["customer"]), session["customer_details"]
    updates = session["_customer_update"]
    changes = {
        name: details[name] for name in ("address", "name") if updates.get(name) == "auto" and details[name]
    }
    if customer and changes:
        state.change(customer, "customer.updated", **changes)
    state.change(session, "checkout.session.completed", status="complete", payment_status=status, url=None)


def _check_open(session: Json, what: str) -> None:
    if session["status"] != "open":
        raise Refusal(
            f'Only Checkout Sessions with a status in ["open"] can be {what}. This Checkout Session has a '
            f"status of `{session['status']}`."
        )


def _note_buyer(state: State, session: Json, buyer: Buyer) -> None:
    """The customer's details, the tax where they live, and a customer where one is wanted."""
    known = session["customer_details"] or {}
    address = known.get("address")
    if buyer.country:
        parts = dict.fromkeys(("city", "line1", "line2", "state"))
        address = {**parts, "country": buyer.country, "postal_code": buyer.postal_code or None}
    details: Json = {
        "address": address,
        "business_name": None,
        "email": known.get("email") or buyer.email or None,
        "individual_name": None,
        "name": buyer.name or known.get("name"),
        "phone": known.get("phone"),
        "tax_exempt": "none",
        "tax_ids": [],
    }
    changes: Json = {"customer_details": details}
    tax = session["automatic_tax"]
    if tax["enabled"]:
        if address is None:
            raise Refusal("The country is needed to calculate the tax.", param="country")
        lines = [taxed(line, state.settings.tax_percent) for line in session["_line_items"]]
        changes |= {"automatic_tax": {**tax, "status": "complete"}, "_line_items": lines, **totals(lines)}
    if session["customer"] is None and _wants_customer(session):
        made = make_customer(state, email=details["email"], name=details["name"], address=address)
        changes["customer"] = made["id"]
    state.change(session, **changes)


def _wants_customer(session: Json) -> bool:
    options = session["payment_method_options"].values()
    return session["customer_creation"] == "always" or any(
        asked.get("setup_future_usage") for asked in (session["_intent_data"], *options)
    )


def _billing(session: Json) -> Json:
    details = session["customer_details"]
    parts = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {
        "address": {**parts, **(details["address"] or {})},
        "email": details["email"],
        "name": details["name"],
        "phone": details["phone"],
        "tax_id": None,
    }


def _redisplay(session: Json, buyer: Buyer) -> str:
    """Whether the customer may be shown this method again: if they said so; if only kept, "limited"."""
    if buyer.saves:
        return "always"
    return "limited" if session["mode"] == "setup" or _wants_customer(session) else "unspecified"


def _payment_of(state: State, session: Json) -> Json:
    """The session's payment intent, of the amount it has now; a new one at the first try."""
    if kept := state.find("payment_intent", session["payment_intent"]):
        if kept["amount"] != session["amount_total"]:
            state.change(kept, amount=session["amount_total"])
        return kept
    made = make_intent(
        state,
        {
            **session["_intent_data"],
            "amount": session["amount_total"],
            "currency": session["currency"],
            "customer": session["customer"],
            "payment_method_options": session["payment_method_options"],
            "allowed_payment_method_types": session["allowed_payment_method_types"],
        },
    )
    state.change(made, _checkout_session=session["id"])
    state.change(session, payment_intent=made["id"])
    return made
