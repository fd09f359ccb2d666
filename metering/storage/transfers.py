"""Rows of transfers: appended, never changed; the service's role could not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from metering.ledger.transfers import Transfer
from metering.money import to_number
from metering.storage.copying import array, text_array

# Not COPY, which can't share a round trip: a batch appends its transfers with what else it posts.
_APPEND: Final = """
    INSERT INTO transfers (account_id, id, kind, from_account, to_account, amount_usd, reason, actor,
                           reverses_id, effective_at, recorded_at)
    SELECT *, %s FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::text[], %s::text[], %s::numeric[],
                             %s::text[], %s::text[], %s::uuid[], %s::timestamptz[])
"""


def append(connection: Connection[Any], transfers: Sequence[Transfer], recorded_at: datetime) -> None:
    """Insert transfers, all recorded at the same time."""
    if not transfers:
        return
    # The time of nearly all is the time of recording: its text is made once.
    recorded = str(recorded_at)
    columns = [
        array(one.account_id for one in transfers),
        array(one.id for one in transfers),
        array(one.kind for one in transfers),
        array(one.source for one in transfers),
        array(one.target for one in transfers),
        array(to_number(one.amount_pico) for one in transfers),
        text_array(one.reason for one in transfers),
        text_array(one.actor for one in transfers),
        text_array(one.reverses_id for one in transfers),
        text_array(
            recorded if one.effective_at is recorded_at else str(one.effective_at) for one in transfers
        ),
    ]
    connection.execute(_APPEND, [recorded_at, *columns])
