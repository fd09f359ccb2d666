"""Recorded events to be rated again: in chunks by keyset, each as it stands and with its usage."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from psycopg import Connection

from metering.storage.corrections import LAST, STANDING, Standing, standing_of

# account_id, created_at, sequence: where a chunk ended
Place: TypeAlias = tuple[str, datetime, int]

_COLUMNS: Final = f"{STANDING}, e.sequence, e.usage::text FROM usage_events AS e {LAST}"
_FIRST: Final[Place] = (str(UUID(int=0)), datetime(1, 1, 1, tzinfo=UTC), 0)
# Conditions on `last` are equalities: PostgreSQL expects those of every event, and doesn't sort all of them.
_UNPRICED: Final = f"""
    {_COLUMNS}
     WHERE e.unpriced IS NOT NULL AND coalesce(last.number, 0) = 0
       AND (e.account_id, e.created_at, e.sequence) > (%s, %s, %s)
     ORDER BY e.account_id, e.created_at, e.sequence LIMIT %s
"""
_UNPRICED_OF_ACCOUNT: Final = _UNPRICED.replace("AND (", "AND e.account_id = %s AND (", 1)
_CREATED: Final = f"""
    {_COLUMNS}
     WHERE e.account_id = %(account)s AND e.created_at >= %(since)s AND e.created_at < %(until)s
       AND (e.created_at, e.sequence) > (%(created_at)s, %(sequence)s)
       AND (%(models)s::text[] IS NULL OR e.model = ANY(%(models)s))
       AND CASE WHEN last.kind IN ('reversal', 'amendment') THEN 1 ELSE 0 END = 0
     ORDER BY e.created_at, e.sequence LIMIT %(limit)s
"""


class RateableEvent(NamedTuple):
    """An event as it stands, its place in the account's order, and its usage as JSON."""

    standing: Standing
    sequence: int
    usage: str

    @property
    def place(self) -> Place:
        """After which the next chunk begins."""
        return self.standing.account_id, self.standing.created_at, self.sequence


def list_unpriced(
    connection: Connection[Any], account_id: str | None, after: Place | None, limit: int
) -> list[RateableEvent]:
    """Up to `limit` events that have no price yet, of one account or of all, in order after a place."""
    place = [*(after or _FIRST), limit]
    rows = (
        connection.execute(_UNPRICED, place)
        if account_id is None
        else connection.execute(_UNPRICED_OF_ACCOUNT, [account_id, *place])
    )
    return [_event(row) for row in rows]


def list_created(
    connection: Connection[Any],
    account_id: str,
    since: datetime,
    until: datetime,
    *,
    models: Sequence[str] | None,
    after: Place | None,
    limit: int,
) -> list[RateableEvent]:
    """Up to `limit` events created from `since` to before `until`, in order after a place.

    Without those that were superseded or reversed; of the `models` only, where they are given.
    """
    _, created_at, sequence = after or (account_id, since, 0)
    given = {"account": account_id, "since": since, "until": until, "models": models}
    given |= {"created_at": created_at, "sequence": sequence, "limit": limit}
    return [_event(row) for row in connection.execute(_CREATED, given)]


def _event(row: Sequence[Any]) -> RateableEvent:
    return RateableEvent(standing_of(row), row[-2], row[-1])
