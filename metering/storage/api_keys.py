"""Rows of api_keys: the hash of each key, and what its owner may see of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, update

from metering.ledger.budgets import BudgetPeriod, BudgetTerms
from metering.money import to_decimal, to_pico
from metering.storage.database import driver
from metering.storage.tables import api_keys

# An open hold counts until its time is up, also where nobody has closed it yet.
_SPENDING: Final = """
    SELECT id::text, coalesce(held.amount_usd, 0), (
               SELECT coalesce(sum(spent_usd), 0) FROM api_key_spend AS spend
                WHERE spend.account_id = keys.account_id AND spend.api_key_id = keys.id
                  AND day >= CASE budget_period WHEN 'day' THEN %(day)s WHEN 'month' THEN %(month)s
                                                ELSE %(total)s END)
      FROM api_keys AS keys LEFT JOIN (
               SELECT api_key_id, sum(amount_usd) AS amount_usd FROM holds
                WHERE account_id = %(account_id)s AND state = 'open' AND expires_at > %(now)s
                GROUP BY api_key_id) AS held ON held.api_key_id = keys.id
     WHERE account_id = %(account_id)s AND budget_usd IS NOT NULL
"""


class ApiKey(NamedTuple):
    """A customer's key without its secret; `replaces_id` is the key that it was made for in a rotation."""

    id: str
    account_id: str
    name: str | None
    prefix: str
    last_four: str
    created_at: datetime
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    replaces_id: str | None = None
    budget: BudgetTerms | None = None

    def is_open_at(self, now: datetime) -> bool:
        """Whether it opens anything at that moment."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class Spending(NamedTuple):
    """What counts in a key's budget at a moment: charged in the period, and held. Picodollars."""

    spent_pico: int = 0
    held_pico: int = 0


_COLUMNS: Final = [
    *(api_keys.c[name] for name in ApiKey._fields[:-1]),
    api_keys.c.budget_usd,
    api_keys.c.budget_period,
]


def insert_api_key(connection: Connection, key: ApiKey, key_hash: bytes) -> None:
    """Record a new key."""
    values = key._asdict()
    budget = budget_columns(values.pop("budget"))
    connection.execute(insert(api_keys).values(key_hash=key_hash, **values, **budget))


def budget_columns(budget: BudgetTerms | None) -> dict[str, Any]:
    """The columns that keep a budget."""
    if budget is None:
        return {"budget_usd": None, "budget_period": None}
    return {"budget_usd": to_decimal(budget.amount_pico), "budget_period": budget.period.value}


def count_open(connection: Connection, account_id: str, now: datetime) -> int:
    """How many of the account's keys are neither revoked nor expired."""
    query = select(func.count()).where(api_keys.c.account_id == account_id, _is_open(now))
    return connection.execute(query).scalar_one()


def list_api_keys(connection: Connection, account_id: str, *, limit: int) -> list[ApiKey]:
    """The account's newest `limit` keys, closed ones too, oldest first."""
    query = select(*_COLUMNS).where(api_keys.c.account_id == account_id)
    newest = connection.execute(query.order_by(api_keys.c.id.desc()).limit(limit))
    return [_key(row) for row in newest][::-1]


def find_by_hash(connection: Connection, key_hash: bytes, now: datetime) -> ApiKey | None:
    """The key with this hash, unless it was revoked or has expired."""
    query = select(*_COLUMNS).where(api_keys.c.key_hash == key_hash, _is_open(now))
    row = connection.execute(query).first()
    return None if row is None else _key(row)


def find_successor(connection: Connection, account_id: str, key_id: str) -> str | None:
    """The id of the key that replaces this one."""
    query = select(api_keys.c.id).where(api_keys.c.account_id == account_id, api_keys.c.replaces_id == key_id)
    found = connection.execute(query).scalar()
    return None if found is None else str(found)


def find_locked(connection: Connection, account_id: str, key_id: str) -> ApiKey | None:
    """The account's key, which nobody else changes before this transaction ends."""
    query = select(*_COLUMNS).where(*_is(account_id, key_id)).with_for_update(key_share=True)
    row = connection.execute(query).one_or_none()
    return None if row is None else _key(row)


def update_api_key(
    connection: Connection,
    account_id: str,
    key_id: str,
    **values: Any,  # noqa: ANN401  (columns)
) -> ApiKey:
    """Change columns of a key that is there."""
    query = update(api_keys).where(*_is(account_id, key_id)).values(**values).returning(*_COLUMNS)
    return _key(connection.execute(query).one())


def touch(connection: Connection, key: ApiKey, now: datetime, unless_since: datetime) -> None:
    """Note that the key was used, unless that was noted since; never waits for another's lock."""
    used = api_keys.c.last_used_at
    free = (
        select(api_keys.c.id)
        .where(*_is(key.account_id, key.id), or_(used.is_(None), used < unless_since))
        .with_for_update(key_share=True, skip_locked=True)
    )
    connection.execute(
        update(api_keys)
        .where(api_keys.c.account_id == key.account_id, api_keys.c.id.in_(free))
        .values(last_used_at=now)
    )


def list_spending(connection: Connection, account_id: str, now: datetime) -> dict[str, Spending]:
    """What counts at `now` in the budgets of the account's keys, by id; keys without a budget are absent."""
    begins = {period.value: period.begins(now) for period in BudgetPeriod}
    rows = driver(connection).execute(_SPENDING, {"account_id": account_id, "now": now, **begins})
    return {key_id: Spending(to_pico(spent), to_pico(held)) for key_id, held, spent in rows}


def _is(account_id: str, key_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return api_keys.c.account_id == account_id, api_keys.c.id == key_id


def _is_open(now: datetime) -> ColumnElement[bool]:
    expires_at = api_keys.c.expires_at
    return and_(api_keys.c.revoked_at.is_(None), or_(expires_at.is_(None), expires_at > now))


def _key(row: Sequence[Any]) -> ApiKey:
    key_id, account_id, *shown, replaces_id, budget_usd, period = row
    budget = None if budget_usd is None else BudgetTerms(to_pico(budget_usd), BudgetPeriod(period))
    replaced = None if replaces_id is None else str(replaces_id)
    return ApiKey._make([str(key_id), str(account_id), *shown, replaced, budget])
