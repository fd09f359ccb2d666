"""Transactions: an answer means that COMMIT succeeded."""

from __future__ import annotations

import threading
from decimal import Decimal

import psycopg
import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from metering.errors import MeteringError, Unavailable
from metering.storage.database import Database, driver, sqlstate
from metering.storage.tables import price_books

NOW = "2026-10-01T00:00:00Z"


def owner_runs(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def ledger(database_url: str) -> None:
    """A table whose constraint is looked at by COMMIT only."""
    owner_runs(
        database_url,
        "CREATE TABLE lines (n int, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED)",
        "GRANT SELECT, INSERT ON lines TO metering_service",
    )


def count(database: Database) -> int:
    with database.snapshot() as connection:
        return int(connection.execute(text("SELECT count(*) FROM lines")).scalar_one())


def test_a_constraint_that_commit_finds_broken_reaches_the_caller(database: Database, ledger: None) -> None:
    with pytest.raises(IntegrityError) as caught, database.transaction() as connection:
        connection.execute(text("INSERT INTO lines VALUES (1), (1)"))
    assert sqlstate(caught.value) == "23505"
    assert count(database) == 0


def test_a_failure_that_was_swallowed_is_not_a_success(database: Database, ledger: None) -> None:
    def swallow() -> None:
        with database.transaction() as connection:
            connection.execute(text("INSERT INTO lines VALUES (1)"))
            with pytest.raises(DBAPIError):
                connection.execute(text("SELECT 1 / 0"))

    with pytest.raises(MeteringError, match="rolled back"):
        swallow()
    assert count(database) == 0


def test_an_error_rolls_back_and_passes(database: Database, ledger: None) -> None:
    def fail() -> None:
        with database.transaction() as connection:
            connection.execute(text("INSERT INTO lines VALUES (1)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert count(database) == 0


def test_a_block_that_ends_is_committed(database: Database, ledger: None) -> None:
    with database.transaction() as connection:
        connection.execute(text("INSERT INTO lines VALUES (1)"))
        with driver(connection).cursor().copy("COPY lines FROM STDIN") as copy:
            copy.write_row([2])
    assert count(database) == 2


def test_a_commit_whose_connection_is_gone(database: Database, database_url: str, ledger: None) -> None:
    def lose() -> None:
        with database.transaction() as connection:
            connection.execute(text("INSERT INTO lines VALUES (1)"))
            backend = driver(connection).info.backend_pid
            owner_runs(database_url, f"SELECT pg_terminate_backend({backend}, 5000)")

    with pytest.raises(Unavailable):
        lose()
    assert count(database) == 0


def test_connections_that_died_idle_are_replaced_unnoticed(database: Database, database_url: str) -> None:
    barrier = threading.Barrier(3)

    def use() -> None:
        with database.transaction() as connection:
            connection.execute(text("SELECT 1"))
            barrier.wait()

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owner_runs(
        database_url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'metering'",
    )
    for _ in range(3):
        database.ping()


def test_a_deadlock_is_worth_another_try(database: Database, ledger: None) -> None:
    outcomes: list[object] = []
    barrier = threading.Barrier(2)

    def take(first: int, second: int) -> None:
        try:
            with database.transaction() as connection:
                connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": first})
                barrier.wait()
                connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": second})
            outcomes.append("done")
        except Unavailable:
            outcomes.append("again")

    threads = [threading.Thread(target=take, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["again", "done"]


def test_a_pool_that_stays_empty(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    database._engine.pool._timeout = 0.1  # type: ignore[attr-defined]
    with database.snapshot(), pytest.raises(Unavailable):
        database.ping()
    database.close()


def test_a_snapshot_sees_one_moment_and_writes_nothing(database: Database, ledger: None) -> None:
    with database.snapshot() as reader:
        assert reader.execute(text("SELECT count(*) FROM lines")).scalar_one() == 0
        with database.transaction() as writer:
            writer.execute(text("INSERT INTO lines VALUES (1)"))
        assert reader.execute(text("SELECT count(*) FROM lines")).scalar_one() == 0
    with pytest.raises(DBAPIError) as caught, database.snapshot() as reader:
        reader.execute(text("INSERT INTO lines VALUES (2)"))
    assert sqlstate(caught.value) == "25006"
    with database.transaction() as writer:
        writer.execute(text("INSERT INTO lines VALUES (3)"))


def test_decimals_in_documents_stay_as_they_were_spelt(database: Database) -> None:
    document = {"rate": Decimal("0.150"), "small": Decimal("0.000000000001"), "many": 10**30, "text": "é"}
    with database.transaction() as connection:
        connection.execute(insert(price_books).values(digest=b"d", documents=document, recorded_at=NOW))
    with database.snapshot() as connection:
        read = connection.execute(select(price_books.c.documents)).scalar_one()
        spelt = connection.execute(text("SELECT documents::text FROM price_books")).scalar_one()
    assert read == document
    assert str(read["rate"]) == "0.150"
    assert '"rate":0.150' in spelt
