"""Many workers do the work once; one that is killed is replaced; one that is told to stop ends its runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from threading import Event

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from metering.jobs.running import Job
from metering.jobs.worker import Worker
from metering.services import job_leases
from metering.services.job_leases import Leases
from metering.services.job_records import list_recorded
from metering.storage.database import Database

SOON, MINUTE = timedelta(seconds=0.05), timedelta(minutes=1)


def until(found: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def working(*workers: Worker) -> Iterator[None]:
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()


def test_of_many_workers_one_runs_a_job_at_a_time(database: Database) -> None:
    begun: list[str] = []

    def work(name: str) -> int:
        begun.append(name)
        return 0

    workers = [
        Worker(database, [Job("shared", SOON, MINUTE, lambda name=name: work(name))], Event())  # type: ignore[misc]
        for name in "abc"
    ]
    with working(*workers):
        until(lambda: len(begun) > 10)
    assert set(begun) == {"a"}


def test_jobs_do_not_wait_for_one_another(database: Database) -> None:
    runs: list[int] = []
    release = Event()

    def work() -> int:
        runs.append(1)
        return len(runs)

    slow = Job("slow", SOON, MINUTE, lambda: release.wait(20) and 0)
    fast = Job("fast", SOON, MINUTE, work)
    with working(Worker(database, [slow, fast], Event())):
        until(lambda: len(runs) > 5)
        release.set()


def test_a_worker_that_stops_ends_its_runs_and_gives_its_jobs_to_others_at_once(database: Database) -> None:
    in_run, ended = Event(), Event()

    def work() -> int:
        in_run.set()
        time.sleep(0.5)
        ended.set()
        return 1

    worker = Worker(database, [Job("passed on", SOON, MINUTE, work)], Event())
    worker.start()
    assert in_run.wait(20)
    worker.stop()
    assert ended.is_set()
    assert list_recorded(database)["passed on"].outcome == "done"
    other = Leases(database)
    other.keep(["passed on"])
    assert other.holds("passed on")


def test_a_lease_is_taken_over_once_its_worker_is_gone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Leases(database), Leases(database)
    first.keep(["lots", "holds"])
    second.keep(["lots", "holds", "check"])
    assert [first.holds(name) for name in ("lots", "holds", "check")] == [True, True, False]
    assert [second.holds(name) for name in ("lots", "holds", "check")] == [False, False, True]
    monkeypatch.setattr(job_leases, "LEASE", timedelta(seconds=0.1))
    first.keep(["lots"])
    time.sleep(0.2)
    assert not first.holds("lots")
    second.keep(["lots", "holds"])
    assert second.holds("lots")
    assert not second.holds("holds")


def test_a_run_past_its_deadline_raises_an_alarm_once_and_lets_another_worker_run_the_job(
    database: Database,
) -> None:
    release = Event()
    job = Job("stuck", SOON, timedelta(seconds=0.2), lambda: release.wait(20) and 0)
    worker = Worker(database, [job], Event())
    with capture_logs() as logs, working(worker):
        until(lambda: worker._turns["stuck"].is_running)
        time.sleep(0.3)
        worker._renew()
        worker._renew()
        assert not worker._leases.holds("stuck")
        release.set()
    late = [line for line in logs if line["event"] == "a job runs past its deadline"]
    assert [(line["log_level"], line["job"]) for line in late] == [("error", "stuck")]
    assert REGISTRY.get_sample_value("metering_job_runs_total", {"job": "stuck", "outcome": "late"}) == 1


def test_a_worker_whose_database_is_away_says_so_and_begins_nothing() -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    runs = count()
    job = Job("never", SOON, MINUTE, lambda: next(runs))
    with capture_logs() as logs, working(Worker(away, [job], Event())):
        time.sleep(0.2)
    assert next(runs) == 0
    assert {line["event"] for line in logs} == {
        "leases of jobs were not renewed",
        "leases of jobs were not released",
    }
