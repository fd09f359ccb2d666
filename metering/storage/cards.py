"""Rows of saved cards: a copy of what the processor keeps, replaced as a whole under the account's lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.storage.copying import array, text_array

_LIST: Final = """
    SELECT id, brand, last_four, expires_month, expires_year, is_default, created_at FROM cards
     WHERE account_id = %s AND removed_at IS NULL ORDER BY is_default DESC, created_at, id
"""
_VERSION: Final = "SELECT cards_version FROM payment_customers WHERE account_id = %s"
_BUMP: Final = "UPDATE payment_customers SET cards_version = cards_version + 1 WHERE account_id = %s"
# A card whose end has moved is to be warned of again.
_KEEP: Final = """
    INSERT INTO cards (account_id, id, brand, last_four, expires_month, expires_year, is_default, created_at)
    SELECT %s, id, brand, last_four, expires_month, expires_year, false, %s
      FROM unnest(%s::text[], %s::text[], %s::text[], %s::integer[], %s::integer[])
           AS given (id, brand, last_four, expires_month, expires_year)
        ON CONFLICT (account_id, id) DO UPDATE
       SET brand = excluded.brand, last_four = excluded.last_four, expires_month = excluded.expires_month,
           expires_year = excluded.expires_year, removed_at = NULL,
           expiry_told_at = CASE WHEN (cards.expires_year, cards.expires_month)
                                    = (excluded.expires_year, excluded.expires_month)
                                 THEN cards.expiry_told_at END
"""
_REMOVE: Final = """
    UPDATE cards SET removed_at = %s, is_default = false
     WHERE account_id = %s AND removed_at IS NULL AND id <> ALL(%s::text[])
 RETURNING id
"""
_SET_DEFAULT: Final = """
    UPDATE cards SET is_default = (id = %(card_id)s)
     WHERE account_id = %(account_id)s AND is_default <> (id = %(card_id)s)
"""
_EXPIRING: Final = """
    SELECT account_id::text, id FROM cards
     WHERE expiry_told_at IS NULL AND removed_at IS NULL AND (expires_year, expires_month) <= (%s, %s)
     ORDER BY account_id, id LIMIT %s
"""
_TELL: Final = """
    UPDATE cards SET expiry_told_at = %s
     WHERE account_id = %s AND id = %s AND expiry_told_at IS NULL AND removed_at IS NULL
 RETURNING id
"""


class SavedCard(NamedTuple):
    """A card of the account's customer that may be charged off-session; `id` is the processor's."""

    id: str
    brand: str
    last_four: str
    expires_month: int
    expires_year: int
    is_default: bool
    created_at: datetime

    @property
    def name(self) -> str:
        """As its owner knows it."""
        return f"{self.brand} •••• {self.last_four}"


def list_cards(connection: Connection[Any], account_id: str) -> list[SavedCard]:
    """The account's cards, the default first, then the oldest."""
    return [SavedCard(*row) for row in connection.execute(_LIST, [account_id])]


def find_charged(known: Sequence[SavedCard], card_id: str | None) -> SavedCard | None:
    """The card of this id, or the default where none is named."""
    return next((c for c in known if (c.is_default if card_id is None else c.id == card_id)), None)


def get_version(connection: Connection[Any], account_id: str) -> int:
    """How often the account's cards were copied; it has a customer at the processor."""
    row = connection.execute(_VERSION, [account_id]).fetchone()
    if row is None:
        raise LookupError("no customer at the processor")
    return int(row[0])


def replace_all(
    connection: Connection[Any], account_id: str, found: Sequence[Sequence[Any]], now: datetime
) -> list[str]:
    """Keep these as the account's, each as the first five fields of a `SavedCard`: the ids that left."""
    ids, brands, last_fours, months, years = zip(*found, strict=True) if found else ((),) * 5
    columns = [text_array(ids), text_array(brands), text_array(last_fours), array(months), array(years)]
    connection.execute(_KEEP, [account_id, now, *columns])
    connection.execute(_BUMP, [account_id])
    return [card_id for (card_id,) in connection.execute(_REMOVE, [now, account_id, text_array(ids)])]


def set_default(connection: Connection[Any], account_id: str, card_id: str) -> None:
    """Make it the one that is charged where no other is named."""
    connection.execute(_SET_DEFAULT, {"account_id": account_id, "card_id": card_id})


def list_expiring(connection: Connection[Any], year: int, month: int, limit: int) -> list[tuple[str, str]]:
    """Up to `limit` (account_id, card_id) that end with this month, or ended, and nobody was told of."""
    return [(row[0], row[1]) for row in connection.execute(_EXPIRING, [year, month, limit])]


def tell_expiry(connection: Connection[Any], account_id: str, card_id: str, now: datetime) -> bool:
    """Note that the customer is told; False where that was done, or the card left, meanwhile."""
    return connection.execute(_TELL, [now, account_id, card_id]).fetchone() is not None
