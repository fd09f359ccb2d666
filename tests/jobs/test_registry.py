"""Every job is there where what it needs is configured, and finds nothing to do in empty books."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from metering.config import Settings
from metering.jobs.registry import Means, list_jobs
from metering.jobs.running import Runner
from metering.messages.letterhead import Letterhead
from metering.messages.mail import open_transport
from metering.messages.webhooks import WebhookSender
from metering.services.cashier import Cashier
from metering.storage.database import Database
from tests.payments.fixtures import cashier, gateway, simulator_process, stripe_simulator

__all__ = ["cashier", "gateway", "simulator_process", "stripe_simulator"]

BOOKS = {"check", "deliveries", "heartbeat", "holds", "lots", "ratings"}
PAYMENTS = {"auto_topups", "cards", "messages", "paused_topups", "refunds", "sweep", "top_ups"}


@pytest.fixture
def means(cashier: Cashier, tmp_path: Path) -> Means:
    """Everything that can be configured."""
    return Means(
        database=cashier.database,
        price_book=Settings.from_environment({}).price_book,
        cashier=cashier,
        mail=(open_transport(f"maildir:{tmp_path}"), Letterhead.of(cashier.policy)),
        webhooks=WebhookSender(),
        stopping=Event(),
    )


def test_every_job_is_there(means: Means) -> None:
    assert {job.name for job in list_jobs(means)} == BOOKS | PAYMENTS | {"mails"}


def test_without_a_processor_and_mail_their_jobs_are_not_there(means: Means, database: Database) -> None:
    bare = Means(database, means.price_book, None, None, means.webhooks, means.stopping)
    assert {job.name for job in list_jobs(bare)} == BOOKS


def test_every_job_finds_nothing_to_do_in_empty_books(means: Means) -> None:
    runner = Runner(means.database)
    ran = {job.name: runner.run(job) for job in list_jobs(means)}
    assert {name: (run.did, run.failure) for name, run in ran.items()} == dict.fromkeys(ran, (0, None))
