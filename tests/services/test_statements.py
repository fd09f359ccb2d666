"""A statement is complete, in order, and adds up; what a page of it costs doesn't grow with the history."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from metering import clock, ids
from metering.errors import AccountNotFound
from metering.ledger.chart import LedgerAccount
from metering.ledger.posting_rules import post_adjustment, post_reversal, post_usage
from metering.ledger.statements import Line, Window
from metering.ledger.transfers import Transfer, TransferKind
from metering.money import PICO_PER_USD
from metering.services.accounts import create_account, get_account
from metering.services.grants import Wanted, grant_credit
from metering.services.statements import get_statement, iter_statement
from metering.storage import statements
from metering.storage.books import keep_books, lock_account
from metering.storage.database import Database, driver
from metering.usage.history import Cursor

EVERYTHING = Window()
REVENUE = LedgerAccount.REVENUE_USAGE


@pytest.fixture
def account_id(database: Database) -> str:
    """A new account."""
    return create_account(database, "Ada").account.account_id


@pytest.fixture(autouse=True)
def clock_of_the_machine() -> Iterator[None]:
    """The clock, set back at the end."""
    yield
    clock.run_ahead(timedelta(0))


def post(database: Database, account_id: str, *transfers: Transfer) -> None:
    """Post transfers in one transaction."""
    with database.transaction() as connection:
        books, now = lock_account(driver(connection), account_id)
        for transfer in transfers:
            books.post(transfer)
        keep_books(driver(connection), [books], now)


def usage(account_id: str, pico: int) -> Transfer:
    return post_usage(ids.new_id(), account_id, REVENUE, pico, clock.now())


def everything(
    database: Database, account_id: str, window: Window = EVERYTHING, page: int = 1_000
) -> list[Line]:
    return [line for lines in iter_statement(database, account_id, window, page=page) for line in lines]


def test_the_balance_runs_through_every_line(database: Database, account_id: str) -> None:
    for n in range(1, 6):
        grant_credit(database, account_id, Wanted("paid", n * PICO_PER_USD, "why", "who"), f"g{n}")
        post(database, account_id, *(usage(account_id, n * pico) for pico in (1, 3)))
    lines = everything(database, account_id)
    assert [line.sequence for line in lines] == list(range(15, 0, -1))
    balance = 0
    for line in reversed(lines):
        balance += line.amount_pico
        assert line.balance_after_pico == balance
    statement = get_statement(database, account_id, EVERYTHING, before=None, limit=1)
    assert statement.balance.posted_pico == balance == statement.lines[0].balance_after_pico
    assert get_account(database, account_id).balance == statement.balance


def test_a_line_says_what_the_transfer_did(database: Database, account_id: str) -> None:
    at = clock.now()
    given = post_adjustment(
        ids.new_id(), account_id, TransferKind.GOODWILL, 5, at, reason="sorry", actor="ops"
    )
    back = post_reversal(ids.new_id(), given, at, reason="not sorry", actor="ops")
    post(database, account_id, given, back)
    second, first = everything(database, account_id)
    assert first[3:] == (TransferKind.GOODWILL, LedgerAccount.PROMO_EXPENSE, 5, 5, "sorry", "ops", None)
    assert second[3:] == (
        TransferKind.REVERSAL, LedgerAccount.PROMO_EXPENSE, -5, 0, "not sorry", "ops", given.id,
    )  # fmt: skip


@pytest.mark.parametrize("page", [1, 3, 4, 1_000])
def test_pages_are_complete_while_others_arrive(database: Database, account_id: str, page: int) -> None:
    for _ in range(4):
        # Of one moment, so that only the sequence tells them apart.
        post(database, account_id, *(usage(account_id, 1) for _ in range(3)))
    pages = iter_statement(database, account_id, EVERYTHING, page=page)
    seen = next(pages)
    going = threading.Event()

    def arrive() -> None:
        while not going.wait(0.002):
            post(database, account_id, usage(account_id, 1))

    thread = threading.Thread(target=arrive)
    thread.start()
    try:
        for lines in pages:
            assert len(lines) <= page
            seen += lines
    finally:
        going.set()
        thread.join()
    assert [line.sequence for line in seen] == list(range(12, 0, -1))


@pytest.mark.parametrize(("count", "limit", "sizes"), [(0, 2, [0]), (2, 2, [2]), (3, 2, [2, 1])])
def test_the_last_page_says_so(
    database: Database, account_id: str, count: int, limit: int, sizes: list[int]
) -> None:
    for _ in range(count):
        post(database, account_id, usage(account_id, 1))
    assert [len(lines) for lines in iter_statement(database, account_id, EVERYTHING, page=limit)] == sizes


def test_a_window_is_inclusive_and_knows_kinds(database: Database, account_id: str) -> None:
    for n in range(4):
        clock.run_ahead(timedelta(hours=n))
        grant_credit(database, account_id, Wanted("promotional", 7, "why", "who"), f"g{n}")
        post(database, account_id, usage(account_id, 1))
    lines = everything(database, account_id)
    times = [line.recorded_at for line in lines]
    within = everything(database, account_id, Window(since=times[5], until=times[2]))
    assert within == lines[2:6]
    for kind, sign in ((TransferKind.GRANT, 7), (TransferKind.USAGE, -1)):
        found = everything(database, account_id, Window(kind=kind), page=3)
        assert [line.amount_pico for line in found] == [sign] * 4
    assert everything(database, account_id, Window(kind=TransferKind.EXPIRY)) == []
    older = get_statement(database, account_id, EVERYTHING, before=Cursor(times[2]), limit=100)
    assert older.lines == lines[3:]


def test_another_account_s_transfers_are_not_there(database: Database, account_id: str) -> None:
    other = create_account(database, "Eve").account.account_id
    post(database, other, usage(other, 1))
    assert everything(database, account_id) == []
    with pytest.raises(AccountNotFound):
        get_statement(database, ids.new_id(), EVERYTHING, before=None, limit=1)
    with pytest.raises(AccountNotFound):
        next(iter_statement(database, ids.new_id(), EVERYTHING))


def test_what_does_not_move_the_balance_is_left_out(database: Database, account_id: str) -> None:
    passing = Transfer(
        ids.new_id(), account_id, TransferKind.ADJUSTMENT, LedgerAccount.CASH_STRIPE,
        LedgerAccount.FEES_PAYMENTS, 3, clock.now(),
    )  # fmt: skip
    post(database, account_id, usage(account_id, 1), passing, usage(account_id, 1))
    assert [line.sequence for line in everything(database, account_id)] == [3, 1]


def test_credit_that_has_ended_is_among_the_lines(database: Database, account_id: str) -> None:
    ends = clock.now() + timedelta(hours=1)
    wanted = Wanted("promotional", 7 * PICO_PER_USD, "welcome", "who", expires_at=ends)
    grant_credit(database, account_id, wanted, "g")
    clock.run_ahead(timedelta(hours=2))
    statement = get_statement(database, account_id, EVERYTHING, before=None, limit=10)
    assert [(line.kind, line.balance_after_pico) for line in statement.lines] == [
        (TransferKind.EXPIRY, 0),
        (TransferKind.GRANT, 7 * PICO_PER_USD),
    ]
    assert statement.balance.posted_pico == 0


CROWD = """
INSERT INTO transfers (account_id, id, kind, from_account, to_account, amount_usd, recorded_at, effective_at,
                       sequence, balance_after_usd, checksum)
SELECT %s, gen_random_uuid(), 'usage', 'customer_credit', 'revenue:usage', 1, at, at, n, -n, ''
  FROM (SELECT n, timestamptz '2026-01-01Z' + n * interval '1 second' AS at
          FROM generate_series(1, 20000) AS n) AS placed
"""
READ = "SELECT pg_stat_get_xact_blocks_fetched('transfers'::regclass)"


@pytest.mark.parametrize(
    ("kind", "count"),
    [(None, 10), (TransferKind.GRANT, 1), (TransferKind.EXPIRY, 0), (TransferKind.USAGE, 10)],
)
def test_a_page_reads_no_more_than_it_shows(
    database: Database, database_url: str, account_id: str, kind: TransferKind | None, count: int
) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(CROWD, [account_id])
        owner.execute("UPDATE balances SET transfer_count = 20000")
        owner.execute("VACUUM ANALYZE transfers")
    grant_credit(database, account_id, Wanted("promotional", 7, "why", "who"), "g")
    with database.snapshot() as connection:
        found = statements.list_lines(connection, account_id, Window(kind=kind), Cursor(clock.now()), 10)
        assert len(found) == count
        (blocks,) = driver(connection).execute(READ).fetchone() or (None,)
    assert blocks is not None
    assert blocks < 20
