"""The page of a Checkout session: what is bought on the left, the form on the right."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from metering.payments.simulator.calls import Page
from metering.payments.simulator.checkout_lines import taxed
from metering.payments.simulator.pages import dollars, page, table
from metering.payments.simulator.refusals import Json
from metering.payments.simulator.state import State

COUNTRIES: Final = {
    "US": "United States",
    "CA": "Canada",
    "DE": "Germany",
    "FR": "France",
    "GB": "United Kingdom",
    "IN": "India",
    "JP": "Japan",
}
_TEST_CARDS: Final = (
    ("4242 4242 4242 4242", "succeeds"),
    ("4000 0027 6000 3184", "wants 3-D Secure, always"),
    ("4000 0025 0000 3155", "wants 3-D Secure once, when it is saved"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "is declined: insufficient funds"),
    ("4000 0000 0000 0341", "can be saved, then is declined"),
    ("4000 0000 0000 0259", "is disputed afterwards"),
)


def payment_page(
    state: State, session: Json, typed: Mapping[str, str], problem: str | None, status: int = 200
) -> Page:
    """The form as it was typed (but for the card), and what is wrong with it."""
    lines = session["_line_items"]
    if session["automatic_tax"]["enabled"]:
        # The percentage is the same everywhere, so that the page needn't wait for the address.
        lines = [taxed(line, state.settings.tax_percent) for line in lines]
    total = sum(line["amount_total"] for line in lines)
    is_setup = session["mode"] == "setup"
    title = "Save a payment method" if is_setup else "Pay"
    amount = "" if is_setup else f'<p class="amount">{dollars(total)}</p>'
    alert = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    back = session["cancel_url"]
    cancel = f'<p><a href="{escape(back)}">← Cancel and go back</a></p>' if back else ""
    postal = _field("postal_code", "ZIP or postal code", typed, 'autocomplete="postal-code"')
    return page(
        title,
        f"""<div class="columns">
<section><h1>{escape(title)}</h1>{amount}{_lines(lines, total)}{cancel}{_hints()}</section>
<section>{alert}<form method="post" action="/c/pay/{escape(session["id"])}" autocomplete="on">
{_contact(session, typed)}{_methods(session, typed)}
<div class="of-card">{_card()}</div>
{_field("name", "Full name", typed, 'autocomplete="name"')}
<div class="pair">{_countries(typed)}{postal}</div>
{_saving(session, typed)}
<button type="submit">{"Save" if is_setup else f"Pay {dollars(total)}"}</button>
</form></section></div>""",
        status,
    )


def _lines(lines: list[Json], total: int) -> str:
    if not lines:
        return '<p class="soft">Nothing is charged now.</p>'
    rows = [
        (
            line["description"] + (f" × {line['quantity']}" if line["quantity"] > 1 else ""),
            dollars(line["amount_subtotal"]),
        )
        for line in lines
    ]
    tax = sum(line["amount_tax"] for line in lines)
    if tax:
        is_within = total == sum(line["amount_subtotal"] for line in lines)
        rows.append(("Tax included" if is_within else "Tax", dollars(tax)))
    return table([*rows, ("Total due", dollars(total))])


def _hints() -> str:
    cards = "".join(f"<tr><td><code>{number}</code></td><td>{does}</td></tr>" for number, does in _TEST_CARDS)
    return (
        f"<details><summary>Test cards</summary><table>{cards}</table>"
        '<p class="soft">Any expiry in the future, any three digits as CVC.</p></details>'
    )


def _contact(session: Json, typed: Mapping[str, str]) -> str:
    known = (session["customer_details"] or {}).get("email")
    if known:
        return f"<h2>Contact</h2><p>{escape(known)}</p>"
    return "<h2>Contact</h2>" + _field("email", "Email", typed, 'type="email" autocomplete="email" required')


def _methods(session: Json, typed: Mapping[str, str]) -> str:
    types = session["payment_method_types"]
    if len(types) == 1:
        return f'<input type="hidden" name="method" value="{types[0]}">'
    chosen = typed.get("method", "card")
    ways = (("card", "card", "Card"), ("bank", "us_bank_account", "US bank account – pays in a few days"))
    boxes = "".join(
        f'<label for="{id}"><input type="radio" id="{id}" name="method" value="{value}"'
        f"{' checked' if value == chosen else ''}>{text}</label>"
        for id, value, text in ways  # noqa: A001
    )
    return f"<fieldset><legend>Payment method</legend>{boxes}</fieldset>"


def _card() -> str:
    return (
        _field(
            "number",
            "Card number",
            {},
            'inputmode="numeric" autocomplete="cc-number" placeholder="1234 1234 1234 1234"',
        )
        + '<div class="pair">'
        + _field(
            "expiry",
            "Expiry (MM / YY)",
            {},
            'inputmode="numeric" autocomplete="cc-exp" placeholder="MM / YY"',
        )
        + _field("cvc", "CVC", {}, 'inputmode="numeric" autocomplete="cc-csc" placeholder="CVC"')
        + "</div>"
    )


def _countries(typed: Mapping[str, str]) -> str:
    chosen = typed.get("country", "US")
    options = "".join(
        f'<option value="{code}"{" selected" if code == chosen else ""}>{name}</option>'
        for code, name in COUNTRIES.items()
    )
    return (
        '<div><label for="country">Country</label>'
        f'<select id="country" name="country" autocomplete="country">{options}</select></div>'
    )


def _saving(session: Json, typed: Mapping[str, str]) -> str:
    asked = session["saved_payment_method_options"] or {}
    if asked.get("payment_method_save") == "enabled":
        ticked = " checked" if typed.get("saves") else ""
        return (
            '<label class="box" for="saves">'
            f'<input type="checkbox" id="saves" name="saves" value="true"{ticked}>'
            "Save my payment details for next time</label>"
        )
    return ""


def _field(name: str, label: str, typed: Mapping[str, str], more: str) -> str:
    return (
        f'<div><label for="{name}">{label}</label>'
        f'<input id="{name}" name="{name}" value="{escape(typed.get(name, ""))}" {more}></div>'
    )
