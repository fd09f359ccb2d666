"""The auditor passes the books of top-ups, refunds and disputes, and names what somebody changed by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from metering.ledger.invariants import Law
from metering.services.accounts import create_account
from metering.services.audit import check_books
from metering.storage.database import Database
from tests.services.auditing import cook
from tests.services.cooked_top_ups import COOKED, FINE, paid_in
from tests.services.money_in import MoneyIn

AGES_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def money(database: Database) -> MoneyIn:
    """An account whose top-ups have seen everything, beside one that has seen a payment."""
    MoneyIn(database, create_account(database, "Bob").account.account_id).top_up("20", fee="1")
    return paid_in(database)


def test_books_of_top_ups_that_have_seen_everything_keep_every_law(
    database: Database, database_url: str, money: MoneyIn
) -> None:
    assert check_books(database) == []
    assert check_books(database, account_id=money.account_id) == []
    with psycopg.connect(database_url) as connection:
        moments = [row[0] for row in connection.execute("SELECT DISTINCT recorded_at FROM transfers")]
        kinds = {row[0] for row in connection.execute("SELECT kind FROM transfers")}
    for moment in moments:
        for since in (moment, moment + timedelta(microseconds=1)):
            assert check_books(database, since=since) == [], since
    assert kinds == {
        "top_up", "bonus", "tax", "fee", "refund", "dispute", "settlement", "reversal", "adjustment",
    }  # fmt: skip


@pytest.mark.parametrize("what", COOKED)
def test_what_was_changed_by_hand_is_found(
    database: Database, database_url: str, money: MoneyIn, what: str
) -> None:
    statements, broken = COOKED[what]
    cook(database_url, *statements)
    breaches = check_books(database)
    assert {breach.law for breach in breaches} == broken
    assert {breach.account_id for breach in breaches} <= {money.account_id}
    since = {breach.law for breach in check_books(database, since=AGES_AGO)}
    assert since | {Law.BALANCE} == broken | {Law.BALANCE}
    for breach in breaches:
        assert breach.thing
        assert breach.expected != breach.found


@pytest.mark.parametrize("what", FINE)
def test_what_may_differ_is_no_breach(
    database: Database, database_url: str, money: MoneyIn, what: str
) -> None:
    cook(database_url, FINE[what])
    assert check_books(database, account_id=money.account_id) == []
