"""Rows of what the payment processor told us: kept as it came, then settled, however often it takes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from psycopg import Connection

_KEEP: Final = """
    INSERT INTO processor_events (id, type, payload, payment_id, state, next_attempt_at, failure, is_swept,
                                  occurred_at, received_at)
    VALUES (%(id)s, %(type)s, %(payload)s, %(payment_id)s, %(state)s, %(next_attempt_at)s, %(failure)s,
            %(is_swept)s, %(occurred_at)s, %(received_at)s)
        ON CONFLICT (id) DO NOTHING
    RETURNING id
"""
# What is claimed is due again later by itself, the later the more often it was claimed: a claim needs no
# other end, whatever becomes of who made it.
_CLAIM: Final = """
    UPDATE processor_events
       SET attempts = attempts + 1,
           next_attempt_at = %(now)s + least(10 * 2 ^ least(attempts, 20), 3600) * interval '1 second'
     WHERE id IN (SELECT id FROM processor_events
                   WHERE state = 'pending' AND next_attempt_at <= %(now)s
                     AND (id = %(id)s
                          OR payment_id = (SELECT payment_id FROM processor_events WHERE id = %(id)s))
                   ORDER BY id FOR UPDATE SKIP LOCKED)
    RETURNING id, payload, received_at, attempts
"""
_LIST_DUE: Final = """
    SELECT id FROM processor_events
     WHERE state = 'pending' AND next_attempt_at <= %s ORDER BY next_attempt_at LIMIT %s
"""
_CLOSE: Final = """
    UPDATE processor_events
       SET state = %(state)s, failure = %(failure)s, next_attempt_at = NULL, settled_at = %(now)s
     WHERE id = ANY(%(ids)s) AND state = 'pending'
"""
_NOTE: Final = "UPDATE processor_events SET failure = %s WHERE id = ANY(%s) AND state = 'pending'"


class Kept(NamedTuple):
    """A message to be kept; `next_attempt_at` None where there is nothing to settle, `failure` says why."""

    id: str
    type: str
    payload: str
    payment_id: str | None
    state: Literal["pending", "ignored"]
    next_attempt_at: datetime | None
    failure: str | None
    is_swept: bool
    occurred_at: datetime
    received_at: datetime


class Claimed(NamedTuple):
    """A message that the caller is to settle; `attempts` counts this one."""

    id: str
    payload: str
    received_at: datetime
    attempts: int


def keep(connection: Connection[Any], message: Kept) -> bool:
    """Keep a message; False if it was kept before."""
    return connection.execute(_KEEP, message._asdict()).fetchone() is not None


def claim(connection: Connection[Any], message_id: str, now: datetime) -> list[Claimed]:
    """Claim the message, and whatever else waits about the same payment, unless somebody else has."""
    return [Claimed(*row) for row in connection.execute(_CLAIM, {"id": message_id, "now": now})]


def list_due(connection: Connection[Any], now: datetime, limit: int) -> list[str]:
    """The ids of messages that wait to be settled, the longest due first."""
    return [message_id for (message_id,) in connection.execute(_LIST_DUE, [now, limit])]


def close(
    connection: Connection[Any],
    ids: Sequence[str],
    state: Literal["settled", "ignored", "failed"],
    failure: str | None,
    now: datetime,
) -> None:
    """Note what became of messages."""
    connection.execute(_CLOSE, {"ids": list(ids), "state": state, "failure": failure, "now": now})


def note_failure(connection: Connection[Any], ids: Sequence[str], failure: str) -> None:
    """Note why messages could not be settled this time."""
    connection.execute(_NOTE, [failure, list(ids)])
