"""Rows of jobs: who may run one, how its last runs went, and how far it has come.

Leases go by the database's clock, the only one that all workers share; one statement each, so that a pooler
of transactions may stand between.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

_KEEP: Final = """
    INSERT INTO jobs (name, leased_by, leased_until)
    SELECT name, %(holder)s, now() + %(lease)s FROM unnest(%(names)s::text[]) AS asked (name) ORDER BY name
        ON CONFLICT (name) DO UPDATE SET leased_by = excluded.leased_by, leased_until = excluded.leased_until
     WHERE jobs.leased_by = excluded.leased_by OR jobs.leased_until IS NULL OR jobs.leased_until <= now()
    RETURNING name
"""
_RELEASE: Final = "UPDATE jobs SET leased_by = NULL, leased_until = NULL WHERE leased_by = %s"
_START: Final = """
    INSERT INTO jobs (name, started_at) VALUES (%s, %s)
        ON CONFLICT (name) DO UPDATE SET started_at = excluded.started_at
"""
_RECORD: Final = """
    INSERT INTO jobs (name, started_at, finished_at, succeeded_at, outcome, failure, runs, failures)
    VALUES (%(name)s, %(started_at)s, %(finished_at)s, %(succeeded_at)s, %(outcome)s, %(failure)s, %(runs)s,
            %(failures)s)
        ON CONFLICT (name) DO UPDATE
       SET started_at = excluded.started_at, finished_at = excluded.finished_at,
           succeeded_at = coalesce(excluded.succeeded_at, jobs.succeeded_at), outcome = excluded.outcome,
           failure = excluded.failure, runs = jobs.runs + excluded.runs,
           failures = jobs.failures + excluded.failures
"""
_LIST: Final = """
    SELECT name, CASE WHEN leased_until > now() THEN leased_by END AS held_by, started_at, finished_at,
           succeeded_at, outcome, failure, runs, failures
      FROM jobs
"""
_FIND_CURSOR: Final = "SELECT cursor FROM jobs WHERE name = %s"
_SET_CURSOR: Final = """
    INSERT INTO jobs (name, cursor) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor
"""


class Runs(NamedTuple):
    """The last run of a job, and how many `runs` and `failures` there were since the last record."""

    name: str
    started_at: datetime
    finished_at: datetime
    succeeded_at: datetime | None
    outcome: str
    failure: str | None
    runs: int
    failures: int


class KeptJob(NamedTuple):
    """A job as it is recorded; `held_by` is the worker that may run it now."""

    name: str
    held_by: str | None
    started_at: datetime | None
    finished_at: datetime | None
    succeeded_at: datetime | None
    outcome: str | None
    failure: str | None
    runs: int
    failures: int

    @property
    def is_running(self) -> bool:
        """Whether a run has begun and neither ended nor died."""
        if self.held_by is None or self.started_at is None:
            return False
        return self.finished_at is None or self.finished_at < self.started_at


def keep(connection: Connection[Any], names: Collection[str], holder: str, lease: timedelta) -> set[str]:
    """Renew the holder's leases of these jobs, and take those that nobody holds: the ones it holds now."""
    given = {"names": list(names), "holder": holder, "lease": lease}
    return {name for (name,) in connection.execute(_KEEP, given)}


def release(connection: Connection[Any], holder: str) -> None:
    """Give all of the holder's leases back."""
    connection.execute(_RELEASE, [holder])


def note_start(connection: Connection[Any], name: str, now: datetime) -> None:
    """Record that a run begins."""
    connection.execute(_START, [name, now])


def record(connection: Connection[Any], runs: Runs) -> None:
    """Record how the last run went, and count those since the last record."""
    connection.execute(_RECORD, runs._asdict())


def list_all(connection: Connection[Any]) -> dict[str, KeptJob]:
    """What is recorded of each job, by name."""
    with connection.cursor(row_factory=class_row(KeptJob)) as cursor:
        return {job.name: job for job in cursor.execute(_LIST)}


def find_cursor(connection: Connection[Any], name: str) -> str | None:
    """How far the job has come, in its own words."""
    row = connection.execute(_FIND_CURSOR, [name]).fetchone()
    return None if row is None else row[0]


def set_cursor(connection: Connection[Any], name: str, cursor: str) -> None:
    """Remember how far the job has come."""
    connection.execute(_SET_CURSOR, [name, cursor])
