"""A machine whose clock is ahead harms no account but those it touched, and no longer than it must."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from metering import clock
from metering.ledger.holds import HoldState
from metering.money import to_pico
from metering.services.accounts import get_account
from metering.services.audit import check_books
from metering.services.grants import Wanted, grant_credit
from metering.services.lots import expire_due
from metering.storage.database import Database
from tests.services.correcting import Ledger
from tests.services.desk import CENT, Desk, authorize

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _clock_goes_right() -> Iterator[None]:
    yield
    clock.run_ahead(timedelta(0))


def moved_at(url: str) -> dict[str, datetime]:
    with psycopg.connect(url) as connection:
        query = "SELECT account_id::text, updated_at FROM balances WHERE updated_at IS NOT NULL"
        return dict(connection.execute(query).fetchall())


def test_one_accounts_late_time_is_no_others(database: Database, database_url: str) -> None:
    desk, ledger = Desk(database), Ledger(database)
    touched, others = desk.account("100"), [desk.account("100") for _ in range(2)]
    held = desk.authorize(others[0], CENT)
    clock.run_ahead(HOUR)
    ledger.record({"id": "early", "account_id": touched})
    clock.run_ahead(timedelta(0))
    ledger.record(*[{"id": "together", "account_id": one} for one in [touched, *others]])
    desk.holds.apply([authorize(one) for one in [touched, *others]])
    moved = moved_at(database_url)
    assert moved[touched] > datetime.now(UTC) + HOUR / 2
    assert all(moved[one] < datetime.now(UTC) for one in others)
    assert desk.holds.get_hold(held.hold.id).hold.state is HoldState.OPEN
    assert check_books(database) == []


def test_no_credit_ends_early_for_a_late_time_elsewhere(database: Database) -> None:
    desk, ledger = Desk(database), Ledger(database)
    touched, other = desk.account("100"), desk.account("0")
    soon = Wanted("promotional", to_pico(50), "try it", "f", expires_at=clock.now() + HOUR / 2)
    grant_credit(database, other, soon, "promotion")
    clock.run_ahead(HOUR)
    ledger.record({"id": "early", "account_id": touched})
    clock.run_ahead(timedelta(0))
    desk.holds.apply([authorize(touched), authorize(other)])
    ledger.record({"id": "a", "account_id": touched}, {"id": "b", "account_id": other, "model": "free"})
    expire_due(database)
    assert get_account(database, other).balance.posted_pico == to_pico(50)


def test_an_accounts_transfers_stay_in_order_when_the_clock_goes_back(database: Database) -> None:
    ledger = Ledger(database)
    ledger.grant("100")
    for ahead in (HOUR, timedelta(0), HOUR / 2):
        clock.run_ahead(ahead)
        ledger.record({"id": f"at {ahead}"})
    assert check_books(database) == []
