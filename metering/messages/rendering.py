"""Mails from templates: a text and an HTML for each type of notice, and the receipt as a page of its own.

A text's first line is the subject. Whatever comes from outside is escaped in HTML; a field that a template
names and a notice lacks is an error, never an empty place.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError, select_autoescape

from metering.errors import MeteringError
from metering.ledger.notices import NoticeType
from metering.ledger.receipts import Receipt
from metering.messages.letterhead import Letterhead, day, dollars, moment, month
from metering.money import to_pico

_SUBJECT: Final = "Subject: "


class Notice(NamedTuple):
    """What is told: `data` as the notice has it, to the account called `name`, at `recipient`.

    A top-up that succeeded comes with its receipt.
    """

    id: str
    kind: NoticeType
    data: Mapping[str, Any]
    created_at: datetime
    name: str
    recipient: str
    receipt: Receipt | None = None


class Purchase(NamedTuple):
    """A top-up as a page shows it that asks for no key: nothing that says whose it is."""

    state: str
    amount_pico: int
    bonus_percent: int
    bonus_pico: int
    tax_pico: int
    receipt_number: str | None


def compose(notice: Notice, letterhead: Letterhead) -> EmailMessage:
    """The mail that tells it; the same again gives the same Message-ID. Raises `MeteringError`."""
    said = {"notice": notice, "data": notice.data, "receipt": notice.receipt, "letterhead": letterhead}
    text = _render(f"{notice.kind}.txt", said)
    subject, _, body = text.partition("\n")
    message = EmailMessage(policy=SMTP)
    message["From"] = letterhead.sender
    try:
        message["To"] = Address(addr_spec=notice.recipient)
        message["Subject"] = subject.removeprefix(_SUBJECT)
    except ValueError as error:
        raise MeteringError(f"{notice.kind} can't be addressed: {error}") from error
    message["Date"] = format_datetime(notice.created_at)
    message["Message-ID"] = f"<{notice.id}@{letterhead.sender.domain}>"
    # Nobody's holiday shall answer a machine (RFC 3834).
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body.strip() + "\n", cte="quoted-printable")
    html = _render(f"{notice.kind}.html", {**said, "subject": message["Subject"]})
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    if notice.receipt is not None:
        name = f"receipt-{notice.receipt.number}.pdf"
        pdf = render_receipt_pdf(notice.receipt, letterhead)
        message.add_attachment(pdf, maintype="application", subtype="pdf", filename=name)
    return message


def render_receipt_pdf(receipt: Receipt, letterhead: Letterhead) -> bytes:
    """A receipt as a PDF document."""
    # What it brings takes a third of a second to import: not for those who make no PDF.
    from metering.messages.receipt_pdf import render_pdf  # noqa: PLC0415

    return render_pdf(receipt, letterhead)


def render_receipt(receipt: Receipt, letterhead: Letterhead) -> str:
    """The receipt as an HTML page."""
    said = {"receipt": receipt, "letterhead": letterhead, "subject": f"Receipt {receipt.number}"}
    return _render("receipt.html", said)


def render_return(purchase: Purchase | None, letterhead: Letterhead) -> str:
    """The page to which a customer comes back from paying; None for one who only saved a card."""
    said = {"purchase": purchase, "letterhead": letterhead, "subject": "Top-up" if purchase else "Payment"}
    return _render("return.html", said)


def render_apology(title: str, text: str, letterhead: Letterhead) -> str:
    """A page that says what can't be shown, and why."""
    return _render("apology.html", {"text": text, "subject": title, "letterhead": letterhead})


def _render(template: str, said: Mapping[str, object]) -> str:
    try:
        return _ENVIRONMENT.get_template(template).render(said)
    except (TemplateError, ValueError, LookupError) as error:
        raise MeteringError(f"{template} can't be written: {error}") from error


def _usd(amount: str | int) -> str:
    """An amount as a notice has it, decimal text, or in picodollars."""
    return dollars(amount if isinstance(amount, int) else to_pico(str(amount)))


def _moment(at: str | datetime) -> str:
    return moment(datetime.fromisoformat(at) if isinstance(at, str) else at)


def _why_off(data: Mapping[str, Any]) -> str:
    """Why auto top-up was switched off; where a bank said something, in its words too."""
    told = [data.get("message"), data.get("failure_message")]
    return " ".join(filter(None, told))


_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("metering.messages"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"usd": _usd, "moment": _moment, "day": day}
_ENVIRONMENT.globals |= {"month": month, "why_off": _why_off}
