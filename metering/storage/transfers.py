"""Rows of transfers: appended, never changed; the service's role could not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from metering.ledger.transfers import Transfer
from metering.money import to_number
from metering.storage.copying import NULL, copy_rows, text

_COLUMNS: Final = (
    "account_id", "id", "kind", "from_account", "to_account", "amount_usd", "reason", "actor", "reverses_id",
    "recorded_at", "effective_at",
)  # fmt: skip


def append(connection: Connection[Any], transfers: Sequence[Transfer], recorded_at: datetime) -> None:
    """Insert transfers, all recorded at the same time."""
    # The time of nearly all is the time of recording: its text is made once.
    recorded = str(recorded_at)
    rows = [
        f"{one.account_id}\t{one.id}\t{one.kind}\t{one.source}\t{one.target}\t{to_number(one.amount_pico)}\t"
        f"{text(one.reason)}\t{text(one.actor)}\t{one.reverses_id or NULL}\t{recorded}\t"
        f"{recorded if one.effective_at is recorded_at else one.effective_at}"
        for one in transfers
    ]
    copy_rows(connection, "transfers", _COLUMNS, rows)
