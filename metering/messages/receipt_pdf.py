"""A receipt as PDF: one page, black on white.

Written in the fonts that every reader has, which know the letters of western Europe. Other letters lose their
accents, or become a question mark; the account's id, which is always there, says whose the receipt is.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from fpdf import FPDF

from metering.ledger.receipts import Receipt
from metering.messages.letterhead import Letterhead, day, dollars

_FONT: Final = "Helvetica"
_ENCODING: Final = "windows-1252"
_MARGIN: Final = 22
_LINE: Final = 5.5
_GREY: Final = 90
_RULE: Final = 200
# What Unicode doesn't take apart into a letter and an accent.
_SIMILAR: Final = str.maketrans("ŁłĐđĦħŦŧı", "LlDdHhTti")


def render_pdf(receipt: Receipt, letterhead: Letterhead) -> bytes:
    """The receipt; the same one is the same bytes, whenever it is made."""
    page = _Page()
    page.set_title(f"Receipt {receipt.number}")
    page.set_author(_writable(letterhead.seller.name))
    page.set_creation_date(receipt.paid_at)
    page.add_page()
    page.head("Receipt", letterhead.seller.name)
    page.facts(
        [
            ("Receipt number", receipt.number),
            ("Date paid", day(receipt.paid_at)),
            ("Payment method", receipt.paid_with or "—"),
            ("On your statement", letterhead.statement_descriptor),
        ]
    )
    seller = letterhead.seller
    tax_id = [f"Tax ID {seller.tax_id}"] if seller.tax_id else []
    page.parties(
        ("From", [seller.name, *seller.address, seller.email, *tax_id]),
        ("Billed to", [*filter(_is_readable, [receipt.name, receipt.email or ""]), receipt.account_id]),
    )
    page.headline(f"{dollars(receipt.total_pico)} paid on {day(receipt.paid_at)}")
    page.amounts(receipt)
    page.close_with(
        f"Your balance rose by {dollars(receipt.credit_pico)}. All amounts are US dollars."
        + (" Bought by auto top-up." if receipt.is_automatic else "")
    )
    return bytes(page.output())


class _Page(FPDF):
    """A page and where its parts stand. Lengths are millimetres, sizes points."""

    def __init__(self) -> None:
        super().__init__(format="A4")
        self.core_fonts_encoding = _ENCODING
        self.set_margins(_MARGIN, _MARGIN)
        # One page: what is too long for it is cut, below.
        self.set_auto_page_break(auto=False)

    def head(self, title: str, seller: str) -> None:
        self._write(title, size=24, style="B", height=12)
        self.set_xy(self.w / 2, _MARGIN)
        self._write(seller, size=12, style="B", width=self.w / 2 - _MARGIN, height=12, align="R")
        self.set_xy(_MARGIN, _MARGIN + 20)

    def facts(self, rows: list[tuple[str, str]]) -> None:
        for name, value in rows:
            top = self.get_y()
            self._write(name, width=42, is_grey=True)
            self.set_xy(_MARGIN + 42, top)
            self._write(value)
            self.set_xy(_MARGIN, top + _LINE + 0.8)
        self.ln(8)

    def parties(self, *columns: tuple[str, list[str]]) -> None:
        top, width = self.get_y(), self.epw / len(columns) - 4
        bottom = top
        for number, (title, lines) in enumerate(columns):
            left = _MARGIN + number * self.epw / len(columns)
            self.set_xy(left, top)
            self._write(title, style="B", width=width)
            for line in lines:
                self.set_xy(left, self.get_y() + _LINE)
                self._write(line, width=width)
            bottom = max(bottom, self.get_y() + _LINE)
        self.set_xy(_MARGIN, bottom + 10)

    def headline(self, text: str) -> None:
        self._write(text, size=16, style="B", height=9)
        self.set_xy(_MARGIN, self.get_y() + 14)

    def amounts(self, receipt: Receipt) -> None:
        self._row("Description", "Amount", is_grey=True)
        self._row("Prepaid credit", dollars(receipt.amount_pico))
        if receipt.bonus_pico:
            given = f"{dollars(receipt.bonus_pico)} of credit, free"
            self._row(f"Volume bonus, {receipt.bonus_percent} %: {given}", dollars(0))
        if receipt.tax_pico:
            self._row("Tax", dollars(receipt.tax_pico))
        self._row("Total paid", dollars(receipt.total_pico), style="B")

    def close_with(self, text: str) -> None:
        self.ln(8)
        self._write(text, is_grey=True)

    def _row(self, name: str, value: str, *, style: str = "", is_grey: bool = False) -> None:
        top = self.get_y()
        self._write(name, style=style, width=self.epw - 40, height=9, is_grey=is_grey)
        self.set_xy(self.w - _MARGIN - 40, top)
        self._write(value, style=style, width=40, height=9, align="R", is_grey=is_grey)
        self.set_draw_color(_RULE)
        self.line(_MARGIN, top + 9, self.w - _MARGIN, top + 9)
        self.set_xy(_MARGIN, top + 9.5)

    def _write(
        self,
        text: str,
        *,
        size: int = 10,
        style: str = "",
        width: float = 0,
        height: float = _LINE,
        align: str = "L",
        is_grey: bool = False,
    ) -> None:
        self.set_font(_FONT, style, size)
        self.set_text_color(_GREY if is_grey else 20)
        # Without a margin of its own, so that a column's lines stand under each other to the point.
        self.c_margin = 0
        self.cell(width, height, self._cut(_writable(text), width or self.epw), align=align)

    def _cut(self, text: str, width: float) -> str:
        """As much of the text as the width holds."""
        if self.get_string_width(text) <= width:
            return text
        while text and self.get_string_width(text + "…") > width:
            text = text[:-1]
        return text + "…"


def _writable(text: str) -> str:
    """The text in letters that the fonts have."""
    return "".join(map(_letter, " ".join(text.translate(_SIMILAR).split())))


def _is_readable(text: str) -> bool:
    """Whether anything of it is left."""
    return bool(_writable(text).strip("? "))


def _letter(one: str) -> str:
    for known in (one, unicodedata.normalize("NFKD", one).encode("ascii", "ignore").decode()):
        if known and known.encode(_ENCODING, "ignore"):
            return known
    return "" if unicodedata.combining(one) else "?"
