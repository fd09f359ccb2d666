"""Mails as people read them: every type of notice, its amounts, and nothing of it that could run."""

from __future__ import annotations

import io
import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
from pypdf import PdfReader

from metering.errors import ConfigurationError, MeteringError
from metering.ledger.auto_topups import OffReason
from metering.ledger.notices import MAILED, NoticeType
from metering.messages.letterhead import Letterhead
from metering.messages.rendering import compose, render_receipt
from tests.messages.postbox import text_of
from tests.messages.writing import DATA, LETTERHEAD, NOTICE_ID, POLICY, RECEIPT, SELLER, a_notice

SUBJECTS = {
    NoticeType.TOP_UP_SUCCEEDED: "Receipt 2F5A6B7C8D90-0003: $1,070.00",
    NoticeType.TOP_UP_FAILED: "Auto top-up of $20.00 failed",
    NoticeType.TOP_UP_REFUNDED: "Refund of $428.00",
    NoticeType.AUTO_TOPUP_PAUSED: "Auto top-up is paused until 22 November 2026, 00:00 UTC",
    NoticeType.AUTO_TOPUP_OFF: "Auto top-up was switched off",
    NoticeType.CARD_EXPIRING: "Your card ending in 4242 expires in December 2026",
    NoticeType.BALANCE_LOW: "Your balance is low: $4.37",
}


def delivered(kind: NoticeType, **changes: object) -> EmailMessage:
    """The mail as a reader gets it, after a journey as bytes."""
    mail = message_from_bytes(compose(a_notice(kind, **changes), LETTERHEAD).as_bytes(), policy=default)
    assert isinstance(mail, EmailMessage)
    return mail


def words(html: str) -> str:
    """What of a page is seen."""
    return " ".join(re.sub(r"<[^>]*>", " ", html.split("<body")[1].partition(">")[2]).split())


def test_every_type_that_is_mailed_is_written_here() -> None:
    assert set(DATA) == set(SUBJECTS) == MAILED


@pytest.mark.parametrize("kind", sorted(MAILED))
def test_a_mail_says_the_same_as_text_and_as_html(kind: NoticeType) -> None:
    mail = delivered(kind)
    assert mail["Subject"] == SUBJECTS[kind]
    text, html = text_of(mail), text_of(mail, "html")
    assert "{" not in text + words(html)
    for amount in re.findall(r"-?\$[\d,.]+\d", text):
        assert amount in words(html)
    for shown in (text, words(html)):
        assert "Acme Labs" in shown
        assert "zoe@customer.example" in shown


@pytest.mark.parametrize("kind", sorted(MAILED))
def test_what_comes_from_outside_is_no_html(kind: NoticeType) -> None:
    html = text_of(delivered(kind), "html")
    assert "<b>" not in html
    assert "<insufficient>" not in html
    assert "&lt;b&gt;Sons" in html


@pytest.mark.parametrize("kind", sorted(MAILED))
def test_a_mail_is_marked_as_a_machine_s_and_is_known_again(kind: NoticeType) -> None:
    mail = delivered(kind)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == f"<{NOTICE_ID}@acme.example>" == delivered(kind)["Message-ID"]
    assert mail["From"].addresses[0].display_name == "Acme Büro"
    assert mail["To"] == "zoe@customer.example"
    assert mail["Date"].datetime == a_notice(kind).created_at


@pytest.mark.parametrize("kind", sorted(MAILED))
def test_lines_fit_any_mail_program(kind: NoticeType) -> None:
    assert max(map(len, text_of(delivered(kind)).splitlines())) < 100
    assert max(map(len, compose(a_notice(kind), LETTERHEAD).as_bytes().splitlines())) < 998


def test_a_receipt_says_everything_and_has_the_pdf() -> None:
    mail = delivered(NoticeType.TOP_UP_SUCCEEDED)
    for shown in (text_of(mail), words(text_of(mail, "html"))):
        for told in (
            "2F5A6B7C8D90-0003", "21 November 2026", "Visa •••• 4242", "WHOP*EMPIRIO", "$1,000.00", "5 %",
            "$50.00", "$70.00", "$1,070.00", "$1,050.00", "$1,054.37", "EU372000000",
        ):  # fmt: skip
            assert told in shown
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "receipt-2F5A6B7C8D90-0003.pdf"
    assert "$1,070.00" in PdfReader(io.BytesIO(attached.get_content())).pages[0].extract_text()


def test_a_receipt_of_an_auto_top_up_says_who_bought() -> None:
    receipt = RECEIPT._replace(is_automatic=True, tax_pico=0, bonus_pico=0, bonus_percent=0, paid_with=None)
    notice = a_notice(NoticeType.TOP_UP_SUCCEEDED)._replace(receipt=receipt)
    mail = compose(notice, LETTERHEAD)
    assert mail["Subject"].startswith("Auto top-up receipt")
    assert "charged your saved card" in text_of(mail)
    assert "Tax:" not in text_of(mail)
    assert "bonus" not in text_of(mail).lower()


@pytest.mark.parametrize("again", [None, "2026-11-22T14:05:00+00:00"])
def test_a_failure_says_whether_it_is_tried_again(again: str | None) -> None:
    text = text_of(delivered(NoticeType.TOP_UP_FAILED, origin="checkout", next_attempt_at=again))
    assert ("22 November 2026, 14:05 UTC" in text) == (again is not None)


def test_a_failure_of_a_checkout_needs_no_next_time() -> None:
    notice = a_notice(NoticeType.TOP_UP_FAILED)
    data = {name: value for name, value in notice.data.items() if name != "next_attempt_at"}
    mail = compose(notice._replace(data={**data, "origin": "checkout"}), LETTERHEAD)
    assert mail["Subject"] == "Your payment of $20.00 failed"


@pytest.mark.parametrize("reason", sorted(set(OffReason) - {OffReason.CUSTOMER}))
def test_a_mail_says_why_auto_top_up_is_off(reason: OffReason) -> None:
    data = {"reason": reason, "message": reason.says, "failure_message": None}
    text = text_of(delivered(NoticeType.AUTO_TOPUP_OFF, **data))
    assert text.startswith(reason.says)


def test_a_field_that_is_missing_is_no_empty_place() -> None:
    notice = a_notice(NoticeType.BALANCE_LOW)._replace(data={"balance": "1"})
    with pytest.raises(MeteringError, match="threshold"):
        compose(notice, LETTERHEAD)


@pytest.mark.parametrize("balance", ["a lot", "1e999999"])
def test_an_amount_that_is_none_is_an_error_of_ours(balance: str) -> None:
    with pytest.raises(MeteringError):
        compose(a_notice(NoticeType.BALANCE_LOW, balance=balance), LETTERHEAD)


def test_a_name_can_t_write_headers() -> None:
    notice = a_notice(NoticeType.BALANCE_LOW)._replace(name="A\r\nBcc: everybody@example.com")
    assert "Bcc" not in compose(notice, LETTERHEAD)


def test_the_receipt_as_a_page_names_the_account() -> None:
    page = render_receipt(RECEIPT, LETTERHEAD)
    assert RECEIPT.account_id in page
    assert "$1,070.00" in words(page)
    assert "<b>" not in page


@pytest.mark.parametrize("sender", ["", "Acme", "Acme <>", "<@acme.example>", "billing@", "a@b@c"])
def test_a_sender_that_is_no_address_is_told_by_the_variable_s_name(sender: str) -> None:
    with pytest.raises(ConfigurationError, match="METERING_MAIL_FROM"):
        Letterhead.of(POLICY, sender)


def test_the_seller_writes_where_no_other_sender_is_set() -> None:
    seller = SELLER._replace(name="Büro, Söhne & Co")
    mail = compose(a_notice(NoticeType.BALANCE_LOW), Letterhead.of(POLICY._replace(seller=seller)))
    read = message_from_bytes(mail.as_bytes(), policy=default)["From"].addresses[0]
    assert (read.display_name, read.addr_spec) == ("Büro, Söhne & Co", "billing@acme.example")
