"""What was rated, as recorded: events, and corrections that rated one again, page by page in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeAlias

from psycopg import Connection

from metering.money import to_pico
from metering.storage.audit import Extent, parameters_of

# Where a page ended, as text: account, then the time and sequence of an event, or event and number.
Place: TypeAlias = tuple[str, str, str]

# An extent's accounts are a range, which an index yields in order.
_EVENTS: Final = """
    SELECT account_id::text, id, 0, created_at, model, status = 'error', usage::text, book_digest, cost_usd,
           line_items::text, pricing_tier_label, unpriced ->> 'reason' IS NOT NULL,
           unpriced ->> 'meter', created_at::text, sequence::text
      FROM usage_events AS e
     WHERE account_id BETWEEN %(first)s::uuid AND %(last)s::uuid AND recorded_at >= %(since)s::timestamptz
       AND (account_id, created_at, sequence)
         > (%(account)s::uuid, %(second)s::timestamptz, %(third)s::bigint)
     ORDER BY e.account_id, e.created_at, e.sequence LIMIT %(limit)s
"""
_CORRECTIONS: Final = """
    SELECT c.account_id::text, c.event_id, c.number, e.created_at, e.model, e.status = 'error', e.usage::text,
           c.book_digest, c.cost_usd, c.line_items::text, c.pricing_tier_label, false, NULL,
           c.event_id, c.number::text
      FROM corrections AS c JOIN usage_events AS e ON e.account_id = c.account_id AND e.id = c.event_id
     WHERE c.account_id BETWEEN %(first)s::uuid AND %(last)s::uuid
       AND c.recorded_at >= %(since)s::timestamptz AND c.kind IN ('rating', 'rerating')
       AND (c.account_id, c.event_id, c.number) > (%(account)s::uuid, %(second)s, %(third)s::integer)
     ORDER BY c.account_id, c.event_id, c.number LIMIT %(limit)s
"""


class Rated(NamedTuple):
    """What a rating was made of, and what came of it.

    `number` is that of the correction, 0 for the event's own rating. `usage` and `line_items` are JSON.
    Where there was no price, `cost_pico` is None, `is_unpriced`, and `meter` may say which quantity has
    none. `book_digest` is None where nobody says by which book it was rated, which is a breach itself.
    """

    account_id: str
    event_id: str
    number: int
    created_at: datetime
    model: str
    failed: bool
    usage: str
    book_digest: bytes | None
    cost_pico: int | None
    line_items: str | None
    pricing_tier_label: str | None
    is_unpriced: bool
    meter: str | None
    place: Place


def list_events(connection: Connection[Any], extent: Extent, after: Place | None, limit: int) -> list[Rated]:
    """Up to `limit` events of the extent after a place."""
    return _page(connection, _EVENTS, extent, after or (extent.account_ids[0], "-infinity", "0"), limit)


def list_corrections(
    connection: Connection[Any], extent: Extent, after: Place | None, limit: int
) -> list[Rated]:
    """Up to `limit` corrections of the extent that rated an event again, after a place."""
    return _page(connection, _CORRECTIONS, extent, after or (extent.account_ids[0], "", "0"), limit)


def _page(connection: Connection[Any], query: str, extent: Extent, after: Place, limit: int) -> list[Rated]:
    account, second, third = after
    given = {"first": extent.account_ids[0], "last": extent.account_ids[-1], "limit": limit}
    given |= {"account": account, "second": second, "third": third}
    return list(connection.cursor(row_factory=_rated).execute(query, parameters_of(extent) | given))


def _rated(_cursor: object) -> Callable[[Sequence[Any]], Rated]:
    return lambda row: Rated._make([*row[:8], _pico(row[8]), *row[9:13], (row[0], row[13], row[14])])


def _pico(cost: Decimal | None) -> int | None:
    return None if cost is None else to_pico(cost)
