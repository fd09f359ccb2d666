"""A job, and what runs one: whatever happens in it is logged, counted and recorded, and stops no other."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from metering import clock, telemetry
from metering.errors import MeteringError, PaymentsUnavailable, Unavailable
from metering.services.job_records import begin_run, record_runs
from metering.storage.database import Database
from metering.storage.jobs import Runs

# What runs every second and finds nothing, or the same failure, is told this often.
_TELL_SECONDS: Final = 60
_LOG: Final = telemetry.log(__name__)


class Job(NamedTuple):
    """Something to do `every` so often: `run` answers how many things it did.

    It may be killed at any moment and run beside itself without harm. One that runs for longer than
    `deadline` raises an alarm, and another worker may run it too.
    """

    name: str
    every: timedelta
    deadline: timedelta
    run: Callable[[], int]


class Ran(NamedTuple):
    """How a run went; `failure` None means that it succeeded."""

    did: int
    seconds: float
    failure: str | None

    @property
    def outcome(self) -> str:
        """`done` or `failed`."""
        return "done" if self.failure is None else "failed"


@dataclass(slots=True)
class _Untold:
    """What happened since the last record of a job."""

    outcome: str | None = None
    recorded_at: float = 0.0
    runs: int = 0
    failures: int = 0


class Runner:
    """Runs jobs, each in one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._untold: defaultdict[str, _Untold] = defaultdict(_Untold)

    def run(self, job: Job) -> Ran:
        """Run the job now; never raises for what went wrong in it."""
        started_at, begun = clock.now(), time.monotonic()
        did, error = 0, None
        try:
            if job.every.total_seconds() >= _TELL_SECONDS:
                begin_run(self._database, job.name, started_at)
            did = job.run()
        except Exception as raised:  # noqa: BLE001  (told below, with its stack)
            error = raised
        ran = Ran(did, time.monotonic() - begun, None if error is None else _reason(error))
        telemetry.JOB_RUNS.labels(job.name, ran.outcome).inc()
        telemetry.JOB_SECONDS.labels(job.name).observe(ran.seconds)
        self._tell(job, started_at, ran, error)
        return ran

    def _tell(self, job: Job, started_at: datetime, ran: Ran, error: Exception | None) -> None:
        untold = self._untold[job.name]
        untold.runs += 1
        untold.failures += error is not None
        is_news = ran.did > 0 or ran.outcome != untold.outcome
        is_time = time.monotonic() - untold.recorded_at >= _TELL_SECONDS
        if is_news or (is_time and error is not None):
            _log(job, ran, error)
        if is_news or is_time:
            self._record(job, started_at, ran, untold)

    def _record(self, job: Job, started_at: datetime, ran: Ran, untold: _Untold) -> None:
        now = clock.now()
        succeeded_at = now if ran.failure is None else None
        counts = untold.runs, untold.failures
        untold.outcome, untold.recorded_at = ran.outcome, time.monotonic()
        try:
            told = Runs(job.name, started_at, now, succeeded_at, ran.outcome, ran.failure, *counts)
            record_runs(self._database, told)
        except Unavailable as error:
            # The next record counts these runs too.
            _LOG.warning("a run was not recorded", job=job.name, reason=error.message)
        else:
            untold.runs = untold.failures = 0


def _log(job: Job, ran: Ran, error: Exception | None) -> None:
    seconds = f"{ran.seconds:.2f}"
    if error is None:
        _LOG.info("job done", job=job.name, did=ran.did, seconds=seconds)
    elif isinstance(error, Unavailable | PaymentsUnavailable):
        _LOG.warning("job failed", job=job.name, seconds=seconds, reason=error.message)
    else:
        _LOG.error("job failed", job=job.name, seconds=seconds, exc_info=error)


def _reason(error: Exception) -> str:
    """What is recorded of an error: the words of our own, of others the name alone, for the log has more."""
    return error.message if isinstance(error, MeteringError) else type(error).__name__
