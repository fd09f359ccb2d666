"""The worker: a schedule of jobs, each of which calls one service.

A job that fails is logged by the scheduler and tried again at its next time; it never stops the others.
"""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event
from typing import Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler

from metering import clock, telemetry
from metering.jobs.books import check
from metering.jobs.holds import close_holds
from metering.jobs.lots import settle_lots
from metering.jobs.ratings import RATING_MINUTES, rate_late
from metering.storage.database import Database

HEARTBEAT_SECONDS: Final = 60
LOTS_SECONDS: Final = 60
HOLDS_SECONDS: Final = 60
# One for each job: none waits for another.
_THREADS: Final = 5
_LOG: Final = telemetry.log(__name__)


def run_worker(database: Database, price_book: Path, *, check_minutes: int) -> None:
    """Run the jobs until SIGTERM or SIGINT; returns when those under way have ended."""
    scheduler = BlockingScheduler(
        timezone="UTC",
        executors={"default": ThreadPoolExecutor(_THREADS)},
        # A job that is late runs once, however often it was due.
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
    )
    stopping = Event()
    now = clock.now()
    scheduler.add_job(beat, "interval", [database], seconds=HEARTBEAT_SECONDS, next_run_time=now)
    scheduler.add_job(settle_lots, "interval", [database], seconds=LOTS_SECONDS, next_run_time=now)
    scheduler.add_job(close_holds, "interval", [database], seconds=HOLDS_SECONDS, next_run_time=now)
    scheduler.add_job(check, "interval", [database, stopping], minutes=check_minutes, next_run_time=now)
    scheduler.add_job(
        rate_late, "interval", [database, price_book], minutes=RATING_MINUTES, next_run_time=now
    )

    def stop(_number: int, _frame: object) -> None:
        stopping.set()
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
