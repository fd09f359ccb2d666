"""What a purchase, a refund and a declined card tell, as the customer reads it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage

import pytest

from metering.messages.letterhead import Letterhead
from metering.messages.mail import open_transport
from metering.services.mails import send_mails
from metering.services.notifications import set_notifications
from metering.storage.database import Database
from tests.messages.postbox import Postbox, open_postbox, text_of
from tests.payments.fixtures import POLICY
from tests.services.buying import Buyer
from tests.services.till import Till

LETTERHEAD = Letterhead.of(POLICY)


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    """Where mail goes."""
    with open_postbox() as postbox:
        yield postbox


def read(database: Database, postbox: Postbox) -> list[tuple[str, str]]:
    """Subject and text of each mail that was waiting."""
    send_mails(database, open_transport(postbox.url), LETTERHEAD)
    arrived, postbox.mails = postbox.mails, []
    return [(mail["Subject"], _text(mail)) for mail in arrived]


def _text(mail: EmailMessage) -> str:
    assert mail["To"] == "ada@example.com"
    return text_of(mail)


def test_a_purchase_and_its_refund_are_mailed(till: Till, postbox: Postbox) -> None:
    set_notifications(till.database, till.account_id, {"email": "ada@example.com"})
    top_up = till.buy("1000")
    ((subject, text),) = read(till.database, postbox)
    number = f"{till.account_id.rpartition('-')[2]}-0001"
    assert subject == f"Receipt {number}: $1,000.00"
    for told in ("rose by $1,050.00 to $1,050.00", "4242", "WHOP*EMPIRIO", "$50.00 of credit"):
        assert told in text
    till.refund(top_up, "400")
    ((subject, text),) = read(till.database, postbox)
    assert subject == "Refund of $400.00"
    for told in (number, "$20.00", "$630.00"):
        assert told in text


def test_an_auto_top_up_mails_its_receipt(buyer: Buyer, postbox: Postbox) -> None:
    set_notifications(buyer.database, buyer.account_id, {"email": "ada@example.com"})
    buyer.save_card()
    buyer.turn_on()
    buyer.use(11)
    buyer.work()
    ((subject, text),) = read(buyer.database, postbox)
    assert subject.startswith("Auto top-up receipt")
    assert "rose by $50.00 to $59.00" in text


def test_a_card_that_declines_is_mailed_each_time_and_when_it_is_switched_off(
    buyer: Buyer, postbox: Postbox
) -> None:
    set_notifications(buyer.database, buyer.account_id, {"email": "ada@example.com"})
    buyer.save_card("pm_card_chargeCustomerFail")
    buyer.turn_on()
    buyer.use(11)
    subjects = []
    for _ in range(20):
        buyer.work()
        subjects += read(buyer.database, postbox)
        buyer.later(timedelta(days=1))
    *failed, (off, why) = subjects
    assert failed
    assert {subject for subject, _ in failed} == {"Auto top-up of $50.00 failed"}
    assert all("We will try again" in text for _, text in failed)
    assert off == "Auto top-up was switched off"
    assert "declined" in why
