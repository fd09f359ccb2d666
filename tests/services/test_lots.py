"""Lots over the real database: expiry, debts, restarts, many at once; and no reader sees a stale one."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from metering import clock, ids
from metering.errors import AccountNotFound, NotFound
from metering.ledger.grants import GrantKind
from metering.ledger.posting_rules import post_adjustment
from metering.ledger.transfers import TransferKind
from metering.money import PICO_PER_USD as USD
from metering.services.accounts import create_account, get_account, list_accounts
from metering.services.audit import check_books
from metering.services.corrections import WantedAdjustment, adjust_credit, reverse_transfer
from metering.services.grants import Wanted, grant_credit
from metering.services.history import get_account_usage
from metering.services.laid_lots import LaidLots
from metering.services.lots import (
    allocate,
    allocate_all,
    expire_due,
    list_lots,
    settle_expiry,
)
from metering.services.traces import trace_transfer
from metering.storage.books import lock_account
from metering.storage.database import Database, driver
from metering.storage.lot_history import KeptLot
from metering.usage.history import Filters

HOUR = timedelta(hours=1)
TABLES = ("lots", "receivables", "lot_movements")


@pytest.fixture
def account_id(database: Database) -> str:
    """A new account."""
    return create_account(database, "Ada").account.account_id


@pytest.fixture(autouse=True)
def true_clock() -> Iterator[None]:
    """The clock as it is, after a test has moved it."""
    yield
    clock.run_ahead(timedelta(0))


def grant(
    database: Database,
    account_id: str,
    dollars: int,
    *,
    hours: int | None = None,
    kind: GrantKind = "promotional",
    priority: int = 100,
) -> str:
    """Give credit; the transfer, which is the lot."""
    expires_at = None if hours is None else clock.now() + hours * HOUR
    wanted = Wanted(kind, dollars * USD, "a test", "tests", priority, expires_at)
    return grant_credit(database, account_id, wanted, ids.new_id())[0].transfer_id


def post(database: Database, account_id: str, *changes: int) -> str:
    """Adjust by dollars given (positive) or taken, each in a transaction of its own; the last transfer."""
    transfer_id = ""
    for dollars in changes:
        wanted = WantedAdjustment("adjustment", dollars * USD, "a test", "tests")
        transfer_id = adjust_credit(database, account_id, wanted, ids.new_id())[0].transfer_id
    return transfer_id


def reverse(database: Database, account_id: str, transfer_id: str) -> None:
    """Post the mirror image of a transfer."""
    reverse_transfer(database, account_id, transfer_id, reason="a slip", actor="tests")


def lots_of(database: Database, account_id: str) -> dict[str, KeptLot]:
    return {lot.id: lot for lot in list_lots(database, account_id, with_empty=True, limit=200).lots}


def posted(database: Database, account_id: str) -> int:
    return get_account(database, account_id).balance.posted_pico


def rows(url: str, account_id: str) -> list[Any]:
    """Everything that the allocator wrote for the account."""
    return [database_rows(url, table, account_id) for table in TABLES]


def forget(url: str, account_id: str) -> None:
    """Take the lots away, so that they have to be worked out anew."""
    with psycopg.connect(url) as connection:
        for table in (*TABLES, "lot_positions"):
            connection.execute(f"DELETE FROM {table} WHERE account_id = %s".encode(), [account_id])


def test_what_ended_is_off_the_balance_at_the_next_look(database: Database, account_id: str) -> None:
    ending = grant(database, account_id, 10, hours=1)
    staying = grant(database, account_id, 5)
    post(database, account_id, -3)
    clock.run_ahead(HOUR + timedelta(seconds=1))
    assert posted(database, account_id) == 5 * USD
    lots = lots_of(database, account_id)
    assert (lots[ending].used_pico, lots[ending].expired_pico, lots[ending].rest_pico) == (
        3 * USD,
        7 * USD,
        0,
    )
    assert lots[staying].rest_pico == 5 * USD
    assert get_account(database, account_id).balance.next_expiry_at is None
    assert check_books(database) == []


def test_expired_credit_is_breakage(database: Database, database_url: str, account_id: str) -> None:
    grant(database, account_id, 10, hours=1)
    clock.run_ahead(2 * HOUR)
    assert expire_due(database) == 1
    assert expire_due(database) == 0
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT kind, from_account, to_account, amount_usd FROM transfers ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
    assert found == ("expiry", "customer_credit", "breakage", 10)


@pytest.mark.parametrize("door", ["account", "accounts", "usage", "lots"])
def test_no_reader_sees_credit_whose_time_is_up(database: Database, account_id: str, door: str) -> None:
    grant(database, account_id, 10, hours=1)
    grant(database, account_id, 1, hours=3)
    clock.run_ahead(2 * HOUR)
    if door == "account":
        seen = get_account(database, account_id).balance.posted_pico
    elif door == "accounts":
        seen = list_accounts(database, limit=5)[0].balance.posted_pico
    elif door == "usage":
        seen = get_account_usage(database, account_id, Filters(), before=None, limit=1).balance.posted_pico
    else:
        seen = list_lots(database, account_id, limit=5).totals.balance_pico
    assert seen == 1 * USD
    next_end = get_account(database, account_id).balance.next_expiry_at
    assert next_end is not None
    assert next_end > clock.now()


def test_a_debt_is_paid_by_the_next_credit(database: Database, account_id: str) -> None:
    first = grant(database, account_id, 2)
    owing = post(database, account_id, -5)
    assert list_lots(database, account_id, limit=5).totals.owed_pico == 3 * USD
    assert trace_transfer(database, owing).owed_pico == 3 * USD
    second = grant(database, account_id, 10, kind="paid")
    page = list_lots(database, account_id, limit=5)
    assert [lot.id for lot in page.lots] == [second]
    assert (page.totals.rest_pico, page.totals.owed_pico) == (7 * USD, 0)
    trace = trace_transfer(database, owing)
    assert {payment.lot.id: payment.amount_pico for payment in trace.payments} == {
        first: 2 * USD,
        second: 3 * USD,
    }
    assert trace.owed_pico == 0
    assert [(one.transfer_id, one.amount_pico) for one in trace_transfer(database, second).paid_for] == [
        (owing, 3 * USD)
    ]
    assert check_books(database) == []


def test_a_reversed_credit_is_taken_back(database: Database, account_id: str) -> None:
    lot = grant(database, account_id, 10, kind="paid")
    taken = post(database, account_id, -4)
    reverse(database, account_id, lot)
    kept = lots_of(database, account_id)[lot]
    assert (kept.rest_pico, kept.used_pico, kept.taken_back_pico) == (0, 4 * USD, 6 * USD)
    assert kept.expired_pico == 0
    other = grant(database, account_id, 5)
    assert lots_of(database, account_id)[other].used_pico == 4 * USD
    # What is given back now goes to the lot that stood in, not to the one that was taken back.
    reverse(database, account_id, taken)
    assert lots_of(database, account_id)[other].rest_pico == 5 * USD
    assert lots_of(database, account_id)[lot].used_pico == 4 * USD
    assert check_books(database) == []


def test_what_is_given_back_to_a_lot_that_has_ended_expires_again(
    database: Database, account_id: str
) -> None:
    lot = grant(database, account_id, 10, hours=1)
    taken = post(database, account_id, -4)
    clock.run_ahead(2 * HOUR)
    assert expire_due(database) == 1
    reverse(database, account_id, taken)
    assert expire_due(database) == 1
    assert posted(database, account_id) == 0
    assert lots_of(database, account_id)[lot].expired_pico == 10 * USD
    assert check_books(database) == []


def a_history(database: Database, account_id: str) -> None:
    """Something of everything."""
    grant(database, account_id, 5, priority=5)
    grant(database, account_id, 5, hours=1, kind="paid")
    taken = [post(database, account_id, -3), post(database, account_id, -4), post(database, account_id, -9)]
    wrong = post(database, account_id, 8)
    reverse(database, account_id, taken[1])
    post(database, account_id, -1, 2, -2, 3)
    reverse(database, account_id, wrong)
    reverse(database, account_id, taken[2])
    clock.run_ahead(clock.now() - datetime.now(UTC) + 2 * HOUR)
    settle_expiry(database, account_id)
    reverse(database, account_id, taken[0])
    settle_expiry(database, account_id)
    grant(database, account_id, 6, hours=1)
    post(database, account_id, -2)


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_the_same_transfers_give_the_same_rows_in_parts_of_any_size(
    database: Database, database_url: str, account_id: str, chunk: int
) -> None:
    a_history(database, account_id)
    allocate(database, account_id)
    first = rows(database_url, account_id)
    assert all(first)
    assert check_books(database) == []
    forget(database_url, account_id)
    laid = allocate(database, account_id, chunk=chunk)
    assert rows(database_url, account_id) == first
    assert laid == len(database_rows(database_url, "transfers", account_id))
    assert allocate(database, account_id) == 0


def test_many_at_once_lay_each_transfer_once(database: Database, database_url: str, account_id: str) -> None:
    grant(database, account_id, 20)
    post(database, account_id, *[-1] * 25)
    with ThreadPoolExecutor(4) as threads:
        laid = list(threads.map(lambda _: allocate(database, account_id, chunk=3), range(4)))
    assert sum(laid) == 26
    assert len(database_rows(database_url, "lot_movements", account_id)) == 20
    assert check_books(database) == []


def test_an_allocator_that_dies_in_the_middle_goes_on_where_it_was(
    database: Database, database_url: str, account_id: str
) -> None:
    grant(database, account_id, 20)
    post(database, account_id, *[-1] * 5)
    with psycopg.connect(database_url) as connection:
        # The fourth movement fails its transaction, as a crash would.
        connection.execute("ALTER TABLE lot_movements ADD CONSTRAINT stop CHECK (number < 4)")
    with pytest.raises(psycopg.errors.CheckViolation):
        allocate(database, account_id, chunk=2)
    assert len(database_rows(database_url, "lot_movements", account_id)) == 3
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE lot_movements DROP CONSTRAINT stop")
    assert allocate(database, account_id, chunk=2) == 2
    assert check_books(database) == []


def test_every_account_that_is_behind_is_brought_up_to_date(database: Database) -> None:
    accounts = [create_account(database, f"n{n}").account.account_id for n in range(3)]
    for account_id in accounts[:2]:
        grant(database, account_id, 1)
    assert allocate_all(database) == 2
    assert allocate_all(database) == 0
    assert [len(lots_of(database, account_id)) for account_id in accounts] == [1, 1, 0]


def test_of_many_who_expire_at_once_one_does(database: Database, account_id: str) -> None:
    grant(database, account_id, 10, hours=1)
    clock.run_ahead(2 * HOUR)
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda _: settle_expiry(database, account_id), range(4))) == 1
    assert posted(database, account_id) == 0
    assert check_books(database) == []


def test_expiry_comes_before_anything_else_is_posted(database: Database, account_id: str) -> None:
    with database.transaction() as connection:
        raw = driver(connection)
        books, now = lock_account(raw, account_id)
        books.post(post_adjustment("t", account_id, TransferKind.GOODWILL, 1, now, reason="r", actor="a"))
        with pytest.raises(ValueError, match="before anything else"):
            LaidLots.lock(raw, books, now)


def test_the_pages_of_lots_are_complete_and_in_the_order_of_spending(
    database: Database, account_id: str
) -> None:
    last = grant(database, account_id, 1, kind="paid")
    third = grant(database, account_id, 1)
    second = grant(database, account_id, 1, hours=5)
    first = grant(database, account_id, 1, priority=1, kind="paid")
    post(database, account_id, -1)
    seen: list[str] = []
    after = None
    while True:
        page = list_lots(database, account_id, with_empty=True, after=after, limit=1)
        seen += [lot.id for lot in page.lots]
        if not page.has_more:
            break
        after = seen[-1]
    assert seen == [first, second, third, last]
    assert [lot.id for lot in list_lots(database, account_id, limit=9).lots] == [second, third, last]


def test_nobody_has_no_lots(database: Database) -> None:
    for use_case in (allocate, settle_expiry):
        with pytest.raises(AccountNotFound):
            use_case(database, ids.new_id())
    with pytest.raises(NotFound):
        trace_transfer(database, ids.new_id())


def database_rows(url: str, table: str, account_id: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        query = f"SELECT * FROM {table} WHERE account_id = %s ORDER BY 1, 2".encode()
        return connection.execute(query, [account_id]).fetchall()
