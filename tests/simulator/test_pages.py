"""The simulator's pages in a real browser without JavaScript: paid on, declined on, authenticated on."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
import stripe
from playwright.sync_api import Page, expect

from tests.simulator.browser import chromium, tab, type_card
from tests.simulator.fixtures import RunningSimulator
from tests.simulator.shop import Shop
from tests.simulator.test_checkout import line, open_session, payment_of

__all__ = ["chromium", "tab"]

THREE_D_SECURE = "4000 0027 6000 3184"


@pytest.fixture
def back(stripe_simulator: RunningSimulator) -> str:
    """Where the browser is sent in the end. Nobody answers there, but in the address bar it is seen."""
    return f"{stripe_simulator.url}/shop"


def test_a_browser_pays_and_comes_back(shop: Shop, tab: Page, back: str) -> None:
    session = open_session(shop, success_url=back + "?session={CHECKOUT_SESSION_ID}")
    assert session.url is not None
    tab.goto(session.url)
    expect(tab.get_by_role("note")).to_contain_text("Stripe simulator – no real money")
    expect(tab.get_by_text("buyer@example.com")).to_be_visible()
    type_card(tab)
    assert tab.url == f"{back}?session={session.id}"
    assert shop.api.checkout.sessions.retrieve(session.id).payment_status == "paid"
    # The way back in the browser doesn't pay again.
    tab.goto(f"{session.url}")
    expect(tab.get_by_role("heading", name="All done")).to_be_visible()


def test_a_decline_is_said_on_the_page_and_another_card_pays(shop: Shop, tab: Page, back: str) -> None:
    session = open_session(shop, success_url=back)
    tab.goto(str(session.url))
    type_card(tab, "4000 0000 0000 9995")
    expect(tab.get_by_role("alert")).to_have_text("Your card has insufficient funds.")
    expect(tab.get_by_label("Full name")).to_have_value("Jenny Rosen")
    expect(tab.get_by_label("Card number")).to_have_value("")
    type_card(tab)
    assert tab.url.startswith(back)


@pytest.mark.parametrize(
    ("number", "expiry", "message"),
    [
        ("", "12 / 34", "Your card number is incomplete."),
        ("4242 4242 4242 4241", "12 / 34", "Your card number is incorrect."),
        ("4242 4242 4242 4242", "13 / 34", "Your card's expiration date is incomplete."),
        ("4242 4242 4242 4242", "12 / 20", "Your card's expiration year is invalid."),
        ("4111 1111 1111 1111", "12 / 34", "test mode, but used a non test"),
    ],
)
def test_what_is_no_card_is_said_and_nothing_is_begun(
    shop: Shop, tab: Page, number: str, expiry: str, message: str
) -> None:
    session = open_session(shop)
    tab.goto(str(session.url))
    type_card(tab, number, expiry)
    expect(tab.get_by_role("alert")).to_contain_text(message)
    assert shop.api.payment_intents.list({"customer": shop.customer}).data == []


def test_3d_secure_is_failed_and_then_passed(shop: Shop, tab: Page, back: str) -> None:
    session = open_session(shop, success_url=back)
    tab.goto(str(session.url))
    type_card(tab, THREE_D_SECURE)
    expect(tab.get_by_text("card ending in 3184")).to_be_visible()
    tab.get_by_role("button", name="Fail authentication").click()
    expect(tab.get_by_role("alert")).to_contain_text("unable to authenticate")
    type_card(tab, THREE_D_SECURE)
    tab.get_by_role("button", name="Complete authentication").click()
    assert tab.url.startswith(back)
    assert shop.api.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_a_card_that_declines_after_3d_secure_brings_the_form_again(shop: Shop, tab: Page) -> None:
    tab.goto(str(open_session(shop).url))
    type_card(tab, "4000 0084 0000 1629")
    tab.get_by_role("button", name="Complete authentication").click()
    expect(tab.get_by_role("alert")).to_have_text("Your card was declined.")


def test_an_intent_of_ones_own_is_authenticated_and_returns(shop: Shop, tab: Page, back: str) -> None:
    payment = shop.pay("pm_card_authenticationRequired", return_url=back + "?order=1")
    action = payment.next_action
    assert action is not None
    assert action.redirect_to_url is not None
    tab.goto(str(action.redirect_to_url.url))
    tab.get_by_role("button", name="Complete authentication").click()
    assert tab.url == (
        f"{back}?order=1&payment_intent={payment.id}"
        f"&payment_intent_client_secret={payment.client_secret}&redirect_status=succeeded"
    )
    assert shop.api.payment_intents.retrieve(payment.id).status == "succeeded"
    tab.goto(str(action.redirect_to_url.url))
    expect(tab.get_by_text("No payment waits")).to_be_visible()


def test_a_guest_pays_from_a_bank_account(shop: Shop, tab: Page, back: str) -> None:
    session = open_session(shop, customer=None, success_url=back)
    tab.goto(str(session.url))
    tab.get_by_label("Email").fill("guest@example.com")
    tab.get_by_label("US bank account").check()
    expect(tab.get_by_label("Card number")).to_be_hidden()
    tab.get_by_role("button", name="Pay $50.00").click()
    assert tab.url.startswith(back)
    done = shop.api.checkout.sessions.retrieve(session.id)
    assert (done.status, done.payment_status) == ("complete", "unpaid")


def test_a_card_is_saved_on_the_page_of_setup_mode(shop: Shop, tab: Page, back: str) -> None:
    session = open_session(
        shop, mode="setup", line_items=None, allowed_payment_method_types=["card"], success_url=back
    )
    tab.goto(str(session.url))
    expect(tab.get_by_text("Nothing is charged now.")).to_be_visible()
    type_card(tab, "4000 0025 0000 3155")
    tab.get_by_role("button", name="Complete authentication").click()
    assert tab.url.startswith(back)
    assert len(shop.api.customers.payment_methods.list(shop.customer).data) == 1


def test_the_tax_is_shown_before_it_is_paid_and_on_the_receipt(
    shop: Shop, tab: Page, stripe_simulator: RunningSimulator
) -> None:
    with stripe_simulator.tax("8.25"):
        asked: dict[str, Any] = {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
        session = open_session(shop, **asked, line_items=[line(2_500, quantity=2)])
        tab.goto(str(session.url))
        expect(tab.get_by_role("row", name="Tax")).to_contain_text("$4.13")
        expect(tab.get_by_role("row", name="Credit × 2")).to_contain_text("$50.00")
        expect(tab.get_by_role("button")).to_have_text("Pay $54.13")
        stripe_simulator.control.pay(session.id)
    charge = payment_of(shop, shop.api.checkout.sessions.retrieve(session.id)).latest_charge
    assert isinstance(charge, stripe.Charge)
    shop.api.refunds.create({"charge": charge.id, "amount": 400})
    tab.goto(str(charge.receipt_url))
    for row, text in (("Tax", "$4.13"), ("Payment method", "Visa •••• 4242"), ("Refunded", "$4.00")):
        expect(tab.get_by_role("row", name=row)).to_contain_text(text)
    expect(tab.get_by_role("row", name="Amount charged")).to_contain_text("$54.13")


def test_the_way_back_and_the_end_of_a_session_are_on_the_page(shop: Shop, tab: Page, back: str) -> None:
    session = open_session(shop, cancel_url=back)
    tab.goto(str(session.url))
    tab.get_by_role("link", name="Cancel and go back").click()
    assert tab.url.startswith(back)
    shop.api.checkout.sessions.expire(session.id)
    tab.goto(str(session.url))
    expect(tab.get_by_text("has expired, and nothing was charged")).to_be_visible()


def test_what_the_shop_writes_is_text_and_not_html(shop: Shop) -> None:
    named: dict[str, Any] = {"product_data": {"name": "<script>alert(1)</script>"}}
    html = httpx.get(str(open_session(shop, line_items=[line(**named)]).url), trust_env=False).text
    assert "<script" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("path", ["/c/pay/cs_test_none", "/3ds/pi_none", "/receipts/ch_none"])
def test_a_page_of_nothing_is_a_404(stripe_simulator: RunningSimulator, path: str) -> None:
    answer = stripe_simulator.call("GET", path)
    assert answer.status_code == 404
    assert re.search("Nothing here", answer.text)
