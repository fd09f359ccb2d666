"""Rows of auto top-ups: what customers asked for, and the purchases that it makes, one at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from psycopg import Connection

# What is open already stands in the way, by the unique index. Reads nothing back: it can share a round trip.
_OPEN: Final = """
    INSERT INTO top_ups (account_id, id, origin, state, amount_usd, bonus_percent, bonus_usd, next_attempt_at,
                         created_at)
    SELECT account_id, %s, 'auto', 'open', amount_usd, 0, 0, %s, %s
      FROM auto_topups
     WHERE account_id = %s AND is_enabled AND paused_until IS NULL
        ON CONFLICT DO NOTHING
"""


def open_purchase(connection: Connection[Any], account_id: str, top_up_id: str, now: datetime) -> None:
    """Intend to buy what the account's auto top-up says, unless a purchase is open; its books are locked."""
    connection.execute(_OPEN, [top_up_id, now, now, account_id])
