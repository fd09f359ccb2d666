"""What a browser does on the page of a Checkout session."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from metering.payments.simulator.calls import Call, Page, Resource, Route
from metering.payments.simulator.checkout_page import COUNTRIES, payment_page
from metering.payments.simulator.checkout_paying import Buyer, expire_overdue, intent_of, pay
from metering.payments.simulator.pages import away, notice
from metering.payments.simulator.payment_methods import checked_card, make_bank_account, make_card
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import State

_PATH: Final = "/c/pay/{id}"
_EXPIRY: Final = re.compile(r"(\d{1,2})\s*/?\s*(?:20)?(\d{2})")


def after(state: State, session: Json) -> Page:
    """Where the browser goes from here: to 3-D Secure, back to the shop, or to the form again."""
    intent = intent_of(state, session)
    if session["status"] == "complete":
        return away(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]))
    if intent and intent["status"] == "requires_action":
        return away(f"/3ds/{intent['id']}")
    return away(f"/c/pay/{session['id']}")


def _show(call: Call, id: str) -> Page:
    session = _find(call, id)
    if session is None:
        return _nothing()
    problem = _last_problem(call.state, session)
    return _closed(session) or payment_page(call.state, session, _known(session), problem)


def _pay(call: Call, id: str) -> Page:
    state = call.state
    session = _find(call, id)
    if session is None:
        return _nothing()
    if session["status"] == "complete":
        return after(state, session)
    if closed := _closed(session):
        return closed
    typed = {name: value for name, value in call.form.items() if isinstance(value, str)}
    try:
        pay(state, session, _method(state, session, typed), _buyer(session, typed))
    except Refusal as refusal:
        return payment_page(state, session, typed, str(refusal), 402)
    return after(state, session)


def _find(call: Call, id: str) -> Json | None:
    expire_overdue(call.state)
    return call.state.find("checkout.session", id)


def _nothing() -> Page:
    return notice("Nothing here", "There is no such checkout session.", status=404)


def _closed(session: Json) -> Page | None:
    """The page in the form's place, if there is nothing to pay."""
    if session["status"] == "expired":
        text = "This page has expired, and nothing was charged."
        return notice("Expired", text, session["cancel_url"], 410)
    if session["status"] == "complete":
        link = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])
        return notice("All done", "This was completed; it can't be paid twice.", link)
    return None


def _known(session: Json) -> Mapping[str, str]:
    """What needn't be typed (again)."""
    details: Json = session["customer_details"] or {}
    known = {"name": details.get("name"), **(details.get("address") or {})}
    return {name: value for name, value in known.items() if value}


def _last_problem(state: State, session: Json) -> str | None:
    """Why the last try failed: for who comes back from 3-D Secure."""
    intent = intent_of(state, session) or {}
    error = intent.get("last_payment_error") or intent.get("last_setup_error")
    return str(error["message"]) if error else None


def _method(state: State, session: Json, typed: Mapping[str, str]) -> Json:
    kind = typed.get("method", "card")
    if kind not in session["payment_method_types"]:
        raise Refusal("Please choose a payment method.")
    if kind == "us_bank_account":
        return make_bank_account(state)
    expiry = _EXPIRY.fullmatch(typed.get("expiry", "").strip())
    if not typed.get("number", "").strip():
        raise Refusal("Your card number is incomplete.")
    if expiry is None or not 1 <= int(expiry[1]) <= 12:
        raise Refusal("Your card's expiration date is incomplete.")
    if not re.fullmatch(r"\d{3,4}", typed.get("cvc", "").strip(), re.ASCII):
        raise Refusal("Your card's security code is incomplete.")
    month, year = int(expiry[1]), 2_000 + int(expiry[2])
    return make_card(state, checked_card(state, typed["number"], month, year), month, year, cvc=True)


def _buyer(session: Json, typed: Mapping[str, str]) -> Buyer:
    known = (session["customer_details"] or {}).get("email")
    email = known or typed.get("email", "").strip()
    if "@" not in email:
        raise Refusal("Please enter your email.")
    country = typed.get("country", "")
    if country not in COUNTRIES:
        raise Refusal("Please choose your country.")
    return Buyer(email, typed.get("name", ""), country, typed.get("postal_code", ""), "saves" in typed)


RESOURCE = Resource(
    "_checkout_pages",
    (Route("GET", _PATH, _show, None), Route("POST", _PATH, _pay, None)),
)
