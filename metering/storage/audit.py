"""The two sides of the laws of the books (`metering/ledger/invariants.py`), read from the rows.

Every query answers what breaks a law: (account_id, thing, expected, found). It looks at the accounts of an
`Extent`; where that begins at a time, only at what was recorded since, trusting the chain of transfers
before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from psycopg import Connection

from metering.ledger.invariants import Breach, Law
from metering.storage import audit_lots, audit_top_ups, audit_transfers, audit_usage

# One is enough to be alarmed; all of a million would hide it.
MAX_BREACHES: Final = 100
# Where an account has left a trace, even one that was never opened.
_TABLES: Final = (
    "accounts", "balances", "transfers", "usage_events", "usage_rollups", "corrections", "holds", "lots",
    "lot_movements", "lot_positions", "api_key_spend",
)  # fmt: skip

Queries: TypeAlias = Mapping[Law, Sequence[str]]
_EVERYTHING: Final[Queries] = MappingProxyType(
    {**audit_transfers.QUERIES, **audit_usage.QUERIES, **audit_lots.QUERIES, **audit_top_ups.QUERIES}
)
# The laws that are looked at otherwise from a time on, and those of them of which only a part is.
_SINCE: Final[Queries] = MappingProxyType({**audit_transfers.SINCE, **audit_usage.SINCE})
LEFT_OUT_SINCE: Final = frozenset({Law.BALANCE})
LAWS: Final = tuple(law for law in Law if law in _EVERYTHING)


def _first(condition: str) -> str:
    """The smallest account id anywhere; one probe of an index per table."""
    probes = [
        f"(SELECT account_id FROM {table} {condition} ORDER BY 1 LIMIT 1)"  # noqa: S608  (our own names)
        for table in _TABLES
    ]
    return f"least({', '.join(probes)})"


_LIST: Final = """
    WITH RECURSIVE known AS (
         SELECT {first} AS account_id
          UNION ALL
         SELECT {following} FROM known WHERE known.account_id IS NOT NULL)
    SELECT account_id::text, 1 + coalesce(event_count, 0) + coalesce(transfer_count, 0)
      FROM (SELECT account_id FROM known WHERE account_id IS NOT NULL LIMIT %(limit)s) AS page
      LEFT JOIN balances USING (account_id) ORDER BY account_id
"""
_FOLLOWING: Final = _first("WHERE account_id > known.account_id")
_LIST_ALL: Final = _LIST.format(first=_first(""), following=_FOLLOWING)
_LIST_AFTER: Final = _LIST.format(first=_first("WHERE account_id > %(after)s::uuid"), following=_FOLLOWING)
_COUNT: Final = """
    SELECT coalesce(sum(1 + event_count + transfer_count), 0)::bigint FROM balances
     WHERE (%(account)s::uuid IS NULL OR account_id = %(account)s::uuid)
       AND (%(after)s::uuid IS NULL OR account_id > %(after)s::uuid)
"""
_COUNT_TRANSFERS: Final = """
    SELECT count(*) FROM transfers
     WHERE account_id = ANY(%(accounts)s::uuid[]) AND recorded_at >= %(since)s::timestamptz
"""


class Extent(NamedTuple):
    """What one look covers: accounts, neighbours by id, and from when on; None is from the beginning."""

    account_ids: Sequence[str]
    since: datetime | None = None


def list_accounts(connection: Connection[Any], *, after: str | None, limit: int) -> list[tuple[str, int]]:
    """Up to `limit` accounts by id, those after `after`: each with how many rows it has, about."""
    query = _LIST_ALL if after is None else _LIST_AFTER
    return list(connection.execute(query.encode(), {"after": after, "limit": limit}))


def count_rows(connection: Connection[Any], *, account_id: str | None, after: str | None) -> int:
    """About how many rows there are to look at: one for each account, transfer and event."""
    row = connection.execute(_COUNT, {"account": account_id, "after": after}).fetchone()
    return 0 if row is None else int(row[0])


def count_transfers(connection: Connection[Any], extent: Extent) -> int:
    """How many transfers the extent has."""
    row = connection.execute(_COUNT_TRANSFERS, parameters_of(extent)).fetchone()
    return 0 if row is None else int(row[0])


def find_breaches(connection: Connection[Any], law: Law, extent: Extent) -> list[Breach]:
    """What breaks one of `LAWS`, up to `MAX_BREACHES` from each of its queries."""
    queries = _EVERYTHING[law] if extent.since is None else _SINCE.get(law, _EVERYTHING[law])
    parameters = parameters_of(extent)
    return [
        Breach(law, *map(str, row))
        for query in queries
        for row in connection.execute(_limited(query).encode(), parameters)
    ]


def parameters_of(extent: Extent) -> dict[str, object]:
    """What every query is given."""
    since = "-infinity" if extent.since is None else str(extent.since)
    return {"accounts": list(extent.account_ids), "since": since}


def _limited(query: str) -> str:
    return f"{query} ORDER BY 1, 2 LIMIT {MAX_BREACHES}"
