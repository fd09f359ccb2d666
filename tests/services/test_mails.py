"""Mails from the notices' rows to a real SMTP server: each once, also where workers die or are many."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from metering import clock
from metering.ledger.notices import MAILED, NoticeType
from metering.messages.mail import open_transport
from metering.services.mails import FIRST_WAIT, GIVEN_UP_AFTER, LEASE, LONGEST_WAIT, send_mails
from metering.storage import mails
from metering.storage.database import Database, driver
from tests.messages.postbox import Postbox, open_postbox, text_of
from tests.messages.writing import LETTERHEAD
from tests.services.telling import a_paid_top_up, an_account, tell

LOW = NoticeType.BALANCE_LOW
A_SECOND = timedelta(seconds=1)


@pytest.fixture
def postbox() -> Iterator[Postbox]:
    """Where mail goes."""
    with open_postbox() as postbox:
        yield postbox


@pytest.fixture(autouse=True)
def clock_of_the_machine() -> Iterator[None]:
    """The clock, set back at the end."""
    yield
    clock.run_ahead(timedelta(0))


def send(database: Database, postbox: Postbox) -> int:
    return send_mails(database, open_transport(postbox.url), LETTERHEAD)


def states(database_url: str) -> list[tuple[str, int]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute("SELECT state, attempts FROM mails ORDER BY notice_id").fetchall()


@pytest.mark.parametrize("kind", sorted(MAILED))
def test_a_notice_is_mailed_once(database: Database, postbox: Postbox, kind: NoticeType) -> None:
    account_id = an_account(database)
    notice_id = tell(database, account_id, kind, top_up_id=a_paid_top_up(database, account_id))
    assert [send(database, postbox), send(database, postbox)] == [1, 0]
    clock.run_ahead(timedelta(days=30))
    assert send(database, postbox) == 0
    (mail,) = postbox.mails
    assert mail["To"] == "ada@customer.example"
    assert notice_id in mail["Message-ID"]


def test_a_receipt_is_made_of_the_top_up(database: Database, postbox: Postbox) -> None:
    account_id = an_account(database)
    top_up_id = a_paid_top_up(database, account_id)
    tell(database, account_id, NoticeType.TOP_UP_SUCCEEDED, top_up_id=top_up_id, balance="1050")
    send(database, postbox)
    (mail,) = postbox.mails
    assert mail["Subject"] == "Receipt ABC-0001: $1,070.00"
    assert "$50.00 of credit" in text_of(mail)
    assert len(list(mail.iter_attachments())) == 1


def test_who_has_no_address_and_what_is_not_mailed_goes_nowhere(database: Database, postbox: Postbox) -> None:
    tell(database, an_account(database, None), LOW)
    tell(database, an_account(database), NoticeType.HOLD_REFUSED, code="insufficient_credits")
    assert send(database, postbox) == 0


def test_a_worker_that_died_leaves_a_mail_that_is_sent_under_the_same_id(
    database: Database, database_url: str, postbox: Postbox
) -> None:
    notice_id = tell(database, an_account(database), LOW)
    with database.transaction() as connection:
        now = clock.now()
        claimed = mails.claim(driver(connection), now, now + LEASE)
    assert claimed is not None
    clock.run_ahead(LEASE - A_SECOND)
    assert send(database, postbox) == 0
    clock.run_ahead(LEASE + A_SECOND)
    assert send(database, postbox) == 1
    assert notice_id in postbox.mails[0]["Message-ID"]
    # The dead worker wasn't dead: what it says now changes nothing.
    with database.transaction() as connection:
        mails.keep_failure(driver(connection), claimed, "too late", now)
    assert states(database_url) == [("sent", 2)]


def test_a_server_that_asks_to_wait_is_asked_again_after_longer_and_longer(
    database: Database, database_url: str, postbox: Postbox
) -> None:
    tell(database, an_account(database), LOW)
    postbox.answers += ["451 later"] * 3
    passed = timedelta(0)
    for wait in (timedelta(0), FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT):
        if wait:
            clock.run_ahead(passed + wait - A_SECOND)
            assert send(database, postbox) == 0
        passed += wait + A_SECOND
        clock.run_ahead(passed)
        assert send(database, postbox) == 1
    assert states(database_url) == [("sent", 4)]
    assert len(postbox.mails) == 1


def test_a_refusal_for_good_is_not_tried_again(
    database: Database, database_url: str, postbox: Postbox
) -> None:
    tell(database, an_account(database), LOW)
    postbox.answers.append("550 no such mailbox")
    assert send(database, postbox) == 1
    clock.run_ahead(timedelta(days=1))
    assert send(database, postbox) == 0
    assert states(database_url) == [("failed", 1)]


def test_after_three_days_a_mail_is_given_up(database: Database, database_url: str, postbox: Postbox) -> None:
    tell(database, an_account(database), LOW)
    postbox.answers += ["451 later"] * 100
    passed = timedelta(0)
    while states(database_url)[0][0] != "failed":
        assert send(database, postbox) == 1
        assert passed < GIVEN_UP_AFTER + LONGEST_WAIT
        passed += LONGEST_WAIT + A_SECOND
        clock.run_ahead(passed)
    assert passed > GIVEN_UP_AFTER
    assert send(database, postbox) == 0


def test_a_mail_that_can_t_be_written_stops_no_other(
    database: Database, database_url: str, postbox: Postbox
) -> None:
    account_id = an_account(database)
    tell(database, account_id, LOW, balance="a lot")
    tell(database, account_id, LOW)
    assert [send(database, postbox), send(database, postbox)] == [1, 1]
    assert states(database_url) == [("waiting", 1), ("sent", 1)]


def test_a_mail_to_what_is_no_address_stops_no_other_and_is_given_up(
    database: Database, database_url: str, postbox: Postbox
) -> None:
    tell(database, an_account(database), LOW)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE mails SET recipient = 'ada..l@example.com'")
    tell(database, an_account(database), LOW)
    assert [send(database, postbox), send(database, postbox)] == [1, 1]
    assert states(database_url) == [("waiting", 1), ("sent", 1)]
    clock.run_ahead(GIVEN_UP_AFTER + A_SECOND)
    send(database, postbox)
    assert states(database_url) == [("failed", 2), ("sent", 1)]


def test_many_workers_send_each_mail_once(database: Database, database_url: str, postbox: Postbox) -> None:
    accounts = [an_account(database) for _ in range(5)]
    told = {tell(database, accounts[number % 5], LOW) for number in range(40)}
    workers = [threading.Thread(target=send, args=(database, postbox)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sent = [mail["Message-ID"].strip("<>").partition("@")[0] for mail in postbox.mails]
    assert sorted(sent) == sorted(told)
    assert set(states(database_url)) == {("sent", 1)}


def test_stopping_ends_between_two_mails(database: Database, postbox: Postbox) -> None:
    account_id = an_account(database)
    for _ in range(3):
        tell(database, account_id, LOW)
    stopped = lambda: len(postbox.mails) == 2  # noqa: E731  (shorter)
    assert send_mails(database, open_transport(postbox.url), LETTERHEAD, stopped=stopped) == 2
