"""The trace of a transfer: its events, the lots that paid, the debts it left and those it cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import psycopg
import pytest

from metering.money import PICO_PER_USD as USD
from metering.services.audit import check_books
from metering.services.corrections import reverse_event
from metering.services.traces import Trace, trace_transfer
from metering.storage.database import Database
from tests.services.correcting import HOUR, Ledger


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """A new account of a small price book."""
    return Ledger(database)


def last(url: str, kind: str) -> str:
    """The newest transfer of a kind."""
    query = "SELECT id::text FROM transfers WHERE kind = %s ORDER BY sequence DESC LIMIT 1"
    with psycopg.connect(url) as connection:
        row: Sequence[str] | None = connection.execute(query, [kind]).fetchone()
    assert row is not None
    return row[0]


def paid(trace: Trace) -> dict[str, int]:
    return {payment.lot.id: payment.amount_pico // USD for payment in trace.payments}


def test_usage_is_traced_to_its_events_and_to_the_credit_that_paid(ledger: Ledger, database_url: str) -> None:
    first, second = ledger.grant("2", "one"), ledger.grant("5", "two")
    ledger.record({"id": "a"}, {"id": "b", "model": "dearer"}, {"id": "free", "model": "free"})
    trace = trace_transfer(ledger.database, last(database_url, "usage"))
    assert [(share.event_id, share.amount_pico, share.correction) for share in trace.events] == [
        ("a", USD, None),
        ("b", 2 * USD, None),
    ]
    assert paid(trace) == {first: 2, second: 1}
    assert (trace.owed_pico, trace.lot, trace.settled) == (0, None, [])
    assert trace.transfer.transfer.amount_pico == 3 * USD


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(days=1), timedelta(days=30), timedelta(days=80)])
def test_events_that_came_late_are_found_too(ledger: Ledger, database_url: str, ago: timedelta) -> None:
    ledger.record({"id": "late", "created_at": (HOUR - ago).isoformat()}, {"id": "in time"})
    trace = trace_transfer(ledger.database, last(database_url, "usage"))
    assert [share.event_id for share in trace.events] == ["late", "in time"]
    assert trace.owed_pico == 2 * USD


def test_a_correction_is_traced_to_its_event_and_to_the_credit_it_refills(
    ledger: Ledger, database_url: str
) -> None:
    lot = ledger.grant("5")
    ledger.record({"id": "a", "model": "dearer"})
    ledger.record({"id": "b", "supersedes": "a"})
    trace = trace_transfer(ledger.database, last(database_url, "amendment"))
    assert {(share.event_id, share.amount_pico // USD, share.correction) for share in trace.events} == {
        ("a", -2, "amendment"),
        ("b", 1, None),
    }
    assert paid(trace) == {lot: -1}
    reverse_event(ledger.database, ledger.account_id, "b", reason="a slip", actor="tests")
    trace = trace_transfer(ledger.database, last(database_url, "event_reversal"))
    assert [(share.event_id, share.correction) for share in trace.events] == [("b", "reversal")]
    assert paid(trace) == {lot: -1}
    assert check_books(ledger.database) == []


def test_a_cancelled_debt_is_traced_from_both_sides(ledger: Ledger, database_url: str) -> None:
    lot = ledger.grant("1")
    ledger.record({"id": "a", "model": "gone"})
    reverse_event(ledger.database, ledger.account_id, "a", reason="a slip", actor="tests")
    used, back = last(database_url, "usage"), last(database_url, "event_reversal")
    for transfer_id, paid_usd in ((used, 1), (back, -1)):
        trace = trace_transfer(ledger.database, transfer_id)
        assert [(one.transfer_id, one.settles_id, one.amount_pico) for one in trace.settled] == [
            (back, used, -3 * USD)
        ]
        assert paid(trace) == {lot: paid_usd}
        assert trace.owed_pico == 0


def test_credit_is_traced_to_what_it_paid_for(ledger: Ledger, database_url: str) -> None:
    lot = ledger.grant("10")
    ledger.record({"id": "a"})
    first = last(database_url, "usage")
    ledger.record({"id": "b", "model": "dearer"})
    trace = trace_transfer(ledger.database, lot)
    assert [(one.transfer_id, one.amount_pico // USD) for one in trace.paid_for] == [
        (last(database_url, "usage"), 2),
        (first, 1),
    ]
    assert trace.lot is not None
    assert trace.lot.rest_pico == 7 * USD
    assert (trace.payments, trace.events) == ([], [])
    assert trace.transfer.transfer.reason == "bank transfer"
