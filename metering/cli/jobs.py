"""`metering jobs`: what the workers do by themselves, how it went, and one of it now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event
from typing import Any

import click

from metering import clock
from metering.app import Storage, prepare_jobs
from metering.cli.serve import configure
from metering.cli.tables import show_table
from metering.config import Settings
from metering.errors import NotFound
from metering.jobs.running import Job, Runner
from metering.services.job_records import list_recorded
from metering.storage.database import Database
from metering.storage.jobs import KeptJob


@click.group()
def jobs() -> None:
    """List the jobs of `metering worker`, and run one now."""


@jobs.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
def list_(*, as_json: bool) -> None:
    """Show when each job last ran and how it went, when it is due, and which worker sees to it.

    What runs every few seconds and finds nothing to do is noted once a minute. Jobs of workers that are
    configured otherwise than this shell, such as with a key of Stripe's, are shown without their schedule.
    """
    with _opened(Settings.from_environment()) as (database, known):
        recorded = list_recorded(database)
    rows = [_row(job.name, job, recorded.pop(job.name, None)) for job in known]
    rows += [_row(name, None, kept) for name, kept in recorded.items()]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
    else:
        columns = ("job", "every", "last run", "took", "outcome", "next", "worker")
        show_table(columns, [_cells(row) for row in rows], texts={"outcome"})


@jobs.command()
@click.argument("name")
def run(name: str) -> None:
    """Run the job NAME now, to its end, whatever the workers do; exits with 1 if it fails."""
    settings = Settings.from_environment()
    configure(settings)
    with _opened(settings) as (database, known):
        job = next((job for job in known if job.name == name), None)
        if job is None:
            names = ", ".join(job.name for job in known)
            raise NotFound(
                f"There is no job {name!r} here, only {names}. Others need METERING_STRIPE_API_KEY or "
                "METERING_MAIL_URL in the environment."
            )
        ran = Runner(database).run(job)
    if ran.failure is not None:
        raise click.ClickException(f"{name} failed after {ran.seconds:.2f} s: {ran.failure}")
    click.echo(f"{name}: {ran.did} done in {ran.seconds:.2f} s")


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Database, list[Job]]]:
    database = Storage.open(settings).database
    try:
        database.require_head()
        yield database, prepare_jobs(settings, database, Event())
    finally:
        database.close()


def _row(name: str, job: Job | None, kept: KeptJob | None) -> dict[str, Any]:
    """What is known of a job; times are ISO 8601, durations seconds."""
    if kept is None:
        kept = KeptJob(name, None, None, None, None, None, None, 0, 0)
    is_running = kept.is_running
    took = None
    if kept.started_at and kept.finished_at and not is_running:
        took = max(0.0, (kept.finished_at - kept.started_at).total_seconds())
    next_due = None
    if job is not None and kept.held_by is not None and not is_running:
        next_due = max(clock.now(), kept.started_at + job.every) if kept.started_at else clock.now()
    return {
        "job": name,
        "every_seconds": job and job.every.total_seconds(),
        "deadline_seconds": job and job.deadline.total_seconds(),
        "is_running": is_running,
        "started_at": _text(kept.started_at),
        "finished_at": _text(kept.finished_at),
        "succeeded_at": _text(kept.succeeded_at),
        "seconds": took,
        "outcome": kept.outcome,
        "failure": kept.failure,
        "runs": kept.runs,
        "failures": kept.failures,
        "next_at": _text(next_due),
        "worker": kept.held_by,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    outcome = row["outcome"] or ""
    if row["failure"]:
        outcome = f"{outcome}: {row['failure']}"
    return [
        row["job"],
        "" if row["every_seconds"] is None else str(timedelta(seconds=row["every_seconds"])),
        (row["started_at"] or "never")[:19],
        "running" if row["is_running"] else "" if row["seconds"] is None else f"{row['seconds']:.2f} s",
        outcome,
        _next(row),
        row["worker"] or "",
    ]


def _next(row: dict[str, Any]) -> str:
    if row["is_running"]:
        return ""
    if row["worker"] is None:
        return "no worker"
    return (row["next_at"] or "")[:19]


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
