"""A COMMIT that fails is a 5xx in our envelope, never a 2xx, and leaves nothing behind."""

from __future__ import annotations

import time

import psycopg
import pytest

from tests.conftest import run_sql
from tests.crash.locking import locked, wait_until_blocked
from tests.crash.service import Crowd, Line, Service
from tests.crash.traffic import World, check_money, new_event, read_events

INTERNAL_ERROR = {
    "error": {
        "message": "Something went wrong on our side.",
        "type": "api_error",
        "code": "internal_error",
        "param": "",
    }
}


def refuse_at_commit(url: str, table: str, column: str, *allowed: str) -> None:
    """Let only these values of the column be committed; the INSERT of another still succeeds."""
    run_sql(url, f"CREATE TABLE allowed_{table} (value text PRIMARY KEY)")
    for value in allowed:
        run_sql(url, f"INSERT INTO allowed_{table} VALUES ('{value}')")
    run_sql(
        url,
        f"ALTER TABLE {table} ADD FOREIGN KEY ({column}) REFERENCES allowed_{table} "
        "DEFERRABLE INITIALLY DEFERRED NOT VALID",
    )


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_a_batch_whose_commit_fails_is_answered_500_and_not_recorded(
    service: Service, world: World, database_url: str
) -> None:
    refuse_at_commit(database_url, "usage_events", "model", "qwen3-max")
    account = world.accounts[0]
    batch = [new_event("good", account), new_event("bad", account, "deepseek-v4-pro")]
    with Line(service.port, world.token) as line:
        answer = line.post("/v1/usage/events", batch)
        assert (answer.status, answer.body) == (500, INTERNAL_ERROR)
        assert read_events(database_url) == {}
        check_money(database_url, world)
        # Its events are still unknown, so that the good one can be sent again.
        (result,) = line.post("/v1/usage/events", batch[:1]).body["results"]
        assert result["status"] == "accepted"
    check_money(database_url, world)


def test_the_other_batches_of_its_group_are_recorded(
    service: Service, world: World, database_url: str
) -> None:
    refuse_at_commit(database_url, "usage_events", "model", "qwen3-max")
    crowd = Crowd()
    statuses: dict[str, int] = {}

    def send(name: str, model: str) -> None:
        with Line(service.port, world.token) as line:
            answer = line.post("/v1/usage/events", [new_event(name, world.accounts[0], model)])
        statuses[name] = answer.status
        assert answer.status == 500 or answer.body["results"][0]["status"] == "accepted"

    with locked(database_url, world.accounts[0]):
        crowd.add(send, "first", "qwen3-max")
        wait_until_blocked(database_url)
        # While the first waits for the account, these gather into one group.
        for number in range(6):
            crowd.add(send, f"good-{number}", "qwen3-max")
        crowd.add(send, "bad", "deepseek-v4-pro")
        time.sleep(0.5)
    crowd.join()
    assert statuses.pop("bad") == 500
    assert set(statuses.values()) == {200}
    assert {event_id for _, event_id in read_events(database_url)} == statuses.keys()
    check_money(database_url, world)


@pytest.mark.parametrize(
    ("table", "column", "path", "body"),
    [
        ("accounts", "name", "/v1/accounts", {"name": "Ada"}),
        ("api_keys", "prefix", "/v1/accounts/{account}/keys", {}),
        (
            "transfers",
            "reason",
            "/v1/accounts/{account}/grants",
            {"amount_usd": "5", "kind": "paid", "reason": "an invoice", "idempotency_key": "k"},
        ),
    ],
)
def test_it_is_the_same_wherever_something_is_recorded(
    service: Service, world: World, database_url: str, table: str, column: str, path: str, body: object
) -> None:
    before = count(database_url, table)
    refuse_at_commit(database_url, table, column)
    with Line(service.port, world.token) as line:
        answer = line.post(path.format(account=world.accounts[0]), body)
    assert (answer.status, answer.body) == (500, INTERNAL_ERROR)
    assert count(database_url, table) == before
    check_money(database_url, world)


def test_a_connection_lost_before_commit_is_503_and_can_be_sent_again(
    service: Service, world: World, database_url: str
) -> None:
    crowd, batch = Crowd(), [new_event("once", world.accounts[0])]
    answers = []

    def send() -> None:
        with Line(service.port, world.token) as line:
            answers.append(line.post("/v1/usage/events", batch))
            answers.append(line.post("/v1/usage/events", batch))

    with locked(database_url, world.accounts[0]):
        crowd.add(send)
        wait_until_blocked(database_url)
        run_sql(
            database_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        time.sleep(0.3)
    crowd.join()
    assert [answer.status for answer in answers] == [503, 200]
    assert answers[0].body["error"]["code"] == "service_unavailable"
    assert int(answers[0].headers["retry-after"]) > 0
    assert answers[1].body["results"][0]["status"] == "accepted"
    check_money(database_url, world)
