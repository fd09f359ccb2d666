"""How the runs of jobs went: recorded for whoever asks what the workers do."""

from __future__ import annotations

from datetime import datetime

from metering.storage import jobs
from metering.storage.database import Database, driver
from metering.storage.jobs import KeptJob, Runs


def begin_run(database: Database, name: str, now: datetime) -> None:
    """Record that a run of the job begins."""
    with database.transaction() as connection:
        jobs.note_start(driver(connection), name, now)


def record_runs(database: Database, runs: Runs) -> None:
    """Record how the last run went, and how many there were since the last record."""
    with database.transaction() as connection:
        jobs.record(driver(connection), runs)


def list_recorded(database: Database) -> dict[str, KeptJob]:
    """What is recorded of each job that ever ran, by name."""
    with database.snapshot() as connection:
        return jobs.list_all(driver(connection))
