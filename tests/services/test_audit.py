"""The auditor passes a ledger in which everything happened, and names what somebody changed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from metering import clock, ids
from metering.api.event_bodies import read_events
from metering.errors import AccountNotFound
from metering.ledger.invariants import Breach, Law
from metering.services.accounts import create_account
from metering.services.audit import check_books, count_rows, iter_checks
from metering.storage.audit import MAX_BREACHES
from metering.storage.database import Database
from metering.usage.event import UsageEvent
from tests.services.auditing import cook, lived_in
from tests.services.correcting import HOUR, Ledger

AGES_AGO = datetime(2020, 1, 1, tzinfo=UTC)
# The transfer that carried the cost of the event `beyond` alone, which came last.
LAST = "id = (SELECT transfer_id FROM usage_events WHERE id = 'beyond')"
SECOND_CHARGE = (
    """INSERT INTO transfers
       SELECT account_id, gen_random_uuid(), kind, from_account, to_account, amount_usd, reason, actor, NULL,
              recorded_at + interval '1 second', effective_at, transfer_count + 1, posted_usd - amount_usd, ''
         FROM transfers JOIN balances USING (account_id) WHERE """
    + LAST,
    "UPDATE transfers SET checksum = checksum() WHERE checksum = ''",
    """UPDATE balances SET posted_usd = balance_after_usd, transfer_count = sequence
         FROM (SELECT * FROM transfers ORDER BY sequence DESC LIMIT 1) AS last""",
)
COLUMNS = """account_id, created_at, recorded_at, source, model, status, usage, output_urls, body_digest,
    cost_usd, line_items, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, total_tokens,
    book_digest"""
COPIED_EVENT = (
    *SECOND_CHARGE,
    f"""INSERT INTO usage_events ({COLUMNS}, id, sequence, transfer_id)
        SELECT {COLUMNS}, 'copy', (SELECT max(sequence) + 1 FROM usage_events),
               (SELECT id FROM transfers ORDER BY sequence DESC LIMIT 1)
          FROM usage_events WHERE id = 'beyond'""",
    "UPDATE balances SET event_count = event_count + 1",
    """UPDATE usage_rollups AS r SET events = r.events + 1, cost_usd = r.cost_usd + e.cost_usd,
                                     input_tokens = r.input_tokens + e.input_tokens
         FROM usage_events AS e WHERE e.id = 'copy' AND r.model = e.model AND r.source = e.source""",
)
MONEY = {Law.BALANCE, Law.CHAIN, Law.CHECKSUM, Law.USAGE, Law.TRANSFER}
COOKED = {
    "a balance off by the last digit": (
        ("UPDATE balances SET posted_usd = posted_usd + 0.000000000001",),
        {Law.BALANCE},
    ),
    "a transfer's amount": ((f"UPDATE transfers SET amount_usd = amount_usd + 1 WHERE {LAST}",), MONEY),
    "a transfer's amount, and its checksum": (
        (
            f"UPDATE transfers SET amount_usd = amount_usd + 1 WHERE {LAST}",
            f"UPDATE transfers SET checksum = checksum() WHERE {LAST}",
        ),
        MONEY - {Law.CHECKSUM},
    ),
    "a transfer's account": (
        (f"UPDATE transfers SET to_account = 'revenue:gpu_cloud' WHERE {LAST}",),
        {Law.CHECKSUM, Law.USAGE, Law.TRANSFER},
    ),
    "a transfer's reason": (
        ("UPDATE transfers SET reason = 'another' WHERE kind = 'goodwill'",),
        {Law.CHECKSUM},
    ),
    "a transfer's time": (
        (f"UPDATE transfers SET effective_at = effective_at - interval '1 month' WHERE {LAST}",),
        {Law.CHECKSUM},
    ),
    "a transfer that was laid on lots": (
        ("UPDATE transfers SET amount_usd = amount_usd + 1 WHERE kind = 'goodwill'",),
        {Law.BALANCE, Law.CHAIN, Law.CHECKSUM, Law.GRANT, Law.LOTS},
    ),
    "a transfer taken away": ((f"DELETE FROM transfers WHERE {LAST}",), MONEY - {Law.CHECKSUM}),
    "an event charged twice": (SECOND_CHARGE, {Law.ONCE, Law.USAGE, Law.TRANSFER}),
    "an event copied under another id": (COPIED_EVENT, {Law.ONCE}),
    "an event charged beside the one that superseded it": (
        ("DELETE FROM corrections WHERE event_id = 'a'",),
        {Law.ONCE, Law.USAGE, Law.TRANSFER, Law.ROLLUP_COST, Law.ROLLUP_EVENTS},
    ),
    "a lot off by the last digit": (
        ("UPDATE lots SET rest_usd = rest_usd - 0.000000000001 WHERE kind = 'paid' AND rest_usd > 0",),
        {Law.LOTS},
    ),
    "a lot over-consumed": (
        (
            """INSERT INTO lot_movements
               SELECT account_id, movement_count + 1, lots.id, transfers.id, NULL, 0.5, recorded_at
                 FROM lot_positions JOIN lots USING (account_id)
                                    JOIN transfers USING (account_id, recorded_at)
                WHERE rest_usd > 1 LIMIT 1""",
            "UPDATE lot_positions SET movement_count = movement_count + 1",
            """UPDATE lots SET rest_usd = rest_usd - 0.5, used_usd = used_usd + 0.5
                WHERE id = (SELECT lot_id FROM lot_movements ORDER BY number DESC LIMIT 1)""",
        ),
        {Law.LOTS},
    ),
    "a movement of another number": (
        ("UPDATE lot_movements SET number = -number WHERE number = 1",),
        {Law.LOTS},
    ),
    "a debt that nobody has": (
        ("UPDATE receivables SET owed_usd = owed_usd + 1",),
        {Law.LOTS},
    ),
    "a rollup off by one event": (
        ("UPDATE usage_rollups SET events = events + 1 WHERE model = 'gone' OR model = 'steady'",),
        {Law.ROLLUP_EVENTS},
    ),
    "a rollup off by the last digit": (
        ("UPDATE usage_rollups SET cost_usd = cost_usd + 0.000000000001 WHERE source = 'gpu_cloud'",),
        {Law.ROLLUP_COST},
    ),
    "a rollup of nothing": (
        (
            """INSERT INTO usage_rollups
               SELECT account_id, hour, 'unheard-of', source, 1, 0, 0, 1, 0, 0, 0, 0
                 FROM usage_rollups LIMIT 1""",
        ),
        {Law.ROLLUP_COST, Law.ROLLUP_EVENTS},
    ),
    "an event taken away": (
        ("DELETE FROM usage_events WHERE id = 'free'",),
        {Law.SEQUENCE, Law.ROLLUP_EVENTS},
    ),
    "two events of one number": (
        (
            """UPDATE usage_events SET sequence = sequence + 1, created_at = created_at + interval '1 us'
                WHERE id = 'free'""",
        ),
        {Law.SEQUENCE},
    ),
    "an event of no number": (("UPDATE usage_events SET sequence = -1 WHERE id = 'free'",), {Law.SEQUENCE}),
    "an event without an account": (
        ("UPDATE usage_events SET account_id = gen_random_uuid() WHERE id = 'failed'",),
        {Law.SEQUENCE, Law.ROLLUP_EVENTS},
    ),
    "more held than is": (("UPDATE balances SET held_usd = held_usd + 0.000000000001",), {Law.HELD}),
    "a hold of more than was authorized": (
        (
            "UPDATE holds SET amount_usd = amount_usd + 1 WHERE state = 'open' AND amount_usd > 1",
            "UPDATE balances SET held_usd = held_usd + 1",
        ),
        {Law.HELD},
    ),
    "a hold captured by nothing": (
        ("UPDATE holds SET event_id = 'another' WHERE state = 'captured'",),
        {Law.HELD},
    ),
    "a grant of another amount": (
        ("UPDATE grants SET amount_usd = amount_usd + 1 WHERE kind = 'promotional'",),
        {Law.GRANT},
    ),
    "an adjustment without a transfer": (
        ("UPDATE adjustments SET transfer_id = gen_random_uuid() WHERE kind = 'goodwill'",),
        {Law.GRANT},
    ),
    "a reversal of half": (
        (
            """UPDATE transfers
                  SET reverses_id = (SELECT transfer_id FROM grants WHERE kind = 'promotional')
                WHERE kind = 'reversal' AND from_account = 'customer_credit'""",
            "UPDATE transfers SET checksum = checksum() WHERE kind = 'reversal'",
        ),
        {Law.MIRROR, Law.LOTS},
    ),
    "a correction of another difference": (
        ("UPDATE corrections SET delta_usd = delta_usd + 1 WHERE event_id = 'b'",),
        {Law.CORRECTION, Law.USAGE, Law.TRANSFER},
    ),
    "a reversal that leaves a cost": (
        ("UPDATE corrections SET kind = 'reversal' WHERE kind = 'rating' AND event_id = 'late'",),
        {Law.CORRECTION},
    ),
    "a correction after the last": (
        (
            """INSERT INTO corrections (account_id, event_id, number, kind, event_created_at, source, model,
                                        cost_usd, delta_usd, reason, actor, recorded_at)
               SELECT account_id, event_id, 2, kind, event_created_at, source, model, 0, 0, '', '',
                      recorded_at
                 FROM corrections WHERE event_id = 'wrong'""",
        ),
        {Law.CORRECTION},
    ),
    "an event's usage": (
        ("""UPDATE usage_events SET usage = '{"prompt_tokens": -1}' WHERE id = 'b'""",),
        {Law.RATING},
    ),
    "an event's line items": (
        ("UPDATE usage_events SET line_items = replace(line_items::text, '2', '2.0')::json WHERE id = 'b'",),
        {Law.RATING},
    ),
    "an event's tier": (
        ("UPDATE usage_events SET pricing_tier_label = 'cheap' WHERE id = 'b'",),
        {Law.RATING},
    ),
    "why an event has no price": (
        ("""UPDATE usage_events SET unpriced = '{"meter": null, "reason": "x"}' WHERE id = 'never'""",),
        {Law.RATING},
    ),
    "a correction's line items": (
        ("UPDATE corrections SET line_items = NULL WHERE kind = 'rerating'",),
        {Law.RATING},
    ),
    "a correction by no book": (
        ("UPDATE corrections SET book_digest = NULL WHERE kind = 'rating'",),
        {Law.RATING},
    ),
    "a price in a kept book": (
        ("""UPDATE price_books SET documents = replace(documents::text, '"3"', '"4"')::json""",),
        {Law.BOOK},
    ),
    "a kept book taken away": (("DELETE FROM price_books",), {Law.BOOK}),
    "a kept book that can't be compiled": (
        ("""UPDATE price_books SET documents = '{"book.yml": 1.5}'""",),
        {Law.BOOK},
    ),
}


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
    assert states == {"open", "captured", "voided"}


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
    made = [create_account(database, f"n{number}").account.account_id for number in range(6)]
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
    assert (rest[-1].account_id, rest[-1].rows) == (made[-1], 2)


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


def test_one_body_from_two_sources_is_two_events(database: Database) -> None:
    ledger = Ledger(database)
    cloud = {"specversion": "1.0", "type": "t", "id": "one", "data": {"model": "steady", "usage": {}}}
    cloud |= {"subject": ledger.account_id, "time": HOUR.isoformat()}
    body = json.dumps([{**cloud, "source": source} for source in ("here", "there")]).encode()
    received = read_events(body, "application/cloudevents-batch+json", {}, clock.now())
    events = [one.event for one in received if isinstance(one.event, UsageEvent)]
    assert len({event.id for event in events}) == 2
    assert len({event.body_digest for event in events}) == 1
    ledger.ingest.record([ledger.ingest.prepare(event, clock.now()) for event in events])
    assert check_books(database) == []
