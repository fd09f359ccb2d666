"""The auditor passes a ledger in which everything happened, and names what somebody changed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from metering import clock, ids
from metering.api.event_bodies import read_events
from metering.errors import AccountNotFound
from metering.ledger.invariants import Breach, Law
from metering.services.accounts import create_account
from metering.services.api_keys import create_api_key
from metering.services.audit import Looked, check_books, count_rows, iter_checks
from metering.services.corrections import reverse_event
from metering.services.lots import expire_due
from metering.storage.audit import MAX_BREACHES
from metering.storage.database import Database
from metering.usage.event import UsageEvent
from tests.services.auditing import cook, lived_in
from tests.services.cooked_books import COOKED, FINE, LAST
from tests.services.correcting import HOUR, Ledger

AGES_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    """An account that has seen everything."""
    yield lived_in(database)
    clock.run_ahead(timedelta(0))


def laws(breaches: list[Breach]) -> set[Law]:
    return {breach.law for breach in breaches}


def test_a_ledger_that_has_seen_everything_keeps_every_law(
    database: Database, ledger: Ledger, database_url: str
) -> None:
    assert check_books(database) == []
    assert check_books(database, account_id=ledger.account_id) == []
    with psycopg.connect(database_url) as connection:
        moments = [row[0] for row in connection.execute("SELECT DISTINCT recorded_at FROM transfers")]
        kinds = {row[0] for row in connection.execute("SELECT kind FROM transfers")}
        corrected = {row[0] for row in connection.execute("SELECT kind FROM corrections")}
        states = {row[0] for row in connection.execute("SELECT state FROM holds")}
    for moment in moments:
        for since in (moment, moment + timedelta(microseconds=1)):
            assert check_books(database, since=since) == [], since
    assert kinds == {
        "usage", "amendment", "rating", "rerating", "event_reversal", "reversal", "grant", "adjustment",
        "goodwill", "expiry",
    }  # fmt: skip
    assert corrected == {"rating", "rerating", "amendment", "reversal"}
    assert states == {"open", "captured", "voided", "expired"}


@pytest.mark.parametrize("what", COOKED)
def test_what_was_changed_by_hand_is_found(
    database: Database, database_url: str, ledger: Ledger, what: str
) -> None:
    statements, broken = COOKED[what]
    cook(database_url, *statements)
    breaches = check_books(database)
    assert laws(breaches) == broken
    since = laws(check_books(database, since=AGES_AGO))
    # From a time on, what the chain had reached is the balance, also where a link of it is broken.
    assert since | {Law.BALANCE} == broken | {Law.BALANCE}
    assert since <= broken
    assert Law.BALANCE in since or Law.BALANCE not in broken or Law.CHAIN in since
    if what != "an event without an account":
        assert {breach.account_id for breach in breaches} <= {ledger.account_id, None}
    for breach in breaches:
        assert breach.thing
        assert breach.expected != breach.found


@pytest.mark.parametrize("what", FINE)
def test_what_may_differ_is_no_breach(
    database: Database, database_url: str, ledger: Ledger, what: str
) -> None:
    cook(database_url, FINE[what])
    assert check_books(database, account_id=ledger.account_id) == []


def test_what_a_key_spent_is_looked_at_on_the_days_whose_events_changed_since(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    keys = [create_api_key(database, ledger.account_id, prefix="sk-test-")[0].id for _ in range(2)]
    ledger.record(*({"id": key, "api_key_id": key} for key in keys))
    day, begun = timedelta(days=1), clock.now()
    clock.run_ahead(3 * day)
    expire_due(database)
    reverse_event(database, ledger.account_id, keys[0], reason="a slip", actor="finance")
    assert check_books(database) == []
    cook(database_url, "UPDATE api_key_spend SET spent_usd = spent_usd + 1")
    found = {breach.thing.split()[1] for breach in check_books(database, since=begun + day)}
    assert found == {keys[0]}
    assert set(keys) < {breach.thing.split()[1] for breach in check_books(database)}
    assert check_books(database, since=begun + 4 * day) == []


def test_from_a_time_on_only_what_was_recorded_since_is_looked_at(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(f"SELECT recorded_at FROM transfers WHERE {LAST}".encode()).fetchone()
    assert row is not None
    (last,) = row
    cook(
        database_url,
        "UPDATE transfers SET reason = 'another' WHERE kind = 'goodwill'",
        "UPDATE usage_events SET line_items = '[]' WHERE id = 'b'",
        "UPDATE usage_rollups SET events = events + 1 WHERE source = 'gpu_cloud'",
        "UPDATE grants SET amount_usd = amount_usd + 1",
    )
    old = {Law.CHECKSUM, Law.RATING, Law.ROLLUP_EVENTS, Law.GRANT}
    assert laws(check_books(database, since=AGES_AGO)) == old
    assert check_books(database, since=last) == []
    cook(
        database_url,
        f"UPDATE transfers SET reason = 'another' WHERE {LAST}",
        "UPDATE usage_events SET line_items = '[]' WHERE id = 'beyond'",
        "UPDATE balances SET posted_usd = posted_usd + 1",
    )
    assert laws(check_books(database, since=last)) == {Law.CHECKSUM, Law.RATING, Law.BALANCE}
    after = last + timedelta(microseconds=1)
    assert laws(check_books(database, since=after)) == {Law.BALANCE}


def test_one_account_is_looked_at_alone(database: Database, database_url: str) -> None:
    first, second = (create_account(database, name).account.account_id for name in ("Ada", "Bob"))
    cook(database_url, f"UPDATE balances SET posted_usd = 1 WHERE account_id = '{second}'")
    assert check_books(database, account_id=first) == []
    (breach,) = check_books(database, account_id=second)
    assert breach == Breach(Law.BALANCE, second, "balance", "0", "1.000000000000")
    with pytest.raises(AccountNotFound):
        check_books(database, account_id=ids.new_id())


def test_a_check_can_go_on_where_another_stopped(database: Database, database_url: str) -> None:
    made = sorted(create_account(database, f"n{number}").account.account_id for number in range(6))
    cook(database_url, "UPDATE balances SET posted_usd = 1")
    assert [breach.account_id for breach in check_books(database)] == made
    found, reached = [], None
    for checked in iter_checks(database, part_rows=2):
        found += [breach.account_id for breach in checked.breaches]
        reached = checked.account_id
        if reached == made[3]:
            break
    assert found == made[:4]
    assert count_rows(database, after=reached) == 2
    rest = list(iter_checks(database, after=reached))
    assert [breach.account_id for checked in rest for breach in checked.breaches] == made[4:]
    assert (rest[-1].account_id, rest[-1].rows, rest[-1].looked) == (made[-1], 2, (2, 0, 0))


def test_what_was_looked_at_is_counted_from_the_time_on(database: Database, database_url: str) -> None:
    ledger = Ledger(database)
    ledger.grant("10")
    ledger.record({"id": "a"}, {"id": "b"})
    since = clock.now()
    ledger.record({"id": "c"})
    create_account(database, "Bob")
    cook(database_url, "UPDATE balances SET event_count = 99, transfer_count = 99")

    def looked(**narrowed: Any) -> Looked:  # noqa: ANN401  (as iter_checks has them)
        return list(iter_checks(database, **narrowed))[-1].looked

    assert looked() == looked(part_rows=1, page_events=1) == (2, 3, 3)
    assert looked(since=since) == (2, 1, 1)
    assert looked(since=clock.now()) == (2, 0, 0)
    assert looked(account_id=ledger.account_id) == (1, 3, 3)


def test_small_parts_find_what_one_large_one_finds(
    database: Database, database_url: str, ledger: Ledger
) -> None:
    Ledger(database).record({"id": "a"}, {"id": "b"})
    cook(
        database_url,
        "UPDATE usage_events SET line_items = '[]'",
        "UPDATE corrections SET line_items = '[]'",
        "UPDATE balances SET held_usd = held_usd + 1",
    )
    whole = check_books(database)
    parts = list(iter_checks(database, part_rows=1, page_events=1))
    assert sorted(breach for one in parts for breach in one.breaches) == sorted(whole)
    assert len({breach.thing for breach in whole if breach.law is Law.RATING}) > 20
    rows = [one.rows for one in parts]
    assert rows == sorted(rows)
    assert rows[-1] == count_rows(database)


def test_of_breaches_without_end_the_first_are_told(database: Database, database_url: str) -> None:
    ledger = Ledger(database)
    ledger.record(*({"id": f"e{number}"} for number in range(MAX_BREACHES + 1)))
    cook(database_url, "UPDATE usage_events SET line_items = '[]'")
    assert len(check_books(database)) == MAX_BREACHES


@pytest.mark.parametrize("event_id", ["one", "a#b", "a#"])
def test_one_body_from_two_sources_and_from_none_is_three_events(
    database: Database, database_url: str, event_id: str
) -> None:
    ledger = Ledger(database)
    data = {"account_id": ledger.account_id, "model": "steady", "usage": {}, "created_at": HOUR.isoformat()}
    cloud = {"specversion": "1.0", "type": "t", "id": event_id, "data": data}
    body = json.dumps([{**cloud, "source": source} for source in ("here", "there#1")]).encode()
    received = read_events(body, "application/cloudevents-batch+json", {}, clock.now())
    received += read_events(
        json.dumps({**data, "id": event_id}).encode(), "application/json", {}, clock.now()
    )
    events = [one.event for one in received if isinstance(one.event, UsageEvent)]
    assert len({event.id for event in events}) == 3
    assert len({event.body_digest for event in events}) == 1
    ledger.ingest.record([ledger.ingest.prepare(event, clock.now()) for event in events])
    assert check_books(database) == []
    for there, copy in ((f"there%231#{event_id}", "there"), (event_id, f"{event_id}#c")):
        cook(database_url, f"UPDATE usage_events SET id = '{copy}' WHERE id = '{there}'")
        (breach,) = [one for one in check_books(database) if one.law is Law.ONCE]
        assert (breach.expected, breach.found) == ("1 event", "3 events")
        cook(database_url, f"UPDATE usage_events SET id = '{there}' WHERE id = '{copy}'")
