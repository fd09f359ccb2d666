"""What stands in the rows of a top-up that was paid, as its receipt says it."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection

from metering.ledger.receipts import Receipt
from metering.money import to_pico

_FIND: Final = """
    SELECT receipt_number, succeeded_at, top_ups.account_id::text, name, email, amount_usd, bonus_percent,
           bonus_usd, tax_usd, paid_with, origin = 'auto'
      FROM top_ups JOIN accounts ON accounts.account_id = top_ups.account_id
     WHERE top_ups.account_id = %s AND id = %s AND state = 'succeeded'
"""


def find(connection: Connection[Any], account_id: str, top_up_id: str) -> Receipt | None:
    """The receipt of the account's top-up; None where it wasn't paid, or there is no such top-up."""
    row = connection.execute(_FIND, [account_id, top_up_id]).fetchone()
    if row is None:
        return None
    number, paid_at, buyer, name, email, amount, percent, bonus, tax, *how = row
    return Receipt(
        number, paid_at, buyer, name, email, to_pico(amount), percent, to_pico(bonus), to_pico(tax), *how
    )
