"""The whole path of money in, with a browser, real processes and real mail: from the call to the receipt."""

from __future__ import annotations

import re
from decimal import Decimal
from email.message import EmailMessage
from io import BytesIO
from typing import Any, Final

import pypdf
import pytest
from playwright.sync_api import Page, expect

from tests.messages.postbox import Postbox, text_of
from tests.payments.town import Customer, Town, wait_for
from tests.simulator.browser import type_card

DECLINED: Final = "4000 0000 0000 0002"
WANTS_AUTHENTICATION: Final = "4000 0027 6000 3184"
_WAIT_MILLISECONDS: Final = 30_000

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("money_in")]


def open_page(town: Town, customer: Customer, amount: str, **more: object) -> dict[str, Any]:
    """A new top-up, which is open."""
    top_up: dict[str, Any] = town.sent(customer, "/v1/account/top_ups", {"amount": amount, **more})
    assert top_up["status"] == "open"
    return top_up


def expect_return(tab: Page, town: Town, headline: str) -> None:
    """The browser is on our own page, which says so, by itself, once it is true."""
    expect(tab.get_by_role("heading", level=1)).to_have_text(headline, timeout=_WAIT_MILLISECONDS)
    assert tab.url.startswith(f"{town.url}/billing?top_up=")


def balance(town: Town, customer: Customer) -> Decimal:
    """What the customer's history says."""
    return Decimal(town.got(customer, "/v1/account/usage")["balance"]["amount"])


def last_mail(postbox: Postbox, customer: Customer, number: int) -> EmailMessage:
    """The customer's mail of this number, and none after it so far."""

    def mails() -> list[EmailMessage]:
        return [mail for mail in postbox.mails if mail["To"] == customer.email]

    wait_for(lambda: len(mails()) >= number, f"mail {number}")
    assert len(mails()) == number
    return mails()[-1]


def words_of_pdf(mail: EmailMessage) -> str:
    """What stands in the mail's only attachment."""
    (pdf,) = mail.iter_attachments()
    assert pdf.get_content_type() == "application/pdf"
    pages = pypdf.PdfReader(BytesIO(pdf.get_content())).pages
    return " ".join(page.extract_text() for page in pages)


def in_words(html: str) -> str:
    """A page without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_a_top_up_with_bonus_is_paid_credited_and_receipted(
    town: Town, ada: Customer, postbox: Postbox, tab: Page
) -> None:
    top_up = open_page(town, ada, "1000")
    tab.goto(top_up["url"])
    type_card(tab)
    expect_return(tab, town, "$1,050.00 of credit added")
    paid = town.got(ada, f"/v1/account/top_ups/{top_up['id']}")
    assert (paid["status"], paid["amount"], paid["bonus"], paid["credit"]) == ("succeeded", 1000, 50, 1050)
    assert balance(town, ada) == 1050
    shown = tab.inner_text("body")
    for word in ("$1,000.00", "Volume bonus, 5 %", "$50.00", paid["receipt"]["number"]):
        assert word in shown
    for secret in (ada.account_id, "Ada", "@customer", "4242", "balance"):
        assert secret not in shown

    mail = last_mail(postbox, ada, 1)
    assert mail["Subject"] == f"Receipt {paid['receipt']['number']}: $1,000.00"
    for words in (text_of(mail), in_words(text_of(mail, "html")), words_of_pdf(mail)):
        for figure in ("$1,000.00", "$50.00", "4242", paid["receipt"]["number"]):
            assert figure in words
    assert "rose by $1,050.00 to $1,050.00" in text_of(mail)
    assert town.charges(ada) == 1


def test_after_a_declined_card_another_one_pays_and_only_that_is_charged(
    town: Town, ada: Customer, postbox: Postbox, tab: Page
) -> None:
    tab.goto(open_page(town, ada, "25")["url"])
    type_card(tab, DECLINED)
    expect(tab.get_by_role("alert")).to_contain_text("declined")
    assert balance(town, ada) == 0
    type_card(tab)
    expect_return(tab, town, "$25.00 of credit added")
    assert balance(town, ada) == 25
    assert last_mail(postbox, ada, 1)["Subject"].startswith("Receipt ")
    assert town.charges(ada) == 1


def test_3d_secure_that_fails_charges_nothing_and_that_is_passed_pays(
    town: Town, ada: Customer, tab: Page
) -> None:
    tab.goto(open_page(town, ada, "25")["url"])
    type_card(tab, WANTS_AUTHENTICATION)
    tab.get_by_role("button", name="Fail authentication").click()
    expect(tab.get_by_role("alert")).to_be_visible()
    assert balance(town, ada) == 0
    type_card(tab, WANTS_AUTHENTICATION)
    tab.get_by_role("button", name="Complete authentication").click()
    expect_return(tab, town, "$25.00 of credit added")
    assert balance(town, ada) == 25


def test_a_card_saved_on_the_page_is_charged_when_the_balance_falls(
    town: Town, ada: Customer, postbox: Postbox, tab: Page
) -> None:
    tab.goto(open_page(town, ada, "20", save_card=True)["url"])
    type_card(tab)
    expect_return(tab, town, "$20.00 of credit added")
    last_mail(postbox, ada, 1)
    (card,) = town.got(ada, "/v1/account/payment_methods")["data"]
    assert (card["last_four"], card["is_default"]) == ("4242", True)
    wanted = {"enabled": True, "threshold": 19.5, "amount": 50}
    assert town.sent(ada, "/v1/account/auto_topup", wanted, "PUT")["status"] == "on"

    fallen = town.use(ada, "use", 200_000)["balance"]
    assert fallen < 19.5
    wait_for(lambda: balance(town, ada) > fallen, "the purchase")
    assert balance(town, ada) == fallen + 50
    mail = last_mail(postbox, ada, 2)
    assert mail["Subject"].startswith("Auto top-up receipt ")
    assert "$50.00" in words_of_pdf(mail)
    bought = town.got(ada, "/v1/account/top_ups")["data"]
    assert [(one["origin"], one["amount"], one["status"]) for one in bought] == [
        ("auto", 50, "succeeded"),
        ("checkout", 20, "succeeded"),
    ]
    assert town.charges(ada) == 2


def test_a_card_can_be_saved_without_buying(town: Town, ada: Customer, tab: Page) -> None:
    tab.goto(town.sent(ada, "/v1/account/payment_methods", {})["url"])
    type_card(tab)
    expect(tab.get_by_role("heading", level=1)).to_have_text("You are back")
    assert tab.url == f"{town.url}/billing"
    (card,) = town.got(ada, "/v1/account/payment_methods")["data"]
    assert card["last_four"] == "4242"
    assert balance(town, ada) == 0


def test_who_goes_back_unpaid_is_told_and_the_page_follows_when_it_is_paid_after_all(
    town: Town, ada: Customer, tab: Page
) -> None:
    top_up = open_page(town, ada, "25")
    tab.goto(top_up["url"])
    tab.get_by_role("link", name="Cancel and go back").click()
    expect_return(tab, town, "Waiting for your payment")
    assert balance(town, ada) == 0
    other = tab.context.new_page()
    other.goto(top_up["url"])
    type_card(other)
    expect_return(tab, town, "$25.00 of credit added")
    assert town.charges(ada) == 1


def test_who_never_comes_back_from_paying_gets_credit_and_receipt_all_the_same(
    town: Town, ada: Customer, postbox: Postbox
) -> None:
    top_up = open_page(town, ada, "25")
    town.control.pay(top_up["url"].rpartition("/")[2])
    assert "$25.00" in words_of_pdf(last_mail(postbox, ada, 1))
    assert balance(town, ada) == 25
