"""The job that checks the books: a line in the log and a figure in the metric for each breach."""

from __future__ import annotations

from threading import Event

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from metering.jobs.books import check
from metering.ledger.invariants import Law
from metering.services.accounts import create_account
from metering.storage.database import Database
from tests.services.auditing import cook


def figures() -> dict[str, float | None]:
    names = [law.name.lower() for law in Law]
    return {name: REGISTRY.get_sample_value("metering_ledger_breaches", {"law": name}) for name in names}


def test_each_breach_is_told_and_counted(database: Database, database_url: str) -> None:
    made = sorted(create_account(database, name).account.account_id for name in ("Ada", "Bob"))
    check(database, Event())
    assert set(figures().values()) == {0}
    cook(database_url, "UPDATE balances SET posted_usd = 1", "UPDATE balances SET held_usd = 2")
    with capture_logs() as logs:
        check(database, Event())
    assert figures() == {law.name.lower(): 2 if law in {Law.BALANCE, Law.HELD} else 0 for law in Law}
    *alarms, done = logs
    assert [(one["log_level"], one["law"], one["account_id"]) for one in alarms] == [
        ("error", law, account_id) for law in ("balance", "held") for account_id in made
    ]
    assert {one["event"] for one in alarms} == {"a law of the books is broken"}
    assert (alarms[0]["thing"], alarms[0]["expected"], alarms[0]["found"]) == (
        "balance",
        "0",
        "1.000000000000",
    )
    assert (done["event"], done["breaches"], done["accounts"]) == ("books checked", 4, 2)
    cook(database_url, "UPDATE balances SET posted_usd = 0, held_usd = 0")
    check(database, Event())
    assert set(figures().values()) == {0}


@pytest.mark.parametrize("is_stopping", [True, False])
def test_a_check_ends_early_when_the_worker_stops(database: Database, *, is_stopping: bool) -> None:
    stopping = Event()
    if is_stopping:
        stopping.set()
    with capture_logs() as logs:
        check(database, stopping)
    assert [one["event"] for one in logs] == [
        "check of the books stopped" if is_stopping else "books checked"
    ]
