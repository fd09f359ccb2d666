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
_APPEND: Final = """
    WITH told AS (
         INSERT INTO notices (account_id, id, sequence, type, data, created_at)
         SELECT given.account_id, given.id,
                1 + coalesce((SELECT max(sequence) FROM notices
                               WHERE notices.account_id = given.account_id), 0),
                given.type, given.data, given.created_at
           FROM (SELECT %(account_id)s::uuid AS account_id, %(id)s::uuid AS id, %(type)s::text AS type,
                        %(data)s::json AS data, %(now)s::timestamptz AS created_at) AS given
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


def append(
    connection: Connection[Any],
    account_id: str,
    notice_id: str,
    kind: NoticeType,
    data: Mapping[str, object],
    now: datetime,
) -> None:
    """Record a notice of an account that is locked; `data` is JSON, amounts in it are decimal text."""
    given = {
        "account_id": account_id,
        "id": notice_id,
        "type": kind.value,
        "data": msgspec.json.encode(data).decode(),
        "now": now,
        "is_mailed": kind in MAILED,
    }
    connection.execute(_APPEND, given)
