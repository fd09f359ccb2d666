"""The worker: a schedule of jobs, each of which calls one service."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import Final

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from metering import clock, telemetry
from metering.errors import Unavailable
from metering.jobs.running import Job, Runner
from metering.services.job_leases import RENEW_SECONDS, Leases
from metering.storage.database import Database

_LOG: Final = telemetry.log(__name__)


@dataclass(slots=True)
class _Turn:
    """A job's turns in this process: when the last one began, by the machine's own clock."""

    begun: float | None = None
    is_running: bool = False
    is_late: bool = False


class Worker:
    """Runs the jobs whose leases it gets, each when it is due; one that it takes over it begins with."""

    def __init__(self, database: Database, jobs: Sequence[Job], stopping: Event) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._stopping = stopping
        self._leases = Leases(database)
        self._runner = Runner(database)
        self._turns = {name: _Turn() for name in self._jobs}
        # One thread for each job and one for the leases: none waits for another.
        executor = ThreadPoolExecutor(len(self._jobs) + 1)
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": executor},
            # What is late runs once, however often it was due.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Begin, in threads of its own."""
        self._renew()
        now = clock.now()
        self._scheduler.add_job(self._renew, "interval", seconds=RENEW_SECONDS)
        for job in self._jobs.values():
            seconds = _look_seconds(job)
            self._scheduler.add_job(self._look, "interval", [job], seconds=seconds, next_run_time=now)
        self._scheduler.start()

    def stop(self) -> None:
        """Begin no more runs, wait for those under way, and let other workers take over at once."""
        self._stopping.set()
        # What is submitted after the end would be an error in the log.
        self._scheduler.pause()
        self._scheduler.shutdown(wait=True)
        try:
            self._leases.release()
        except Unavailable as error:
            _LOG.warning("leases of jobs were not released", reason=error.message)

    def _look(self, job: Job) -> None:
        """Run the job if it is due, and ours to run."""
        turn, now = self._turns[job.name], time.monotonic()
        waited = None if turn.begun is None else now - turn.begun
        is_due = waited is None or waited > job.every.total_seconds() - _look_seconds(job) / 2
        if self._stopping.is_set() or not is_due or not self._leases.holds(job.name):
            return
        turn.begun, turn.is_late, turn.is_running = now, False, True
        self._runner.run(job)
        turn.is_running = False

    def _renew(self) -> None:
        late = {name for name in self._jobs if self._is_late(name)}
        try:
            self._leases.keep(self._jobs.keys() - late)
        except Unavailable as error:
            _LOG.warning("leases of jobs were not renewed", reason=error.message)

    def _is_late(self, name: str) -> bool:
        """Whether a run is past its deadline, which raises the alarm once."""
        turn, deadline = self._turns[name], self._jobs[name].deadline
        if not turn.is_running or turn.begun is None:
            return False
        seconds = time.monotonic() - turn.begun
        is_late = seconds > deadline.total_seconds()
        if is_late and not turn.is_late:
            turn.is_late = True
            telemetry.JOB_RUNS.labels(name, "late").inc()
            _LOG.error("a job runs past its deadline", job=name, seconds=f"{seconds:.0f}")
        return is_late


def run_worker(database: Database, jobs: Sequence[Job], stopping: Event) -> None:
    """Run the jobs until SIGTERM or SIGINT, which sets `stopping`; what is under way then ends first."""
    # A signal's handler may interrupt anything, and of all queues and events only this kind bears that.
    told: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: told.put(number))
    worker = Worker(database, jobs, stopping)
    worker.start()
    _LOG.info("worker started", jobs=sorted(job.name for job in jobs))
    told.get()
    worker.stop()
    _LOG.info("worker stopped")


def _look_seconds(job: Job) -> float:
    """How often to see whether the job is due: a lease may come to us at any time."""
    return min(job.every.total_seconds(), RENEW_SECONDS)
