"""Rows of notices: written in the transaction of what they tell, with a mail and deliveries for later."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import Connection

from metering.ledger.notices import MAILED, NoticeType

# One statement, that reads nothing back: it can share a round trip. The account's lock, which is held, orders
# its notices.
_APPEND_WHERE: Final = """
    WITH told AS (
         INSERT INTO notices (account_id, id, sequence, type, data, created_at)
         SELECT given.account_id, given.id,
                1 + coalesce((SELECT max(sequence) FROM notices
                               WHERE notices.account_id = given.account_id), 0),
                given.type, given.data, given.created_at
           FROM (SELECT %(account_id)s::uuid AS account_id, %(id)s::uuid AS id, %(type)s::text AS type,
                        %(data)s::json AS data, %(now)s::timestamptz AS created_at) AS given
          WHERE {}
         RETURNING account_id, id, sequence, type, created_at),
    mailed AS (
         INSERT INTO mails (account_id, notice_id, recipient, state, next_attempt_at, created_at)
         SELECT told.account_id, told.id, accounts.email, 'waiting', told.created_at, told.created_at
           FROM told JOIN accounts ON accounts.account_id = told.account_id
          WHERE accounts.email IS NOT NULL AND %(is_mailed)s::boolean)
    INSERT INTO webhook_deliveries (account_id, endpoint_id, notice_id, sequence, state, next_attempt_at,
                                    created_at)
    SELECT told.account_id, endpoint.id, told.id, told.sequence, 'waiting', told.created_at, told.created_at
      FROM told JOIN webhook_endpoints AS endpoint
             ON endpoint.account_id = told.account_id AND endpoint.is_enabled
            AND told.type = ANY(endpoint.types)
"""
_APPEND: Final = _APPEND_WHERE.format("true").encode()
# A customer who is out of credit may be refused many times a second.
_APPEND_SELDOM: Final = _APPEND_WHERE.format("""
                EXISTS (SELECT 1 FROM webhook_endpoints AS endpoint
                         WHERE endpoint.account_id = given.account_id AND endpoint.is_enabled
                           AND given.type = ANY(endpoint.types))
            AND NOT EXISTS (SELECT 1 FROM notices AS earlier
                             WHERE earlier.account_id = given.account_id AND earlier.type = given.type
                               AND earlier.created_at > given.created_at - interval '1 minute')
""").encode()


def append(
    connection: Connection[Any],
    account_id: str,
    notice_id: str,
    kind: NoticeType,
    data: Mapping[str, object],
    now: datetime,
) -> None:
    """Record a notice of an account that is locked; `data` is JSON, amounts in it are decimal text.

    A refused hold only where a webhook endpoint wants to hear of it, and once a minute at the most.
    """
    given = {
        "account_id": account_id,
        "id": notice_id,
        "type": kind.value,
        "data": msgspec.json.encode(data).decode(),
        "now": now,
        "is_mailed": kind in MAILED,
    }
    connection.execute(_APPEND_SELDOM if kind is NoticeType.HOLD_REFUSED else _APPEND, given)
