"""What the database has, read in one moment, to be compared with what clients were told."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row

Key = tuple[str, str]
Row = Any  # with the columns of its query as attributes

_EVENTS: Final = """
    SELECT account_id::text AS account, id, cost_usd AS cost, balance_after_usd AS balance,
           metadata->>'body' AS body, hold_id::text AS hold, supersedes
      FROM usage_events
"""
_CREDITS: Final = """
    SELECT account_id::text AS account, idempotency_key AS key, id::text, transfer_id::text AS transfer,
           amount_usd AS amount, balance_after_usd AS balance
      FROM {table}
"""
_HOLDS: Final = """
    SELECT account_id::text AS account, id::text, idempotency_key AS key, state,
           authorized_usd AS authorized, amount_usd AS amount, event_id AS event,
           state = 'open' AND expires_at > clock_timestamp() AS is_open
      FROM holds
"""
_EXTENSIONS: Final = """
    SELECT hold_id::text AS hold, idempotency_key AS key, amount_usd AS amount, overspend_usd AS overspend
      FROM hold_extensions
"""
_CORRECTIONS: Final = """
    SELECT account_id::text AS account, event_id AS event, kind, superseded_by AS successor,
           delta_usd AS delta
      FROM corrections
"""
_REVERSALS: Final = """
    SELECT account_id::text AS account, id::text, reverses_id::text AS reversed,
           CASE 'customer_credit' WHEN to_account THEN amount_usd
                                  WHEN from_account THEN -amount_usd END AS amount
      FROM transfers WHERE reverses_id IS NOT NULL
"""
_EXPIRED: Final = "SELECT account_id::text, sum(amount_usd) FROM transfers WHERE kind = 'expiry' GROUP BY 1"


class Recorded(NamedTuple):
    """Rows by what clients call them. `expired` is what ended unused, `posted` the balance, by account."""

    credits: dict[str, dict[Key, Row]]
    events: dict[Key, Row]
    holds: dict[str, Row]
    extensions: dict[Key, Row]
    corrections: dict[Key, list[Row]]
    reversals: dict[Key, Row]
    expired: dict[str, Decimal]
    posted: dict[str, Decimal]


def read_recorded(connection: psycopg.Connection[Any]) -> Recorded:
    """Everything, as one repeatable read sees it."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    corrections = defaultdict(list)
    for row in _rows(connection, f"{_CORRECTIONS} ORDER BY number"):
        corrections[row.account, row.event].append(row)
    return Recorded(
        credits={
            table: {(row.account, row.key): row for row in _rows(connection, _CREDITS.format(table=table))}
            for table in ("grants", "adjustments")
        },
        events={(row.account, row.id): row for row in _rows(connection, _EVENTS)},
        holds={row.id: row for row in _rows(connection, _HOLDS)},
        extensions={(row.hold, row.key): row for row in _rows(connection, _EXTENSIONS)},
        corrections=corrections,
        reversals={(row.account, row.reversed): row for row in _rows(connection, _REVERSALS)},
        expired=dict(_rows(connection, _EXPIRED)),
        posted=dict(_rows(connection, "SELECT account_id::text, posted_usd FROM balances")),
    )


def _rows(connection: psycopg.Connection[Any], query: str) -> list[Row]:
    return connection.cursor(row_factory=namedtuple_row).execute(query.encode()).fetchall()


# Below nothing an account may come by one increment of a hold that grew, as its answer said, and by what was
# taken without leave: costs beyond a hold or without one, and credit that was taken back or ended.
_FLOOR: Final = """
    WITH beyond AS (
        SELECT e.account_id, sum(greatest(e.cost_usd - coalesce(h.amount_usd, 0), 0)) AS usd
          FROM usage_events AS e
          LEFT JOIN holds AS h ON h.account_id = e.account_id AND h.id = e.hold_id AND h.event_id = e.id
                              AND h.state = 'captured'
         GROUP BY 1),
    taken AS (
        SELECT account_id, sum(amount_usd) AS usd FROM transfers
         WHERE from_account = 'customer_credit' AND kind <> 'usage' GROUP BY 1),
    stated AS (SELECT account_id, max(overspend_usd) AS usd FROM hold_extensions GROUP BY 1),
    held AS (
        SELECT account_id, sum(amount_usd) AS usd FROM holds
         WHERE state = 'open' AND expires_at > clock_timestamp() GROUP BY 1)
    SELECT account_id::text, posted_usd - coalesce(held.usd, 0) AS available,
           coalesce(stated.usd, 0) AS stated, coalesce(beyond.usd, 0) + coalesce(taken.usd, 0) AS taken
      FROM balances LEFT JOIN beyond USING (account_id) LEFT JOIN taken USING (account_id)
      LEFT JOIN stated USING (account_id) LEFT JOIN held USING (account_id)
     WHERE posted_usd - coalesce(held.usd, 0)
           < -coalesce(stated.usd, 0) - coalesce(beyond.usd, 0) - coalesce(taken.usd, 0)
"""
# Through a key with a budget no more than that, and what the account's floor allows.
_BUDGETS: Final = """
    SELECT k.account_id::text, k.budget_usd, coalesce(used.usd, 0) + coalesce(held.usd, 0)
      FROM api_keys AS k
      LEFT JOIN LATERAL (SELECT sum(cost_usd) AS usd FROM usage_events AS e
                          WHERE e.account_id = k.account_id AND e.api_key_id = k.id) AS used ON true
      LEFT JOIN LATERAL (SELECT sum(amount_usd) AS usd FROM holds AS h
                          WHERE h.account_id = k.account_id AND h.api_key_id = k.id
                            AND state = 'open' AND expires_at > clock_timestamp()) AS held ON true
     WHERE k.budget_usd IS NOT NULL
       AND coalesce(used.usd, 0) + coalesce(held.usd, 0) > k.budget_usd + coalesce(
           (SELECT max(x.amount_usd) FROM hold_extensions AS x WHERE x.account_id = k.account_id), 0)
"""


def find_overspent(connection: psycopg.Connection[Any]) -> list[str]:
    """Every account below its floor, and every key beyond its budget, at this moment."""
    floors = connection.execute(_FLOOR.encode())
    found = [f"account {one[0]} is below its floor: available {one[1]}, stated {one[2]}, taken {one[3]}"
             for one in floors]  # fmt: skip
    budgets = connection.execute(_BUDGETS.encode())
    return found + [
        f"a key of {one[0]} with a budget of {one[1]} spent and holds {one[2]}" for one in budgets
    ]
