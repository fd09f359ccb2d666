"""Rows of webhook_deliveries: notices on their way to an endpoint, one at a time and in order."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection

# From endpoint to endpoint through the index of what waits, so that a long queue costs no more.
_HEADS: Final = """
    WITH RECURSIVE head AS (
         (SELECT account_id, endpoint_id, next_attempt_at FROM webhook_deliveries
           WHERE state = 'waiting' ORDER BY account_id, endpoint_id, sequence LIMIT 1)
         UNION ALL
         SELECT following.* FROM head, LATERAL (
                SELECT account_id, endpoint_id, next_attempt_at FROM webhook_deliveries AS later
                 WHERE state = 'waiting'
                   AND (later.account_id, later.endpoint_id) > (head.account_id, head.endpoint_id)
                 ORDER BY account_id, endpoint_id, sequence LIMIT 1) AS following)
    SELECT account_id::text, endpoint_id::text FROM head
     WHERE next_attempt_at <= %s ORDER BY next_attempt_at
"""
# Asked again when the row is locked: of two workers the second finds it leased, and gets nothing.
_CLAIM: Final = """
    WITH oldest AS (
         SELECT account_id, endpoint_id, notice_id FROM webhook_deliveries
          WHERE account_id = %(account_id)s AND endpoint_id = %(endpoint_id)s AND state = 'waiting'
          ORDER BY sequence LIMIT 1)
    UPDATE webhook_deliveries AS delivery SET attempts = attempts + 1, next_attempt_at = %(until)s
      FROM oldest, webhook_endpoints AS endpoint, notices
     WHERE (delivery.account_id, delivery.endpoint_id, delivery.notice_id)
         = (oldest.account_id, oldest.endpoint_id, oldest.notice_id)
       AND delivery.state = 'waiting' AND delivery.next_attempt_at <= %(now)s
       AND endpoint.account_id = delivery.account_id AND endpoint.id = delivery.endpoint_id
       AND endpoint.is_enabled
       AND notices.account_id = delivery.account_id AND notices.id = delivery.notice_id
 RETURNING delivery.account_id::text, delivery.endpoint_id::text, delivery.notice_id::text, attempts, url,
           secret, notices.type, notices.data::text, notices.created_at
"""
# Unless it was claimed, given up or replayed since.
_KEEP: Final = """
    UPDATE webhook_deliveries
       SET state = %s, next_attempt_at = %s, delivered_at = %s, response_status = %s, failure = %s
     WHERE account_id = %s AND endpoint_id = %s AND notice_id = %s AND state = 'waiting' AND attempts = %s
"""
_GIVE_UP: Final = """
    UPDATE webhook_deliveries SET state = 'failed', next_attempt_at = NULL, failure = coalesce(failure, %s)
     WHERE account_id = %s AND endpoint_id = %s AND state = 'waiting'
"""
_REPLAY: Final = """
    INSERT INTO webhook_deliveries (account_id, endpoint_id, notice_id, sequence, state, next_attempt_at,
                                    created_at)
    SELECT notices.account_id, endpoint.id, notices.id, notices.sequence, 'waiting', %(now)s, %(now)s
      FROM notices JOIN webhook_endpoints AS endpoint
             ON endpoint.account_id = notices.account_id AND endpoint.id = %(endpoint_id)s
     WHERE notices.account_id = %(account_id)s
       AND CASE WHEN %(notice_id)s::uuid IS NOT NULL THEN notices.id = %(notice_id)s
                ELSE notices.type = ANY(endpoint.types) AND notices.created_at >= %(since)s END
        ON CONFLICT (account_id, endpoint_id, notice_id) DO UPDATE
       SET state = 'waiting', next_attempt_at = excluded.next_attempt_at, attempts = 0,
           response_status = NULL, failure = NULL, delivered_at = NULL
     WHERE webhook_deliveries.state <> 'waiting'
"""
_HAS_NOTICE: Final = "SELECT FROM notices WHERE account_id = %s AND id = %s"
_LIST: Final = """
    SELECT delivery.notice_id::text, notices.type, state, attempts, response_status, failure,
           delivery.created_at, next_attempt_at, delivered_at
      FROM webhook_deliveries AS delivery
      JOIN notices ON notices.account_id = delivery.account_id AND notices.id = delivery.notice_id
     WHERE delivery.account_id = %(account_id)s AND endpoint_id = %(endpoint_id)s
       AND (%(before)s::uuid IS NULL OR delivery.notice_id < %(before)s)
     ORDER BY delivery.notice_id DESC LIMIT %(limit)s
"""


class ClaimedDelivery(NamedTuple):
    """A notice that nobody else delivers before its lease ends; `attempts` counts this try."""

    account_id: str
    endpoint_id: str
    notice_id: str
    attempts: int
    url: str
    secret: str
    kind: str
    data: str
    created_at: datetime


class Delivery(NamedTuple):
    """What became of a notice on its way to an endpoint."""

    notice_id: str
    kind: str
    state: str
    attempts: int
    response_status: int | None
    failure: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None


def list_due(connection: Connection[Any], now: datetime) -> list[tuple[str, str]]:
    """The accounts and endpoints whose oldest waiting notice is due."""
    return connection.execute(_HEADS, [now]).fetchall()


def claim(
    connection: Connection[Any], account_id: str, endpoint_id: str, now: datetime, until: datetime
) -> ClaimedDelivery | None:
    """The endpoint's oldest waiting notice, leased until then; None where it isn't due."""
    given = {"account_id": account_id, "endpoint_id": endpoint_id, "now": now, "until": until}
    row = connection.execute(_CLAIM, given).fetchone()
    return None if row is None else ClaimedDelivery(*row)


def keep_delivered(
    connection: Connection[Any], claimed: ClaimedDelivery, now: datetime, status: int | None
) -> None:
    """Note that the customer has it."""
    connection.execute(_KEEP, ["delivered", None, now, status, None, *_key(claimed)])


def keep_failure(
    connection: Connection[Any],
    claimed: ClaimedDelivery,
    status: int | None,
    failure: str | None,
    again_at: datetime | None,
) -> bool:
    """Note why it wasn't taken, and when to try again, None for never; False where that was known."""
    state = "failed" if again_at is None else "waiting"
    return connection.execute(_KEEP, [state, again_at, None, status, failure, *_key(claimed)]).rowcount == 1


def give_up(connection: Connection[Any], account_id: str, endpoint_id: str, why: str) -> None:
    """Let nothing wait for the endpoint any more."""
    connection.execute(_GIVE_UP, [why, account_id, endpoint_id])


def has_notice(connection: Connection[Any], account_id: str, notice_id: str) -> bool:
    """Whether the account has that notice."""
    return connection.execute(_HAS_NOTICE, [account_id, notice_id]).fetchone() is not None


def replay(
    connection: Connection[Any],
    account_id: str,
    endpoint_id: str,
    now: datetime,
    *,
    notice_id: str | None = None,
    since: datetime | None = None,
) -> int:
    """Let one notice wait for the endpoint again, or all since then of the types that it wants; how many."""
    given = {"account_id": account_id, "endpoint_id": endpoint_id, "now": now}
    return connection.execute(_REPLAY, {**given, "notice_id": notice_id, "since": since}).rowcount


def list_deliveries(
    connection: Connection[Any], account_id: str, endpoint_id: str, *, before: str | None, limit: int
) -> list[Delivery]:
    """Up to `limit` of the endpoint's deliveries, newest notice first, those before `before`'s."""
    given = {"account_id": account_id, "endpoint_id": endpoint_id, "before": before, "limit": limit}
    return [Delivery(*row) for row in connection.execute(_LIST, given)]


def _key(claimed: ClaimedDelivery) -> tuple[str, str, str, int]:
    return claimed.account_id, claimed.endpoint_id, claimed.notice_id, claimed.attempts
