"""An account's statement: its transfers of customer credit by keyset, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, or_, select, tuple_

from metering.ledger.chart import LedgerAccount
from metering.ledger.statements import Line, Window
from metering.ledger.transfers import TransferKind
from metering.money import to_pico
from metering.storage.ledger_tables import transfers
from metering.usage.history import Cursor

_OURS: Final = LedgerAccount.CUSTOMER_CREDIT
_COLUMNS: Final = transfers.c
_ALL: Final = select(
    _COLUMNS.id,
    _COLUMNS.sequence,
    _COLUMNS.recorded_at,
    _COLUMNS.kind,
    _COLUMNS.from_account,
    _COLUMNS.to_account,
    _COLUMNS.amount_usd,
    _COLUMNS.balance_after_usd,
    _COLUMNS.reason,
    _COLUMNS.actor,
    _COLUMNS.reverses_id,
).order_by(_COLUMNS.recorded_at.desc(), _COLUMNS.sequence.desc())


def list_lines(
    connection: Connection, account_id: str, window: Window, before: Cursor | None, limit: int
) -> list[Line]:
    """Up to `limit` lines, newest first; the cursor's time is that of recording."""
    query = _ALL.where(*_conditions(account_id, window, before)).limit(limit)
    return [_line(row) for row in connection.execute(query)]


def _conditions(account_id: str, window: Window, before: Cursor | None) -> list[ColumnElement[bool]]:
    conditions = [
        _COLUMNS.account_id == account_id,
        or_(_COLUMNS.from_account == _OURS.value, _COLUMNS.to_account == _OURS.value),
    ]
    if before is not None:
        conditions.append(tuple_(_COLUMNS.recorded_at, _COLUMNS.sequence) < tuple_(*before))
    if window.since is not None:
        conditions.append(_COLUMNS.recorded_at >= window.since)
    if window.until is not None:
        conditions.append(_COLUMNS.recorded_at <= window.until)
    if window.kind is not None:
        # Spelt out, so that the planner sees whether the index of what isn't usage has it.
        conditions.append(_COLUMNS.kind == bindparam("kind", window.kind.value, literal_execute=True))
    return conditions


def _line(row: Sequence[Any]) -> Line:
    transfer_id, sequence, recorded_at, kind, source, target, dollars, after, reason, actor, reverses_id = row
    pico = to_pico(dollars)
    adds = target == _OURS
    return Line(
        id=str(transfer_id),
        sequence=sequence,
        recorded_at=recorded_at,
        kind=TransferKind(kind),
        other=LedgerAccount(source if adds else target),
        amount_pico=pico if adds else -pico,
        balance_after_pico=to_pico(after),
        reason=reason,
        actor=actor,
        reverses_id=None if reverses_id is None else str(reverses_id),
    )
