"""Rows of holds: found by id, opened and closed in batches under their accounts' locks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from metering.ledger.holds import Closing, Hold, HoldState
from metering.money import to_number
from metering.storage.copying import array, text_array

_COLUMNS: Final = """
    h.id::text, h.account_id::text, h.state, (h.authorized_usd * 1000000000000)::numeric(38,0)::text,
    (h.amount_usd * 1000000000000)::numeric(38,0)::text,
    (h.captured_usd * 1000000000000)::numeric(38,0)::text, h.event_id, h.api_key_id::text, h.model, h.tokens,
    h.created_at, h.expires_at, h.closed_at
"""
_FIND: Final = f"""
    SELECT {_COLUMNS}
      FROM unnest(%s::uuid[], %s::uuid[]) AS asked (account_id, id)
      JOIN holds AS h ON h.account_id = asked.account_id AND h.id = asked.id
"""  # noqa: S608  (its parts are constants)
# A hold that time has ended was closed when its time was up, not when somebody noticed.
_CLOSE: Final = """
    UPDATE holds AS kept
       SET state = closing.state, captured_usd = closing.captured_usd, event_id = closing.event_id,
           closed_at = CASE WHEN closing.state = 'expired' THEN kept.expires_at ELSE %s END
      FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::numeric(38,12)[], %s::text[])
           AS closing (account_id, id, state, captured_usd, event_id)
     WHERE kept.account_id = closing.account_id AND kept.id = closing.id AND kept.state = 'open'
"""


def find_many(
    connection: Connection[Any], keys: Iterable[tuple[str, str]]
) -> Iterable[tuple[tuple[str, str], Hold]]:
    """(key, hold) of those that exist, of the keys (account_id, id) asked for.

    In a pipeline, to be read after its end.
    """
    asked = list(keys)
    accounts, holds = array(account for account, _ in asked), array(hold for _, hold in asked)
    return connection.cursor(row_factory=_keyed).execute(_FIND, [accounts, holds])


def close_many(connection: Connection[Any], closings: Sequence[Closing], at: datetime) -> None:
    """Close open holds, whose accounts are locked; `Books.held_pico` is the caller's to lower."""
    if closings:
        columns = [
            array(one.account_id for one in closings),
            array(one.id for one in closings),
            array(one.state for one in closings),
            text_array(
                None if one.captured_pico is None else to_number(one.captured_pico) for one in closings
            ),
            text_array(one.event_id for one in closings),
        ]
        connection.execute(_CLOSE, [at, *columns])


def _hold(row: Sequence[Any]) -> Hold:
    captured_pico = None if row[5] is None else int(row[5])
    return Hold(row[0], row[1], HoldState(row[2]), int(row[3]), int(row[4]), captured_pico, *row[6:13])


def _keyed(_cursor: object) -> Callable[[Sequence[Any]], tuple[tuple[str, str], Hold]]:
    return lambda row: ((row[1], row[0]), _hold(row))
