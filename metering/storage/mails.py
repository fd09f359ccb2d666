"""Rows of mails: each is tried by one worker at a time, until it is sent or given up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import Connection

# A mail that is being sent is due again when its lease ends: whoever was at it is gone.
_CLAIM: Final = """
    WITH due AS (
         SELECT account_id, notice_id FROM mails
          WHERE state IN ('waiting', 'sending') AND next_attempt_at <= %(now)s
          ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED),
    claimed AS (
         UPDATE mails SET state = 'sending', attempts = attempts + 1, next_attempt_at = %(until)s
           FROM due WHERE mails.account_id = due.account_id AND mails.notice_id = due.notice_id
      RETURNING mails.account_id, mails.notice_id, recipient, attempts)
    SELECT claimed.account_id::text, claimed.notice_id::text, notices.type, notices.data::text,
           notices.created_at, accounts.name, recipient, attempts
      FROM claimed
      JOIN notices ON notices.account_id = claimed.account_id AND notices.id = claimed.notice_id
      JOIN accounts ON accounts.account_id = claimed.account_id
"""
# Unless somebody else has claimed it since.
_KEEP: Final = """
    UPDATE mails SET state = %s, next_attempt_at = %s, sent_at = %s, failure = %s
     WHERE account_id = %s AND notice_id = %s AND state = 'sending' AND attempts = %s
"""


class ClaimedMail(NamedTuple):
    """A mail that nobody else tries before its lease ends; `attempts` counts this one."""

    account_id: str
    notice_id: str
    kind: str
    data: Mapping[str, Any]
    created_at: datetime
    name: str
    recipient: str
    attempts: int


def claim(connection: Connection[Any], now: datetime, until: datetime) -> ClaimedMail | None:
    """The mail that is due for longest, leased until then; None where none is due."""
    row = connection.execute(_CLAIM, {"now": now, "until": until}).fetchone()
    if row is None:
        return None
    mail = ClaimedMail(*row)
    return mail._replace(data=msgspec.json.decode(row[3]))


def keep_sent(connection: Connection[Any], mail: ClaimedMail, now: datetime) -> None:
    """Note that it was sent."""
    _keep(connection, mail, "sent", None, now, None)


def keep_failure(
    connection: Connection[Any], mail: ClaimedMail, failure: str, again_at: datetime | None
) -> None:
    """Note why it wasn't sent, and when to try again; None gives it up."""
    _keep(connection, mail, "failed" if again_at is None else "waiting", again_at, None, failure)


def _keep(
    connection: Connection[Any],
    mail: ClaimedMail,
    state: str,
    again_at: datetime | None,
    sent_at: datetime | None,
    failure: str | None,
) -> None:
    key = mail.account_id, mail.notice_id, mail.attempts
    connection.execute(_KEEP, [state, again_at, sent_at, failure, *key])
