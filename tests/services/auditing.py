"""A ledger in which everything has happened once, and the hand that cooks it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import psycopg

from metering import clock, ids
from metering.money import PICO_PER_USD, to_pico
from metering.rating.engine import Rater
from metering.services.api_keys import create_api_key
from metering.services.authorizing import Authorize, Command, Extend, Void
from metering.services.corrections import (
    WantedAdjustment,
    adjust_credit,
    reverse_event,
    reverse_transfer,
)
from metering.services.grants import Wanted, grant_credit
from metering.services.holds import Holds
from metering.services.lots import allocate, expire_due
from metering.services.rerating import Window, post_rerating, rate_unpriced
from metering.storage.database import Database
from metering.storage.transfers import CHECKSUM
from tests.services.correcting import HOUR, NEW, OLD, Ledger

WHY: Final[dict[str, Any]] = {"reason": "a slip", "actor": "finance"}
LATER: Final = Rater(NEW)
EARLIER: Final = HOUR - timedelta(hours=2)
_HALF: Final = timedelta(minutes=30)


def lived_in(database: Database) -> Ledger:
    """An account that has seen every verb; the clock is an hour ahead afterwards."""
    ledger = Ledger(database)
    account_id = ledger.account_id
    key, other = (create_api_key(database, account_id, prefix="sk-test-")[0].id for _ in range(2))
    soon = Wanted("promotional", 50 * PICO_PER_USD, "welcome", "finance", expires_at=clock.now() + _HALF)
    last = Wanted("paid", 5 * PICO_PER_USD, "top-up", "finance", 200, clock.now() + 20 * _HALF)
    ledger.record({"id": "owed"})
    grant_credit(database, account_id, soon, "promotion")
    taken_back = ledger.grant("20", "by mistake")
    ledger.grant("100")
    grant_credit(database, account_id, last, "top-up")
    ledger.record(
        {"id": "a", "api_key_id": key},
        {"id": "b", "model": "dearer", "api_key_id": key},
        {"id": "gpu", "source": "gpu_cloud", "model": "cheaper", "created_at": EARLIER.isoformat()},
        {"id": "free", "model": "free"},
        {"id": "failed", "status": "error"},
        {"id": "late", "model": "late", "api_key_id": other},
        {"id": "never", "model": "never", "api_key_id": other},
    )
    missed = _hold(database, ledger, key)
    ledger.record({"id": "a2", "model": "dearer", "supersedes": "a", "api_key_id": other})
    ledger.record({"id": "same"}, {"id": "same2", "supersedes": "same"})
    ledger.record({"id": "moved"}, {"id": "moved2", "supersedes": "moved", "source": "hosted_agents"})
    ledger.record({"id": "never2", "model": "never", "supersedes": "never"})
    ledger.record({"id": "wrong"})
    reverse_event(database, account_id, "wrong", **WHY)
    reversed_key = create_api_key(database, account_id, prefix="sk-test-")[0].id
    ledger.record({"id": "batch1", "api_key_id": reversed_key}, {"id": "batch2"})
    reverse_transfer(database, account_id, _transfer_of(database, "batch1"), **WHY)
    reverse_transfer(database, account_id, taken_back, **WHY)
    for kind, dollars in (("adjustment", "2"), ("adjustment", "-1.5"), ("goodwill", "0.000000000001")):
        wanted = WantedAdjustment(kind, to_pico(dollars), "so be it", "finance")  # type: ignore[arg-type]
        adjust_credit(database, account_id, wanted, f"{kind} {dollars}")
    rate_unpriced(database, LATER, actor="a test")
    window = Window(HOUR - timedelta(days=1), HOUR + timedelta(days=1))
    post_rerating(database, LATER, window, **WHY)
    allocate(database, account_id, chunk=3)
    clock.run_ahead(2 * _HALF)
    expire_due(database)
    ledger.record({"id": "too late", "hold_id": missed})
    ledger.record({"id": "beyond", "model": "dearer"})
    return ledger


def _hold(database: Database, ledger: Ledger, key: str) -> str:
    """A hold for each of its ends, and three left open, two of which time will end: the last one's id."""
    holds = Holds(database, Rater(OLD))
    kept, extended, captured, unpriced, voided, forgotten, missed = (ids.new_id() for _ in range(7))
    commands: list[Command] = [
        Authorize(hold_id, ledger.account_id, None, key, PICO_PER_USD, None, 7, lasts, None, hold_id.encode())
        for hold_id, lasts in (
            (kept, 10 * _HALF),
            (extended, 10 * _HALF),
            (captured, _HALF),
            (unpriced, _HALF),
            (voided, _HALF),
            (forgotten, _HALF / 30),
            (missed, _HALF),
        )
    ]
    holds.apply([*commands, Extend(ids.new_id(), extended, to_pico("0.25"), None, None, b""), Void(voided)])
    ledger.record({"id": "captures", "hold_id": captured})
    ledger.record({"id": "captures too", "hold_id": unpriced, "model": "never"})
    return missed


def _transfer_of(database: Database, event_id: str) -> str:
    with database.snapshot() as connection:
        row = connection.exec_driver_sql(
            "SELECT transfer_id::text FROM usage_events WHERE id = %s", (event_id,)
        ).one()
    return str(row[0])


def cook(url: str, *statements: str) -> None:
    """Change the books by hand, as their owner: `checksum()` in a statement is a transfer's."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            assert connection.execute(statement.replace("checksum()", CHECKSUM).encode()).rowcount, statement
