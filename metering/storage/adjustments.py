"""Rows of adjustments: credit given or taken by hand, under which idempotency key, and the first answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, insert, select

from metering.ledger.adjustments import AdjustmentKind
from metering.money import to_decimal, to_pico
from metering.storage.ledger_tables import adjustments


class Adjustment(NamedTuple):
    """An adjustment as recorded; `amount_pico` has the sign of its effect on the balance.

    `balance_after_pico` is the posted balance that it left.
    """

    id: str
    account_id: str
    transfer_id: str
    kind: AdjustmentKind
    amount_pico: int
    reason: str
    actor: str
    idempotency_key: str
    body_digest: bytes
    balance_after_pico: int
    created_at: datetime


_AMOUNTS: Final = ("amount", "balance_after")
_COLUMNS: Final = [adjustments.c[name.replace("_pico", "_usd")] for name in Adjustment._fields]


def insert_adjustment(connection: Connection, adjustment: Adjustment) -> None:
    """Record an adjustment whose transfer is recorded."""
    values: dict[str, Any] = adjustment._asdict()
    for name in _AMOUNTS:
        values[f"{name}_usd"] = to_decimal(values.pop(f"{name}_pico"))
    connection.execute(insert(adjustments).values(**values))


def find_by_idempotency_key(
    connection: Connection, account_id: str, idempotency_key: str
) -> Adjustment | None:
    """The account's adjustment under this key."""
    query = select(*_COLUMNS).where(
        adjustments.c.account_id == account_id, adjustments.c.idempotency_key == idempotency_key
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
    for name in ("id", "account_id", "transfer_id"):
        values[name] = str(values[name])
    for name in _AMOUNTS:
        values[f"{name}_pico"] = to_pico(values.pop(f"{name}_usd"))
    return Adjustment(**values)
