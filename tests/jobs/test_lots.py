"""The job that keeps lots up to date: nobody waits for them after it, and what has ended is breakage."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from metering import clock
from metering.jobs.lots import settle_lots
from metering.money import PICO_PER_USD
from metering.services.accounts import create_account
from metering.services.audit import check_books
from metering.services.grants import Wanted, grant_credit
from metering.services.lots import allocate
from metering.storage.database import Database


@pytest.fixture(autouse=True)
def true_clock() -> Iterator[None]:
    """The clock as it is, after a test has moved it."""
    yield
    clock.run_ahead(timedelta(0))


def test_lots_of_all_accounts_are_settled(database: Database, database_url: str) -> None:
    ends_at = clock.now() + timedelta(hours=1)
    accounts = [create_account(database, f"n{n}").account.account_id for n in range(3)]
    for account_id in accounts:
        wanted = Wanted("promotional", PICO_PER_USD, "a test", "tests", expires_at=ends_at)
        grant_credit(database, account_id, wanted, "k")
    settle_lots(database)
    assert [allocate(database, account_id) for account_id in accounts] == [0, 0, 0]
    clock.run_ahead(timedelta(hours=2))
    settle_lots(database)
    settle_lots(database)
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM transfers WHERE kind = 'expiry'), sum(posted_usd) FROM balances"
        ).fetchone()
    assert found == (3, 0)
    assert check_books(database) == []
