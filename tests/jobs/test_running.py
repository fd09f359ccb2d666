"""What runs a job tells how it went: in the metric always, in log and table if there is something to say."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from metering.errors import PaymentsUnavailable
from metering.jobs.registry import _beat
from metering.jobs.running import Job, Runner
from metering.services.job_records import list_recorded
from metering.storage.database import Database

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def runs(name: str, outcome: str) -> float:
    labels = {"job": name, "outcome": outcome}
    return REGISTRY.get_sample_value("metering_job_runs_total", labels) or 0


def test_what_was_done_is_logged_recorded_and_counted(database: Database) -> None:
    job = Job("works", MINUTE, MINUTE, lambda: 3)
    with capture_logs() as logs:
        ran = Runner(database).run(job)
    assert (ran.did, ran.failure, ran.outcome) == (3, None, "done")
    assert [(line["event"], line["job"], line["did"]) for line in logs] == [("job done", "works", 3)]
    assert runs("works", "done") == 1
    kept = list_recorded(database)["works"]
    assert (kept.outcome, kept.failure, kept.runs, kept.failures) == ("done", None, 1, 0)
    assert kept.started_at is not None
    assert kept.finished_at is not None
    assert kept.started_at <= kept.finished_at
    assert kept.succeeded_at == kept.finished_at


def test_a_run_that_found_nothing_to_do_is_told_once_and_then_only_counted(database: Database) -> None:
    runner, job = Runner(database), Job("idles", SECOND, MINUTE, lambda: 0)
    with capture_logs() as logs:
        for _ in range(5):
            runner.run(job)
    assert len(logs) == 1
    assert runs("idles", "done") == 5
    assert list_recorded(database)["idles"].runs == 1


def test_a_failure_is_told_once_and_so_is_its_end(database: Database) -> None:
    answers: list[Exception | int] = [KeyError("x"), KeyError("x"), PaymentsUnavailable("No answer."), 0, 0]

    def work() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    runner, job = Runner(database), Job("fails", SECOND, MINUTE, work)
    with capture_logs() as logs:
        failures = [runner.run(job).failure for _ in range(3)]
        assert failures == ["KeyError", "KeyError", "No answer."]
        kept = list_recorded(database)["fails"]
        assert (kept.outcome, kept.failure, kept.succeeded_at) == ("failed", "KeyError", None)
        runner.run(job)
        runner.run(job)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("job failed", "error"),
        ("job done", "info"),
    ]
    kept = list_recorded(database)["fails"]
    assert (kept.outcome, kept.failure, kept.runs, kept.failures) == ("done", None, 4, 3)


def test_a_processor_that_is_away_is_a_warning_without_a_stack(database: Database) -> None:
    def work() -> int:
        raise PaymentsUnavailable("No answer.")

    with capture_logs() as logs:
        assert Runner(database).run(Job("asks", SECOND, MINUTE, work)).outcome == "failed"
    (line,) = logs
    assert (line["log_level"], line["reason"], "exc_info" in line) == ("warning", "No answer.", False)


def test_a_job_whose_database_is_away_fails_and_its_run_is_recorded_later(database: Database) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    runner = Runner(away)
    with capture_logs() as logs:
        ran = runner.run(Job("beats", SECOND, MINUTE, partial(_beat, away)))
    assert ran.outcome == "failed"
    assert [line["log_level"] for line in logs] == ["warning", "warning"]
    runner._database = database
    runner.run(Job("beats", SECOND, MINUTE, lambda: 1))
    assert (list_recorded(database)["beats"].runs, list_recorded(database)["beats"].failures) == (2, 1)
