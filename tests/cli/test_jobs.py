"""`metering jobs`: what the workers do, and one of it by hand."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pytest

from tests.cli.conftest import SECONDS, Run, Start

pytestmark = pytest.mark.xdist_group("cli")
BOOKS = {"check", "heartbeat", "holds", "lots", "ratings"}


def listed(run: Run) -> dict[str, dict[str, Any]]:
    answer = run("jobs", "list", "--json")
    assert answer.returncode == 0, answer.stderr
    return {row["job"]: row for row in map(json.loads, answer.stdout.splitlines())}


def until(run: Run, found: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
    deadline = time.monotonic() + SECONDS
    while not found(jobs := listed(run)):
        assert time.monotonic() < deadline, jobs
        time.sleep(0.2)
    return jobs


def stop(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    assert process.wait(SECONDS) == (0 if number is signal.SIGTERM else -number)


def test_a_job_is_run_by_hand_and_listed(run: Run) -> None:
    before = listed(run)
    assert before.keys() >= BOOKS
    assert {(row["runs"], row["started_at"], row["worker"]) for row in before.values()} == {(0, None, None)}
    answer = run("jobs", "run", "check")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("check: 0 done in ")
    after = listed(run)["check"]
    assert (after["runs"], after["outcome"], after["failure"], after["is_running"]) == (
        1,
        "done",
        None,
        False,
    )
    table = run("jobs", "list").stdout
    assert "no worker" in table
    assert all(name in table for name in BOOKS)


def test_a_job_that_fails_by_hand_ends_with_1_and_says_why(run: Run, tmp_path: Any) -> None:  # noqa: ANN401
    answer = run("jobs", "run", "ratings", METERING_PRICE_BOOK=str(tmp_path / "none"))
    assert answer.returncode == 1
    assert "ratings failed after" in answer.stderr
    assert listed(run)["ratings"]["failures"] == 1
    assert "failed:" in run("jobs", "list").stdout


def test_a_job_that_does_not_exist_is_named_with_those_that_do(run: Run) -> None:
    answer = run("jobs", "run", "lotz")
    assert answer.returncode == 1
    assert "lotz" in answer.stderr
    assert "lots" in answer.stderr


@pytest.mark.slow
def test_a_second_worker_takes_over_from_one_that_stops_and_from_one_that_is_killed(
    run: Run, start: Start, environment: Mapping[str, str]
) -> None:
    first = start("worker")
    jobs = until(run, lambda jobs: all(row["outcome"] == "done" for row in jobs.values()))
    (of_first,) = {row["worker"] for row in jobs.values()}
    assert f":{first.pid}:" in of_first
    assert all(row["next_at"] for row in jobs.values())
    second = start("worker")
    time.sleep(3)
    assert {row["worker"] for row in listed(run).values()} == {of_first}
    stop(first, signal.SIGTERM)
    until(run, lambda jobs: all(f":{second.pid}:" in (row["worker"] or "") for row in jobs.values()))
    third = start("worker")
    time.sleep(3)
    stop(second, signal.SIGKILL)
    begun = time.monotonic()
    until(run, lambda jobs: all(f":{third.pid}:" in (row["worker"] or "") for row in jobs.values()))
    assert time.monotonic() - begun < 20
    stop(third, signal.SIGTERM)
    with psycopg.connect(environment["METERING_DATABASE_URL"]) as connection:
        assert connection.execute("SELECT sum(failures), count(leased_by) FROM jobs").fetchone() == (0, 0)
