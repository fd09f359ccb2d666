"""Rows of auto top-up's purchases: leased to a worker, and moved on under their account's lock.

The unique index on them lets an account have one that is open.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg import Connection

from metering.ledger.auto_topups import Bought
from metering.money import to_decimal, to_pico
from metering.pricing.top_ups import Ceiling

_COUNT_DUE: Final = """
    SELECT count(*) FROM (SELECT FROM top_ups
                           WHERE origin = 'auto' AND state = 'open' AND next_attempt_at <= %s LIMIT %s) AS due
"""
_CLAIM: Final = """
    UPDATE top_ups AS kept SET next_attempt_at = %s
      FROM (SELECT account_id, id FROM top_ups
             WHERE origin = 'auto' AND state = 'open' AND next_attempt_at <= %s
             ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS due
     WHERE kept.account_id = due.account_id AND kept.id = due.id
 RETURNING kept.account_id::text, kept.id::text
"""
_FIND_OPEN: Final = """
    SELECT account_id::text, id::text, amount_usd, payment_id, attempts, unanswered, next_attempt_at,
           failure_code, failure_message, created_at
      FROM top_ups WHERE account_id = %s AND origin = 'auto' AND state = 'open'
"""
_KEEP_PAYMENT: Final = """
    UPDATE top_ups SET payment_id = %s, bonus_percent = %s, bonus_usd = %s, unanswered = 0
     WHERE account_id = %s AND id = %s AND state = 'open' AND payment_id IS NULL
"""
_DECLINE: Final = """
    UPDATE top_ups SET attempts = attempts + 1, unanswered = 0, failure_code = %s, failure_message = %s,
                       next_attempt_at = %s
     WHERE account_id = %s AND id = %s
"""
_POSTPONE: Final = """
    UPDATE top_ups SET unanswered = %s, next_attempt_at = %s
     WHERE account_id = %s AND id = %s AND state = 'open'
"""
_HASTEN: Final = """
    UPDATE top_ups SET next_attempt_at = %s WHERE account_id = %s AND origin = 'auto' AND state = 'open'
"""
_CLOSE: Final = """
    UPDATE top_ups
       SET state = %(state)s, failure_code = coalesce(%(code)s, failure_code), closed_at = %(now)s,
           failure_message = CASE WHEN %(code)s::text IS NULL THEN failure_message END, next_attempt_at = NULL
     WHERE account_id = %(account_id)s AND id = %(id)s AND state = 'open'
"""
# One that was canceled at the processor, and not by us, makes room for another: it counts for the brake.
_BOUGHT: Final = """
    SELECT count(*) FILTER (WHERE succeeded_at >= %(day)s),
           coalesce(sum(amount_usd) FILTER (WHERE succeeded_at >= %(day)s), 0),
           count(*) FILTER (WHERE succeeded_at >= %(month)s),
           coalesce(sum(amount_usd) FILTER (WHERE succeeded_at >= %(month)s), 0),
           count(*) FILTER (WHERE created_at >= %(lately)s
                              AND (state <> 'canceled' OR failure_code = 'canceled'))
      FROM top_ups WHERE account_id = %(account_id)s AND origin = 'auto'
"""


class Purchase(NamedTuple):
    """A purchase that is open; `attempts` were declined, `unanswered` calls since then got no answer."""

    account_id: str
    id: str
    amount_pico: int
    payment_id: str | None
    attempts: int
    unanswered: int
    next_attempt_at: datetime
    failure_code: str | None
    failure_message: str | None
    created_at: datetime


def count_due(connection: Connection[Any], now: datetime, most: int) -> int:
    """How many purchases are due, counted up to `most`."""
    row = connection.execute(_COUNT_DUE, [now, most]).fetchone()
    return int(row[0]) if row else 0


def claim(connection: Connection[Any], now: datetime, until: datetime) -> tuple[str, str] | None:
    """(account_id, top_up_id) of the purchase that waits for longest: nobody else claims it `until` then."""
    row = connection.execute(_CLAIM, [until, now]).fetchone()
    return None if row is None else (row[0], row[1])


def find_open(connection: Connection[Any], account_id: str) -> Purchase | None:
    """The account's open purchase."""
    row = connection.execute(_FIND_OPEN, [account_id]).fetchone()
    return None if row is None else Purchase(*row)._replace(amount_pico=to_pico(row[2]))


def keep_payment(
    connection: Connection[Any], purchase: Purchase, payment_id: str, *, bonus_percent: int, bonus_pico: int
) -> None:
    """Note the one payment that this purchase may ever confirm: the first that is kept."""
    given = [payment_id, bonus_percent, to_decimal(bonus_pico), purchase.account_id, purchase.id]
    connection.execute(_KEEP_PAYMENT, given)


def keep_decline(
    connection: Connection[Any], purchase: Purchase, code: str, message: str, next_attempt_at: datetime
) -> None:
    """Count a decline."""
    given = [code, message, next_attempt_at, purchase.account_id, purchase.id]
    connection.execute(_DECLINE, given)


def postpone(connection: Connection[Any], purchase: Purchase, *, unanswered: int, until: datetime) -> None:
    """Look at it again then."""
    connection.execute(_POSTPONE, [unanswered, until, purchase.account_id, purchase.id])


def hasten(connection: Connection[Any], account_id: str, now: datetime) -> None:
    """Look at the account's open purchase now."""
    connection.execute(_HASTEN, [now, account_id])


def close(
    connection: Connection[Any], purchase: Purchase, state: str, code: str | None, now: datetime
) -> None:
    """End it unpaid, for the reason `code`; None leaves the reason of the last decline."""
    given = {"state": state, "code": code, "now": now, "account_id": purchase.account_id, "id": purchase.id}
    connection.execute(_CLOSE, given)


def get_bought(
    connection: Connection[Any], account_id: str, *, day: datetime, month: datetime, lately: datetime
) -> Bought:
    """What the account's auto top-up bought since the day and the month began, and began since `lately`."""
    given = {"account_id": account_id, "day": day, "month": month, "lately": lately}
    row = connection.execute(_BOUGHT, given).fetchone()
    if row is None:
        raise LookupError("an aggregate has a row")
    days, day_usd, months, month_usd, begun = row
    return Bought(Ceiling(days, to_pico(day_usd)), Ceiling(months, to_pico(month_usd)), begun)
