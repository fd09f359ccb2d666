"""Receipts as PDF: what is in them, and that no name breaks them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfReader

from metering.ledger.receipts import Receipt
from metering.messages.receipt_pdf import render_pdf
from tests.messages.writing import LETTERHEAD, RECEIPT


def text_of(receipt: Receipt) -> str:
    (page,) = PdfReader(io.BytesIO(render_pdf(receipt, LETTERHEAD))).pages
    return page.extract_text()


def test_a_receipt_has_number_date_amounts_bonus_tax_and_descriptor() -> None:
    text = text_of(RECEIPT)
    for told in (
        "2F5A6B7C8D90-0003", "21 November 2026", "Visa •••• 4242", "WHOP*EMPIRIO", "Acme Labs", "EU372000000",
        "Zoë & <b>Sons</b>", "zoe@customer.example", RECEIPT.account_id, "$1,000.00", "5 %", "$50.00",
        "$70.00", "$1,070.00", "$1,050.00",
    ):  # fmt: skip
        assert told in text


def test_what_was_not_given_or_taken_has_no_line() -> None:
    text = text_of(RECEIPT._replace(tax_pico=0, bonus_pico=0, bonus_percent=0))
    assert "Tax\n" not in text
    assert "bonus" not in text


def test_the_same_receipt_is_the_same_file() -> None:
    assert render_pdf(RECEIPT, LETTERHEAD) == render_pdf(RECEIPT, LETTERHEAD)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Zoë Müller", "Zoë Müller"),
        ("Michał Łukasiewicz", "Michal Lukasiewicz"),
        ("Dvořák", "Dvorák"),
        ("Ünal Ilıcalı", "Ünal Ilicali"),
        ("“Acme” – €", "“Acme” – €"),
        ("Ada 張", "Ada ?"),
    ],
)
def test_names_are_written_in_the_letters_that_there_are(name: str, shown: str) -> None:
    assert shown in text_of(RECEIPT._replace(name=name))


@pytest.mark.parametrize("name", ["張偉", "Владимир", "😀"])
def test_a_name_of_which_nothing_is_left_is_left_out(name: str) -> None:
    text = text_of(RECEIPT._replace(name=name))
    assert "?" not in text
    assert RECEIPT.account_id in text


@settings(max_examples=60, deadline=None)
@given(
    name=st.text(min_size=1, max_size=300),
    email=st.none() | st.text(max_size=300),
    paid_with=st.none() | st.text(max_size=50),
    amount_pico=st.integers(0, 10**24),
)
def test_nothing_in_a_receipt_breaks_it(
    name: str, email: str | None, paid_with: str | None, amount_pico: int
) -> None:
    receipt = RECEIPT._replace(name=name, email=email, paid_with=paid_with, amount_pico=amount_pico)
    assert "2F5A6B7C8D90-0003" in text_of(receipt)
