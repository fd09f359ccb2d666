"""Rows of auto top-ups: what customers asked for. Their accounts are locked when they are written.

`keep_asked` alone can turn one on, and only the customer's own call comes to it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from metering.ledger.auto_topups import AutoTopUp, OffReason
from metering.money import to_decimal, to_pico
from metering.storage.copying import text_array

# What is open already stands in the way, by the unique index. Reads nothing back: it can share a round trip.
_OPEN: Final = """
    INSERT INTO top_ups (account_id, id, origin, state, amount_usd, bonus_percent, bonus_usd, next_attempt_at,
                         created_at)
    SELECT account_id, %s, 'auto', 'open', amount_usd, 0, 0, %s, %s
      FROM auto_topups
     WHERE account_id = %s AND is_enabled AND paused_until IS NULL
        ON CONFLICT DO NOTHING
"""
_FIND: Final = """
    SELECT account_id::text, is_enabled, threshold_usd, amount_usd, card_id, most_per_month_usd, off_reason,
           paused_until, enabled_at, updated_at
      FROM auto_topups WHERE account_id = %s
"""
_PUT: Final = """
    INSERT INTO auto_topups (account_id, is_enabled, threshold_usd, amount_usd, card_id, most_per_month_usd,
                             off_reason, paused_until, enabled_at, updated_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (account_id) DO UPDATE
       SET is_enabled = excluded.is_enabled, threshold_usd = excluded.threshold_usd,
           amount_usd = excluded.amount_usd, card_id = excluded.card_id,
           most_per_month_usd = excluded.most_per_month_usd, off_reason = excluded.off_reason,
           paused_until = excluded.paused_until, enabled_at = excluded.enabled_at,
           updated_at = excluded.updated_at
"""
_SWITCH_OFF: Final = """
    UPDATE auto_topups SET is_enabled = false, off_reason = %s, paused_until = NULL, updated_at = %s
     WHERE account_id = %s
"""
_PAUSE: Final = "UPDATE auto_topups SET paused_until = %s WHERE account_id = %s"
_FORGET_CARDS: Final = """
    UPDATE auto_topups SET card_id = NULL WHERE account_id = %s AND card_id = ANY(%s::text[])
"""
_PAUSED: Final = """
    SELECT account_id::text FROM auto_topups WHERE paused_until <= %s ORDER BY paused_until LIMIT %s
"""


def open_purchase(connection: Connection[Any], account_id: str, top_up_id: str, now: datetime) -> None:
    """Intend to buy what the account's auto top-up says, unless a purchase is open; its books are locked."""
    connection.execute(_OPEN, [top_up_id, now, now, account_id])


def find(connection: Connection[Any], account_id: str) -> AutoTopUp | None:
    """What the account's customer asked for; None where that was never anything."""
    row = connection.execute(_FIND, [account_id]).fetchone()
    if row is None:
        return None
    found = AutoTopUp(*row)
    most = found.most_per_month_pico
    return found._replace(
        threshold_pico=to_pico(row[2]),
        amount_pico=to_pico(row[3]),
        most_per_month_pico=None if most is None else to_pico(most),
        off_reason=None if found.off_reason is None else OffReason(found.off_reason),
    )


def keep_asked(connection: Connection[Any], asked: AutoTopUp) -> None:
    """Keep what the customer asks for now."""
    most = asked.most_per_month_pico
    amounts = {
        "threshold_pico": to_decimal(asked.threshold_pico),
        "amount_pico": to_decimal(asked.amount_pico),
        "most_per_month_pico": None if most is None else to_decimal(most),
    }
    connection.execute(_PUT, list({**asked._asdict(), **amounts}.values()))


def switch_off(connection: Connection[Any], account_id: str, reason: OffReason, now: datetime) -> None:
    """Turn it off; what was asked for is kept."""
    connection.execute(_SWITCH_OFF, [reason, now, account_id])


def pause(connection: Connection[Any], account_id: str, until: datetime | None) -> None:
    """Buy nothing until then; None ends the pause."""
    connection.execute(_PAUSE, [until, account_id])


def forget_cards(connection: Connection[Any], account_id: str, card_ids: list[str]) -> None:
    """Cards that were removed are nobody's choice any more."""
    connection.execute(_FORGET_CARDS, [account_id, text_array(card_ids)])


def list_paused(connection: Connection[Any], now: datetime, limit: int) -> list[str]:
    """Up to `limit` accounts whose pause has ended."""
    return [account_id for (account_id,) in connection.execute(_PAUSED, [now, limit])]
