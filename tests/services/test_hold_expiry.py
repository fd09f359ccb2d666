"""Expired holds closed behind the request path: all of them, a chunk at a time, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from metering import clock
from metering.ledger.holds import HoldState
from metering.services.audit import check_books
from metering.services.authorizing import Void
from metering.services.hold_expiry import close_expired
from metering.storage.database import Database
from tests.services.desk import CENT, DOLLAR, Desk

OPEN = """
    INSERT INTO holds (account_id, id, state, authorized_usd, amount_usd, tokens, body_digest, created_at,
                       expires_at)
    SELECT %s, gen_random_uuid(), 'open', 0.01, 0.01, 0, '', now() - interval '1 hour',
           now() - interval '1 second' * n
      FROM generate_series(1, %s) AS n
"""
HELD = "UPDATE balances SET held_usd = held_usd + 0.01 * %s WHERE account_id = %s"
SHORT = timedelta(seconds=30)


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """The use case over a fresh database; time is put back, and the books keep their laws, at the end."""
    yield Desk(database)
    clock.run_ahead(timedelta(0))
    assert check_books(database) == []


def abandon(url: str, account_id: str, count: int) -> None:
    """Open holds that ended a while ago."""
    with psycopg.connect(url) as connection:
        connection.execute(OPEN, [account_id, count])
        connection.execute(HELD, [count, account_id])


def kept(url: str) -> dict[str, int]:
    """How many holds stand there in each state, and how much is held by the balances, in cents."""
    with psycopg.connect(url) as connection:
        states: dict[str, int] = dict(
            connection.execute("SELECT state, count(*) FROM holds GROUP BY state").fetchall()
        )
        row = connection.execute("SELECT sum(held_usd) * 100 FROM balances").fetchone()
    assert row is not None
    return {**states, "cents": int(row[0])}


def test_what_has_ended_is_closed_when_it_ended_and_what_has_not_stays_open(
    desk: Desk, database_url: str
) -> None:
    accounts = [desk.account() for _ in range(3)]
    ended = [
        desk.authorize(account_id, amount, lasts=SHORT) for account_id in accounts for amount in (CENT, 0)
    ]
    open_ones = [desk.authorize(account_id) for account_id in accounts[:2]]
    voided = desk.tell(Void(desk.authorize(accounts[0], lasts=SHORT).hold.id))
    assert close_expired(desk.database) == 0
    clock.run_ahead(SHORT)
    assert close_expired(desk.database) == 6
    assert close_expired(desk.database) == 0
    assert kept(database_url) == {"expired": 6, "open": 2, "voided": 1, "cents": 2}
    for one in ended:
        hold = desk.holds.get_hold(one.hold.id).hold
        assert (hold.state, hold.closed_at) == (HoldState.EXPIRED, one.hold.expires_at)
    for one in [*open_ones, voided]:
        assert desk.holds.get_hold(one.hold.id).hold == one.hold


def test_more_than_a_chunk_is_closed_chunk_by_chunk(desk: Desk, database_url: str) -> None:
    for count in (4, 5, 11):
        abandon(database_url, desk.account(), count)
    assert close_expired(desk.database, chunk=5) == 20
    assert kept(database_url) == {"expired": 20, "cents": 0}


def test_a_request_after_the_job_finds_nothing_left_to_close(desk: Desk, database_url: str) -> None:
    account_id = desk.account()
    abandon(database_url, account_id, 2_500)
    close_expired(desk.database)
    assert kept(database_url) == {"expired": 2_500, "cents": 0}
    assert desk.authorize(account_id, DOLLAR).balance.available_pico == 0


def test_jobs_and_requests_at_once_close_each_hold_once(desk: Desk, database_url: str) -> None:
    account_id = desk.account()
    abandon(database_url, account_id, 500)
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(close_expired, desk.database, chunk=20) for _ in range(3)]
        threads.submit(desk.authorize, account_id, lasts=SHORT).result()
        assert sum(job.result() for job in jobs) <= 500
    assert kept(database_url) == {"expired": 500, "open": 1, "cents": 1}
