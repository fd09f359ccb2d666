"""Killed with -9 at any point between a customer's wish and the receipt: one charge, one credit, one mail.

Two customers buy at once, one on the processor's page, one by auto top-up, and both stand at the same point
when the service and the worker are killed. The payment processor and the mail server live on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from metering.storage.database import Database
from tests.conftest import other_database, run_sql
from tests.crash.locking import locked, wait_until_blocked
from tests.crash.place import AutoBuyer, Buyer, PageBuyer, Place
from tests.crash.stalling import StallingPost
from tests.payments.town import open_town, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("money_in")]

CUSTOMERS: Final = "/v1/customers"
SESSIONS: Final = "/v1/checkout/sessions"
PAYMENTS: Final = "/v1/payment_intents"
CONFIRM: Final = "/v1/payment_intents/[^/]+/confirm"
SUCCESS: Final = "payment_intent.succeeded"
# How many messages the service settles at once.
SETTLERS: Final = 3
_PENDING: Final = f"SELECT count(*) FROM processor_events WHERE type = '{SUCCESS}' AND state = 'pending'"
KEPT: Final = f"{_PENDING} AND attempts = 0"
CLAIMED: Final = f"{_PENDING} AND attempts > 0"
SUCCEEDED: Final = "SELECT count(*) FROM top_ups WHERE account_id = %s AND state = 'succeeded'"
WAITING_MAILS: Final = "SELECT count(*) FROM mails WHERE state IN ('waiting', 'sending')"

Brink = Callable[[Place, AutoBuyer, PageBuyer], Iterator[None]]


@pytest.fixture(scope="module")
def wide_place(postgres_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One place for all points, each with customers of its own."""
    name = f"metering_test_{secrets.token_hex(6)}"
    url, post = other_database(postgres_url, name), StallingPost()
    run_sql(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    with ExitStack() as stack:
        stack.callback(run_sql, postgres_url, f"DROP DATABASE {name} WITH (FORCE)")
        stack.enter_context(post.listening())
        database = stack.enter_context(closing(Database(url, pool_size=2)))
        folder: Path = tmp_path_factory.mktemp("money-in")
        yield Place(stack.enter_context(open_town(folder, database, url, post.url)), post, url)


@pytest.fixture
def place(wide_place: Place) -> Place:
    """The place, with everything at work."""
    wide_place.revive()
    return wide_place


def intended(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """What is to be bought is committed, and not asked for yet: the processor hangs at making a customer."""
    place.hang("before", CUSTOMERS)
    place.town.worker.kill()
    auto.fall()
    page.begin()
    place.wait_until_hung()
    yield


def asked(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """The calls that make the page and the payment are under way, and never have an effect."""
    yield from _hung_at_making("before", place, auto, page)


def made(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """The page and the payment are made, and their ids not known here."""
    yield from _hung_at_making("after", place, auto, page)


def _hung_at_making(when: str, place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    place.hang(when, PAYMENTS)
    place.hang(when, SESSIONS)
    auto.fall()
    page.begin()
    place.wait_until_hung(0)
    place.wait_until_hung(1)
    yield


def charged_late(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """The calls that charge and make the page are under way, and have their effect after the restart."""
    for path in (CONFIRM, SESSIONS):
        place.town.control.fault("slow", when="before", path=path, seconds=3)
    auto.fall()
    page.begin()
    place.wait_until_hung(0)
    place.wait_until_hung(1)
    yield


def charged(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """Both are charged, and nothing of it is known here; messages come after the restart."""
    place.hold_messages()
    _charge(place, auto, page)
    yield


def credited_untold(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """The charge is settled by the call's answer; messages of both come after the restart, and doubled."""
    place.hold_messages(duplicate=1)
    auto.fall()
    page.pay()
    wait_for(lambda: place.find(SUCCEEDED, auto.customer.account_id), "the charge's credit")
    yield


def never_told(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """Both are charged, nothing of it is known here, and no message ever comes: the worker asks for them."""
    place.town.control.webhooks(drop=True)
    # What is young may be on its way, and is not asked for: this happens two minutes ago.
    place.town.control.advance(-120)
    _charge(place, auto, page)
    place.town.control.advance(120)
    yield


def stored(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """The messages are kept, and nobody has begun to settle them: all are busy with neighbours'."""
    place.take_job("messages")
    place.town.worker.kill()
    place.hang_readers()
    for number in range(SETTLERS):
        PageBuyer(place, f"neighbour-{number}@customer.example").pay()
    wait_for(lambda: place.town.control.faults()[0]["hits"] == SETTLERS, "settlers that hang")
    place.town.start()
    place.hang("after", CONFIRM)
    auto.fall()
    page.pay()
    wait_for(lambda: place.find(KEPT) == 2, "messages that are kept")
    yield


def being_settled(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """The messages are being settled: the processor is asked, and does not answer."""
    place.hold_messages()
    _charge(place, auto, page)
    place.hang_readers()
    place.release(SUCCESS)
    wait_for(lambda: place.find(CLAIMED) == 2, "messages that are being settled")
    yield


def being_applied(place: Place, auto: AutoBuyer, page: PageBuyer) -> Iterator[None]:
    """The messages are being settled: what the processor said waits for the account's lock."""
    place.hold_messages()
    _charge(place, auto, page)
    with locked(place.url, auto.customer.account_id), locked(place.url, page.customer.account_id):
        place.release(SUCCESS)
        wait_until_blocked(place.url, 2)
        yield


def _charge(place: Place, auto: AutoBuyer, page: PageBuyer) -> None:
    place.hang("after", CONFIRM)
    auto.fall()
    page.pay()
    place.wait_until_hung()


BRINKS: Final = [
    intended,
    asked,
    made,
    charged_late,
    charged,
    credited_untold,
    never_told,
    stored,
    being_settled,
    being_applied,
]


@pytest.mark.parametrize("brink", BRINKS)
def test_killed_anywhere_each_is_charged_and_credited_and_told_once(place: Place, brink: Brink) -> None:
    auto = AutoBuyer(place, f"auto-{brink.__name__}@customer.example")
    page = PageBuyer(place, f"page-{brink.__name__}@customer.example")
    with contextmanager(brink)(place, auto, page):
        place.kill()
    _recover(place, auto, page)
    auto.check()
    page.check()
    place.check()


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_mailing_each_is_told_by_one_mail(place: Place, when: str) -> None:
    """A mail that the server took, while its answer was lost, is sent again under the same Message-ID.

    SMTP has no way to ask whether a message was taken; of two with one id, mail programs show one. A receipt
    that is lost would be worse.
    """
    auto = AutoBuyer(place, f"auto-{when}@customer.example")
    page = PageBuyer(place, f"page-{when}@customer.example")
    place.post.stall("after" if when == "after" else "before")
    page.pay()
    place.post.wait_until_stalled()
    auto.fall()
    wait_for(lambda: place.find(WAITING_MAILS) == 2, "the other's mail")
    place.kill()
    _recover(place, auto, page)
    auto.check()
    page.check(copies=2 if when == "after" else 1)
    place.check()


def _recover(place: Place, *buyers: Buyer) -> None:
    place.revive()
    for buyer in buyers:
        buyer.resume()
    place.wait_until_done()
