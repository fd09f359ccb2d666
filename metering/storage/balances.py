"""Rows of balances: locked in order, then moved once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.ledger.balance import Balance
from metering.money import to_number, to_pico
from metering.storage.copying import array

# Sorted, so that two transactions that want the same accounts wait for each other and never in a circle.
_LOCK: Final = """
    SELECT account_id::text, (posted_usd * 1000000000000)::numeric(38,0)::text, event_count FROM balances
     WHERE account_id = ANY(%s::uuid[]) ORDER BY account_id FOR UPDATE
"""
_MOVE: Final = """
    UPDATE balances AS kept
       SET posted_usd = moved.posted_usd, event_count = moved.event_count, updated_at = %s
      FROM unnest(%s::uuid[], %s::numeric[], %s::bigint[]) AS moved (account_id, posted_usd, event_count)
     WHERE kept.account_id = moved.account_id
"""
_FIND: Final = (
    "SELECT account_id::text, posted_usd, updated_at FROM balances WHERE account_id = ANY(%s::uuid[])"
)
_OPEN: Final = "INSERT INTO balances (account_id) VALUES (%s)"


def open_account(connection: Connection[Any], account_id: str) -> None:
    """Give a new account its balance of zero."""
    connection.execute(_OPEN, [account_id])


class Locked(NamedTuple):
    """A balance that nobody else moves before the transaction ends."""

    account_id: str
    posted_pico: int
    event_count: int


def lock_many(connection: Connection[Any], account_ids: Sequence[str]) -> Iterable[Locked]:
    """The balances of those accounts that exist, locked until the end; in a pipeline, to be read after it."""
    return connection.cursor(row_factory=_locked).execute(_LOCK, [array(account_ids)])


def _locked(_cursor: object) -> Callable[[Sequence[Any]], Locked]:
    return lambda row: Locked(row[0], int(row[1]), row[2])


def move_many(connection: Connection[Any], moved: Sequence[tuple[str, int, int]], at: datetime) -> None:
    """Set (account_id, posted picodollars, event count) of accounts that the caller has locked."""
    if moved:
        accounts, posted, counts = zip(*moved, strict=True)
        connection.execute(_MOVE, [at, array(accounts), array(map(to_number, posted)), array(counts)])


def find_many(connection: Connection[Any], account_ids: Iterable[str]) -> dict[str, Balance]:
    """The balances of those accounts that exist, without a lock."""
    rows = connection.execute(_FIND, [array(account_ids)])
    return {account_id: Balance(to_pico(posted), 0, updated_at) for account_id, posted, updated_at in rows}
