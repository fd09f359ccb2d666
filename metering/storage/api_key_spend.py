"""Rows of api_key_spend: what was charged through each key by day (UTC), and what its budget leaves it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.ledger.budgets import BudgetPeriod
from metering.ledger.holds import Budget
from metering.money import to_number
from metering.storage.asked import binary_array
from metering.storage.copying import array

_ADD: Final = """
    INSERT INTO api_key_spend AS kept (account_id, api_key_id, day, spent_usd)
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::date[], %s::numeric(38,12)[])
    ON CONFLICT (account_id, api_key_id, day) DO UPDATE SET spent_usd = kept.spent_usd + excluded.spent_usd
"""
# The sums are asked for only where there is a budget, which few keys have.
_FIND: Final = """
    SELECT k.id::text, k.account_id::text, k.key_hash, k.revoked_at, k.expires_at, k.last_used_at,
           (k.budget_usd * 1000000000000)::numeric(38,0)::text,
           CASE WHEN k.budget_usd IS NOT NULL THEN (
               SELECT (coalesce(sum(s.spent_usd), 0) * 1000000000000)::numeric(38,0)::text
                 FROM api_key_spend AS s
                WHERE s.account_id = k.account_id AND s.api_key_id = k.id
                  AND s.day >= CASE k.budget_period WHEN 'day' THEN %s::date WHEN 'month' THEN %s::date
                                                        ELSE %s::date END) END,
           CASE WHEN k.budget_usd IS NOT NULL THEN (
               SELECT (coalesce(sum(h.amount_usd), 0) * 1000000000000)::numeric(38,0)::text
                 FROM holds AS h
                WHERE h.account_id = k.account_id AND h.api_key_id = k.id AND h.state = 'open') END
      FROM (SELECT account_id, id FROM api_keys WHERE key_hash = ANY(%s::bytea[])
             UNION SELECT * FROM unnest(%s::uuid[], %s::uuid[])
             UNION SELECT account_id, api_key_id FROM holds WHERE id = ANY(%s::uuid[])) AS asked
      JOIN api_keys AS k ON k.account_id = asked.account_id AND k.id = asked.id
"""
_TOUCH: Final = """
    UPDATE api_keys AS k SET last_used_at = %s FROM unnest(%s::uuid[], %s::uuid[]) AS used (account_id, id)
     WHERE k.account_id = used.account_id AND k.id = used.id
"""


class KeyStanding(NamedTuple):
    """A key and whether it is good; `budget.held_pico` counts each open hold of the key, expired or not."""

    id: str
    account_id: str
    key_hash: bytes
    revoked_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    budget: Budget | None

    def is_good(self, now: datetime) -> bool:
        """Whether it opens anything at that moment."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


def find_many(
    connection: Connection[Any],
    key_hashes: set[bytes],
    keys: set[tuple[str, str]],
    hold_ids: set[str],
    now: datetime,
) -> Iterable[KeyStanding]:
    """The keys with these hashes, those named (account_id, id), and those of the holds, with their budgets.

    In a pipeline, to be read after its end; the accounts' balances are locked.
    """
    named = list(keys)
    columns = [
        *(period.begins(now) for period in (BudgetPeriod.DAY, BudgetPeriod.MONTH, BudgetPeriod.TOTAL)),
        binary_array(key_hashes),
        array(account_id for account_id, _ in named),
        array(key_id for _, key_id in named),
        array(hold_ids),
    ]
    return connection.cursor(row_factory=_standing).execute(_FIND, columns)


def touch_many(connection: Connection[Any], used: Iterable[tuple[str, str]], at: datetime) -> None:
    """Note that keys (account_id, id) were used. No-op when empty."""
    # In one order, so that two transactions don't wait for each other.
    if keys := sorted(used):
        accounts, ids = array(account_id for account_id, _ in keys), array(key_id for _, key_id in keys)
        connection.execute(_TOUCH, [at, accounts, ids])


def add_many(connection: Connection[Any], spent: Mapping[tuple[str, str, date], int]) -> None:
    """Add picodollars by (account_id, api_key_id, day); the accounts are locked. No-op when empty."""
    if spent:
        columns = [
            array(account_id for account_id, _, _ in spent),
            array(key_id for _, key_id, _ in spent),
            array(day for _, _, day in spent),
            array(map(to_number, spent.values())),
        ]
        connection.execute(_ADD, columns)


def _standing(_cursor: object) -> Callable[[Sequence[Any]], KeyStanding]:
    def read(row: Sequence[Any]) -> KeyStanding:
        budget = None if row[6] is None else Budget(int(row[6]), int(row[7]), int(row[8]))
        return KeyStanding(row[0], row[1], row[2], row[3], row[4], row[5], budget)

    return read
