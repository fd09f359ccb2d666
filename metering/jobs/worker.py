"""The worker: a schedule of jobs, each of which calls one service.

A job that fails is logged by the scheduler and tried again at its next time; it never stops the others.
"""

from __future__ import annotations

import signal
import time
from typing import Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler

from metering import clock, telemetry
from metering.services.audit import check_books
from metering.services.history import list_unpriced
from metering.storage.database import Database

HEARTBEAT_SECONDS: Final = 60
_THREADS: Final = 4
_LOG: Final = telemetry.log(__name__)


def run_worker(database: Database, *, check_minutes: int) -> None:
    """Run the jobs until SIGTERM or SIGINT; returns when those under way have ended."""
    scheduler = BlockingScheduler(
        timezone="UTC",
        executors={"default": ThreadPoolExecutor(_THREADS)},
        # A job that is late runs once, however often it was due.
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    now = clock.now()
    scheduler.add_job(beat, "interval", [database], seconds=HEARTBEAT_SECONDS, next_run_time=now)
    scheduler.add_job(check, "interval", [database], minutes=check_minutes, next_run_time=now)

    def stop(_number: int, _frame: object) -> None:
        scheduler.shutdown(wait=True)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _LOG.info("worker started", check_minutes=check_minutes)
    scheduler.start()
    _LOG.info("worker stopped")


def beat(database: Database) -> None:
    """Say that the worker lives and reaches its database."""
    database.ping()
    _LOG.info("heartbeat")


def check(database: Database) -> None:
    """Check the laws of the books; every breach is an error in the log and one more in the metric."""
    begun = time.monotonic()
    breaches = check_books(database)
    telemetry.BREACHES.set(len(breaches))
    for breach in breaches:
        _LOG.error("a law of the books is broken", **breach._asdict())
    unpriced = sum(events for _, _, events, *_ in list_unpriced(database))
    telemetry.UNPRICED_EVENTS.set(unpriced)
    _LOG.info(
        "books checked", breaches=len(breaches), unpriced=unpriced, seconds=f"{time.monotonic() - begun:.1f}"
    )
