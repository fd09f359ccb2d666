"""3-D Secure: the page on which a bank asks whether it is really its customer who pays."""

from __future__ import annotations

from html import escape
from typing import Final
from urllib.parse import urlencode

from metering.payments.simulator.calls import Call, Page, Resource, Route
from metering.payments.simulator.checkout_pages import after
from metering.payments.simulator.checkout_paying import finish_authentication
from metering.payments.simulator.pages import away, dollars, notice, page
from metering.payments.simulator.refusals import Json, Refusal
from metering.payments.simulator.state import State

_PATH: Final = "/3ds/{id}"


def _show(call: Call, id: str) -> Page:
    intent = _find(call.state, id)
    if intent is None:
        return notice("Nothing here", "No payment waits for authentication here.", status=404)
    method = call.state.get("payment_method", intent["payment_method"])
    what = f"Payment of {dollars(intent['amount'])}" if "amount" in intent else "Saving your card"
    ending = method.get("card", {}).get("last4", "")
    return page(
        "3-D Secure",
        f"""<div class="narrow"><h1>3-D Secure authentication</h1>
<p class="amount">{escape(what)}</p>
<p>Your bank wants to know that it is you, with the card ending in {escape(ending)}.</p>
<form method="post" action="/3ds/{escape(intent["id"])}">
<button name="outcome" value="complete">Complete authentication</button>
<button name="outcome" value="fail" class="other">Fail authentication</button>
</form></div>""",
    )


def _answer(call: Call, id: str) -> Page:
    state, intent = call.state, _find(call.state, id)
    if intent is None:
        return notice("Nothing here", "No payment waits for authentication here.", status=404)
    session = state.find("checkout.session", intent.get("_checkout_session"))
    succeeded = call.form.get("outcome") == "complete"
    try:
        finish_authentication(state, intent, succeeded=succeeded)
    except Refusal:
        # The intent remembers why.
        succeeded = False
    return after(state, session) if session else away(_return_url(intent, succeeded=succeeded))


def _find(state: State, id: str) -> Json | None:
    intent = state.find("payment_intent", id) or state.find("setup_intent", id)
    return intent if intent and intent["status"] == "requires_action" else None


def _return_url(intent: Json, *, succeeded: bool) -> str:
    """The shop's own address, told how it went as Stripe tells it."""
    kind, url = intent["object"], intent["_return_url"] or "/"
    told = {
        kind: intent["id"],
        f"{kind}_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if succeeded else "failed",
    }
    return f"{url}{'&' if '?' in url else '?'}{urlencode(told)}"


RESOURCE = Resource(
    "_authentication_pages",
    (Route("GET", _PATH, _show, None), Route("POST", _PATH, _answer, None)),
)
