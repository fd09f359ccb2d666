"""Sending what customers are told by mail: claimed, posted outside any transaction, then noted as sent.

A worker that dies in between leaves a mail whose lease ends: it is sent again, under the same Message-ID.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from metering import clock, telemetry
from metering.errors import MeteringError
from metering.ledger.notices import NoticeType
from metering.messages.letterhead import Letterhead
from metering.messages.mail import MailOutcome, MailTry, Post, Transport
from metering.messages.rendering import Notice, compose
from metering.services.receipts import get_receipt
from metering.services.stopping import Stopped, never
from metering.storage import mails
from metering.storage.database import Database, driver
from metering.storage.mails import ClaimedMail

# Longer than a server that answers at the last moment can make one mail take.
LEASE: Final = timedelta(minutes=10)
FIRST_WAIT: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(hours=4)
GIVEN_UP_AFTER: Final = timedelta(days=3)
_LOG: Final = telemetry.log(__name__)


def send_mails(
    database: Database,
    transport: Transport,
    letterhead: Letterhead,
    *,
    stopped: Stopped = never,
) -> int:
    """Try every mail that is due, until none is or `stopped` says so; how many were tried.

    Ends with one that is delayed: where the server can't be reached, the others needn't find out one by one.
    """
    tried = 0
    outcome = MailOutcome.SENT
    with transport.session() as post:
        while outcome is not MailOutcome.DELAYED and not stopped() and (mail := _claim(database)) is not None:
            outcome, failure = _try(database, mail, letterhead, post)
            _keep(database, mail, outcome, failure)
            tried += 1
    return tried


def _claim(database: Database) -> ClaimedMail | None:
    now = clock.now()
    with database.transaction() as connection:
        return mails.claim(driver(connection), now, now + LEASE)


def _try(database: Database, mail: ClaimedMail, letterhead: Letterhead, post: Post) -> MailTry:
    kind = NoticeType(mail.kind)
    try:
        receipt = (
            get_receipt(database, mail.account_id, mail.data["top_up_id"])
            if kind is NoticeType.TOP_UP_SUCCEEDED
            else None
        )
        facts = mail.notice_id, kind, mail.data, mail.created_at, mail.name, mail.recipient
        message = compose(Notice(*facts, receipt), letterhead)
    except MeteringError as error:
        # What can't be written now can't be later, unless the product changes: then it is tried again.
        return MailTry(MailOutcome.DELAYED, error.message)
    return post(message, mail.recipient)


def _keep(database: Database, mail: ClaimedMail, outcome: MailOutcome, failure: str | None) -> None:
    now = clock.now()
    again_at = None
    if outcome is MailOutcome.DELAYED and now - mail.created_at < GIVEN_UP_AFTER:
        again_at = now + min(FIRST_WAIT * 2 ** min(mail.attempts - 1, 16), LONGEST_WAIT)
    with database.transaction() as connection:
        if outcome is MailOutcome.SENT:
            mails.keep_sent(driver(connection), mail, now)
        else:
            mails.keep_failure(driver(connection), mail, failure or "", again_at)
    if outcome is MailOutcome.DELAYED and again_at is None:
        outcome = MailOutcome.FAILED
    telemetry.MAILS_TOTAL.labels(outcome).inc()
    if outcome is not MailOutcome.SENT:
        told = {"account_id": mail.account_id, "notice_id": mail.notice_id, "type": mail.kind}
        say = _LOG.warning if outcome is MailOutcome.DELAYED else _LOG.error
        say(f"mail {outcome}", **told, attempt=mail.attempts, failure=failure)
