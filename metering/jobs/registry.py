"""Every job there is: what it calls, how often, and by when a run should have ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

from metering import telemetry
from metering.jobs.books import check
from metering.jobs.lots import settle_lots
from metering.jobs.ratings import rate_late
from metering.jobs.running import Job
from metering.messages.letterhead import Letterhead
from metering.messages.mail import Transport
from metering.messages.webhooks import WebhookSender
from metering.services.auto_topups import resume_paused
from metering.services.cards import warn_expiring_cards
from metering.services.cashier import Cashier
from metering.services.hold_expiry import close_expired
from metering.services.mails import send_mails
from metering.services.processor_events import settle_pending, sweep
from metering.services.purchases import buy_due
from metering.services.refunds import finish_refunds
from metering.services.settlement import settle_open
from metering.services.webhook_deliveries import deliver_webhooks
from metering.storage.database import Database

_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
CHECK_EVERY: Final = _HOUR
_LOG: Final = telemetry.log(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """What jobs work with; None what isn't configured. Long runs end early once `stopping` is set."""

    database: Database
    price_book: Path
    cashier: Cashier | None
    mail: tuple[Transport, Letterhead] | None
    webhooks: WebhookSender
    stopping: Event
    check_every: timedelta = CHECK_EVERY


def list_jobs(means: Means) -> list[Job]:
    """The jobs that can be done with these means."""
    jobs = _jobs_of_the_books(means) + _jobs_of_notices(means)
    if means.cashier is not None:
        jobs += _jobs_of_payments(means.cashier, means.stopping)
    return jobs


def _jobs_of_the_books(means: Means) -> list[Job]:
    database, stopping = means.database, means.stopping
    return [
        Job("heartbeat", _MINUTE, _MINUTE, partial(_beat, database)),
        # Long after an upgrade, when every lot is to be laid anew.
        Job("lots", _MINUTE, _HOUR, partial(settle_lots, database)),
        Job("holds", _MINUTE, 10 * _MINUTE, partial(close_expired, database)),
        Job("check", means.check_every, 6 * _HOUR, partial(check, database, stopping)),
        Job("ratings", _HOUR, _HOUR, partial(rate_late, database, means.price_book, stopping)),
    ]


def _jobs_of_notices(means: Means) -> list[Job]:
    database, stopped = means.database, means.stopping.is_set
    deliver = partial(deliver_webhooks, database, means.webhooks, stopped=stopped)
    jobs = [Job("deliveries", _SECOND, _HOUR, deliver)]
    if means.mail is not None:
        send = partial(send_mails, database, *means.mail, stopped=stopped)
        jobs.append(Job("mails", _SECOND, _HOUR, send))
    return jobs


def _jobs_of_payments(cashier: Cashier, stopping: Event) -> list[Job]:
    stopped = stopping.is_set
    return [
        Job("auto_topups", _SECOND, 10 * _MINUTE, partial(buy_due, cashier, stopped=stopped)),
        Job("paused_topups", _MINUTE, _MINUTE, partial(resume_paused, cashier.database)),
        Job("cards", _HOUR, 10 * _MINUTE, partial(warn_expiring_cards, cashier.database)),
        Job("messages", _SECOND, _HOUR, partial(settle_pending, cashier, stopped=stopped)),
        Job("sweep", 5 * _MINUTE, _HOUR, partial(sweep, cashier, stopped=stopped)),
        Job("top_ups", _MINUTE, 30 * _MINUTE, partial(settle_open, cashier, stopped=stopped)),
        Job("refunds", 10 * _SECOND, 10 * _MINUTE, partial(finish_refunds, cashier, stopped=stopped)),
    ]


def _beat(database: Database) -> int:
    """Say that the worker lives and reaches its database."""
    database.ping()
    _LOG.info("heartbeat")
    return 0
