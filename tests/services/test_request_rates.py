"""The limits of requests and tokens a minute, kept in the database, when clocks are put back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from metering import clock
from metering.errors import RateLimitExceeded
from metering.storage.database import Database
from tests.services.desk import Desk


@pytest.fixture
def desk(database: Database) -> Iterator[Desk]:
    """The use case over a fresh database; time is put back at the end."""
    yield Desk(database)
    clock.run_ahead(timedelta(0))


def test_a_clock_that_was_put_back_keeps_nobody_waiting_longer_than_told(desk: Desk) -> None:
    account_id = desk.account(requests=3)
    clock.run_ahead(timedelta(hours=1))
    for _ in range(3):
        desk.authorize(account_id)
    clock.run_ahead(timedelta(0))
    told = []
    for since in (0, 30):
        clock.run_ahead(timedelta(seconds=since))
        with pytest.raises(RateLimitExceeded) as refused:
            desk.authorize(account_id)
        told.append(since + refused.value.retry_after_seconds)
    assert told[0] - 1 <= told[1] <= told[0] <= 120
    clock.run_ahead(timedelta(seconds=told[0]))
    desk.authorize(account_id)
