"""What the service's role can't do, and what the tables refuse from anybody."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import (
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError

from metering.storage import notice_tables, payment_tables  # noqa: F401  (they fill the metadata)
from metering.storage.columns import metadata
from metering.storage.database import Database, sqlstate
from metering.storage.ledger_tables import balances, transfers
from metering.storage.tables import accounts, usage_events, usage_rollups

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 10, 1, tzinfo=UTC)
ACCOUNT = uuid.UUID(int=1)
UPDATED = {
    "accounts", "api_key_spend", "api_keys", "auto_topups", "balances", "cards", "disputes", "holds", "jobs",
    "lot_positions", "lots", "mails", "payment_customers", "processor_events", "receivables", "refunds",
    "request_rates", "service_tokens", "top_ups", "usage_rollups", "webhook_deliveries", "webhook_endpoints",
}  # fmt: skip
TABLES = sorted(metadata.tables)


def a_transfer(**changes: object) -> dict[str, Any]:
    return {
        "account_id": ACCOUNT, "id": uuid.uuid4(), "kind": "usage", "from_account": "customer_credit",
        "to_account": "revenue:usage", "amount_usd": Decimal("1.08"), "recorded_at": NOW, "effective_at": NOW,
        "sequence": 1, "balance_after_usd": Decimal("-1.08"), "checksum": b"c",
    } | changes  # fmt: skip


def an_event(**changes: object) -> dict[str, Any]:
    return {
        "account_id": ACCOUNT, "id": "e-1", "sequence": 1, "created_at": NOW, "recorded_at": NOW,
        "source": "api", "model": "qwen3-max", "status": "success", "usage": {}, "output_urls": [],
        "body_digest": b"d", "cost_usd": Decimal("0.000000000001"), "book_digest": b"b",
        "input_tokens": 1, "output_tokens": 1, "cache_read_tokens": 0, "cache_write_tokens": 0,
        "total_tokens": 2,
    } | changes  # fmt: skip


@contextmanager
def refused(state: type[Exception]) -> Iterator[None]:
    with pytest.raises(DBAPIError) as caught:
        yield
    assert isinstance(caught.value.orig, state), caught.value
    assert sqlstate(caught.value) == state.sqlstate  # type: ignore[attr-defined]


def test_the_owners_url_acts_as_the_service(database: Database) -> None:
    with database.transaction() as connection:
        row = connection.execute(text("SELECT current_user, session_user")).one()
    assert row[0] == "metering_service"
    assert row[1] != "metering_service"


@pytest.mark.parametrize("table", TABLES)
def test_rights(database: Database, table: str) -> None:
    with database.snapshot() as connection:
        rights = {
            right
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
            if connection.execute(select(func.has_table_privilege(table, right))).scalar_one()
        }
    assert rights == {"SELECT", "INSERT"} | ({"UPDATE"} if table in UPDATED else set())


@pytest.mark.parametrize("table", [transfers, usage_events], ids=str)
@pytest.mark.parametrize("verb", ["UPDATE {} SET account_id = account_id", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_money_has_touched_is_never_edited(database: Database, table: Table, verb: str) -> None:
    with database.transaction() as connection:
        connection.execute(insert(transfers).values(a_transfer()))
        connection.execute(insert(usage_events).values(an_event()))
    with refused(errors.InsufficientPrivilege), database.transaction() as connection:
        connection.execute(text(verb.format(table.name)))
    with database.snapshot() as connection:
        assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 1


def test_the_service_makes_no_tables(database: Database) -> None:
    with refused(errors.InsufficientPrivilege), database.transaction() as connection:
        connection.execute(text("CREATE TABLE mine ()"))


@pytest.mark.parametrize("amount", ["NaN", "0", "-1"])
def test_a_transfer_is_positive_and_finite(database: Database, amount: str) -> None:
    with refused(errors.CheckViolation), database.transaction() as connection:
        connection.execute(insert(transfers).values(a_transfer(amount_usd=Decimal(amount))))


@pytest.mark.parametrize("amount", ["Infinity", "-Infinity", "1e26"])
def test_a_transfer_fits_its_column(database: Database, amount: str) -> None:
    with refused(errors.NumericValueOutOfRange), database.transaction() as connection:
        connection.execute(insert(transfers).values(a_transfer(amount_usd=Decimal(amount))))


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "0", "-0.000000000001", "-1", "1e26"])
@pytest.mark.parametrize("verb", ["INSERT", "UPDATE"])
def test_not_even_the_owner_makes_a_transfer_of_no_amount(
    database: Database, database_url: str, amount: str, verb: str
) -> None:
    with database.transaction() as connection:
        connection.execute(insert(transfers).values(a_transfer()))
    statement = "UPDATE transfers SET amount_usd = %s"
    if verb == "INSERT":
        statement = """INSERT INTO transfers
            SELECT account_id, gen_random_uuid(), kind, from_account, to_account, %s, NULL, NULL, NULL,
                   recorded_at, effective_at, 2, 0, checksum FROM transfers"""
    refusals = (errors.CheckViolation, errors.NumericValueOutOfRange)
    with psycopg.connect(database_url) as owner, pytest.raises(refusals):
        owner.execute(statement.replace("%s", f"'{amount}'::numeric").encode())


def test_a_transfer_has_two_accounts(database: Database) -> None:
    with refused(errors.CheckViolation), database.transaction() as connection:
        connection.execute(insert(transfers).values(a_transfer(to_account="customer_credit")))


@pytest.mark.parametrize("amount", ["NaN", "-0.000000000001"])
def test_a_cost_is_finite_and_not_negative(database: Database, amount: str) -> None:
    with refused(errors.CheckViolation), database.transaction() as connection:
        connection.execute(insert(usage_events).values(an_event(cost_usd=Decimal(amount))))
    counts = dict.fromkeys((c.name for c in usage_rollups.c if c.name not in usage_rollups.primary_key), 0)
    with refused(errors.CheckViolation), database.transaction() as connection:
        rollup = counts | {
            "account_id": ACCOUNT,
            "hour": NOW,
            "model": "m",
            "source": "api",
            "cost_usd": amount,
        }
        connection.execute(insert(usage_rollups).values(rollup))


def test_a_balance_is_finite_and_may_be_negative(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(insert(accounts).values(account_id=ACCOUNT, name="a", created_at=NOW))
        connection.execute(insert(balances).values(account_id=ACCOUNT, posted_usd=Decimal("-0.000000000001")))
    with refused(errors.CheckViolation), database.transaction() as connection:
        connection.execute(balances.update().values(posted_usd=Decimal("NaN")))


def test_an_event_is_recorded_once(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(insert(usage_events).values(an_event()))
        connection.execute(insert(usage_events).values(an_event(account_id=uuid.UUID(int=2))))
    with refused(errors.UniqueViolation), database.transaction() as connection:
        connection.execute(insert(usage_events).values(an_event(sequence=2)))


@pytest.mark.parametrize("table", [t for t in metadata.tables.values() if "account_id" in t.c], ids=str)
def test_every_key_of_a_customer_table_begins_with_the_account(table: Table) -> None:
    kinds = PrimaryKeyConstraint, UniqueConstraint, ForeignKeyConstraint
    keys = [constraint.columns for constraint in table.constraints if isinstance(constraint, kinds)]
    keys += [index.columns for index in table.indexes if index.unique]
    assert keys
    assert {next(iter(key)).name for key in keys} == {"account_id"}
