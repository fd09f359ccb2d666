"""`up`, `serve`, `worker` and `migrate`: they start, say what is wrong, and stop when told to."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.cli.conftest import SECONDS, Run, Start, free_port

pytestmark = pytest.mark.xdist_group("cli")

LIVE = {"METERING_STRIPE_API_KEY": "sk_live_0123456789abcdef", "METERING_STRIPE_WEBHOOK_SECRET": "whsec_x"}


def until(found: Callable[[], Any], process: subprocess.Popen[str]) -> Any:  # noqa: ANN401
    """Wait for a truthy answer while the process lives."""
    deadline = time.monotonic() + SECONDS
    while not (answer := found()):
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return answer


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0


def up(start: Start, home: Path, port: int, **changes: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = start("up", METERING_PORT=str(port), **changes)
    until(lambda: is_up(f"http://127.0.0.1:{port}"), process)
    return process, json.loads((home / "demo.json").read_text())


def test_up_makes_everything_and_again_finds_it(
    start: Start, environment: Mapping[str, str], empty_database_url: str, tmp_path: Path
) -> None:
    home = Path(environment["METERING_HOME"])
    changes = {"METERING_DATABASE_URL": empty_database_url, "METERING_HOST": "0.0.0.0"}
    first, demo = up(start, home, free_port(), **changes)
    assert stat.S_IMODE((home / "demo.json").stat().st_mode) == 0o600
    assert demo["base_url"].startswith("http://127.0.0.1:")
    with httpx.Client(base_url=demo["base_url"], headers={"x-api-key": demo["api_key"]}) as client:
        account = client.get("/v1/account").json()
        assert account["id"] == demo["account_id"]
        assert account["balance"]["posted"] == 100
        answer = client.post(
            "/v1/usage/events",
            headers={"authorization": f"Bearer {demo['service_token']}", "x-api-key": ""},
            json={
                "id": "first",
                "account_id": demo["account_id"],
                "model": "qwen3-max",
                "usage": {"prompt_tokens": 1_000},
            },
        )
        assert answer.json()["results"][0]["status"] == "accepted"
    stop(first)
    output = (tmp_path / "output-0").read_text()
    for step in ("database", "schema", "price book", "demo account", "serving"):
        assert step in output
    second, again = up(start, home, free_port(), **changes)
    stop(second)
    assert {**again, "base_url": ""} == {**demo, "base_url": ""}


def test_serve_refuses_a_schema_that_is_not_at_head(run: Run, empty_database_url: str) -> None:
    answer = run("serve", METERING_DATABASE_URL=empty_database_url)
    assert answer.returncode == 1
    assert "run `metering migrate`" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_migrate_brings_the_schema_to_head(run: Run, empty_database_url: str) -> None:
    before = run("migrate", "--check", METERING_DATABASE_URL=empty_database_url)
    assert before.returncode == 1
    assert "metering migrate" in before.stderr
    done = run("migrate", METERING_DATABASE_URL=empty_database_url)
    assert done.returncode == 0, done.stderr
    assert "applied 0001" in done.stdout
    assert run("migrate", "--check", METERING_DATABASE_URL=empty_database_url).returncode == 0


def test_a_busy_port_is_named(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in ("serve", "up"):
            answer = run(command, METERING_PORT=str(port))
            assert answer.returncode == 1
            assert f"port {port} is in use" in answer.stderr
            assert "METERING_PORT" in answer.stderr


def test_a_busy_port_for_metrics_is_named(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = run("worker", "--metrics-port", str(port))
    assert answer.returncode == 1
    assert f"port {port} is in use" in answer.stderr
    assert "--metrics-port" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"METERING_PORT": "0"}, "METERING_PORT"),
        ({"METERING_PORT": "99999"}, "METERING_PORT"),
        ({"METERING_PORT": "http"}, "METERING_PORT"),
        ({"METERING_HOST": "192.0.2.1"}, "METERING_HOST"),
        ({"METERING_HOST": "no such host"}, "METERING_HOST"),
        ({"METERING_LOG_LEVEL": "loud"}, "METERING_LOG_LEVEL"),
        ({"METERING_PUBLIC_URL": "example.com"}, "METERING_PUBLIC_URL"),
        ({"METERING_STRIPE_API_KEY": "pk_test_x"}, "METERING_STRIPE_API_KEY"),
        ({"METERING_STRIPE_API_KEY": "sk_test_x"}, "METERING_STRIPE_WEBHOOK_SECRET"),
        ({**LIVE, "METERING_STRIPE_API_BASE": "http://127.0.0.1:1"}, "METERING_STRIPE_API_BASE"),
        ({**LIVE, "METERING_STRIPE_AUTOMATIC_TAX": "yes"}, "METERING_STRIPE_AUTOMATIC_TAX"),
        ({"METERING_DATABASE_URL": "mysql://x"}, "METERING_DATABASE_URL"),
        ({"METERING_PRICE_BOOK": "/nowhere"}, "/nowhere"),
        ({"METERING_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, "database"),
    ],
)
def test_a_wrong_setting_is_named(run: Run, changes: dict[str, str], named: str) -> None:
    answer = run("serve", **changes)
    assert answer.returncode == 1
    assert named in answer.stderr
    assert "Traceback" not in answer.stderr
    assert LIVE["METERING_STRIPE_API_KEY"] not in answer.stderr


def test_serve_writes_json_lines_and_stops_when_told(
    start: Start, environment: Mapping[str, str], tmp_path: Path
) -> None:
    process = start("serve")
    until(lambda: is_up(f"http://127.0.0.1:{environment['METERING_PORT']}"), process)
    stop(process)
    lines = [json.loads(line) for line in (tmp_path / "output-0").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["serving", "stopped"]


def test_the_worker_beats_checks_the_books_and_stops_when_told(
    start: Start, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO accounts (account_id, name, created_at) VALUES (gen_random_uuid(), 'x', now())"
        )
        connection.execute("INSERT INTO balances SELECT account_id, 1 FROM accounts")
    process = start("worker")
    output = tmp_path / "output-0"
    until(lambda: "books checked" in output.read_text() and "heartbeat" in output.read_text(), process)
    stop(process)
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    (breach,) = [line for line in lines if line["event"] == "a law of the books is broken"]
    assert breach["level"] == "error"
    assert breach["found"] == "1.000000000000"
    assert lines[-1]["event"] == "worker stopped"
