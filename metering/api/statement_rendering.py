"""An account's statement as an answer has it: a page as JSON, or all of it as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Final

from metering.api.accounts import balance_body
from metering.api.encoding import amount, moment
from metering.api.usage_rendering import cursor_text
from metering.ledger.statements import Line
from metering.money import to_number
from metering.services.statements import Statement

_COLUMNS: Final = (
    "created_at",
    "id",
    "kind",
    "description",
    "amount_usd",
    "balance_after_usd",
    "reason",
    "reverses_id",
)
_ACTOR: Final = "actor"
# A spreadsheet would compute what begins so, also in the full-width forms.
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠")


def render(statement: Statement, *, for_service: bool) -> dict[str, object]:
    """The page, ready to encode; a service also sees who did it, and reasons that only the books are told."""
    cursor = statement.next_cursor
    return {
        "object": "account_transactions",
        "balance": balance_body(statement.balance),
        "data": [_transaction(line, for_service=for_service) for line in statement.lines],
        "has_more": cursor is not None,
        "next_cursor": None if cursor is None else cursor_text(cursor),
    }


def csv_header(*, for_service: bool) -> bytes:
    """The names of the fields."""
    return _records([[*_COLUMNS, _ACTOR] if for_service else _COLUMNS])


def csv_lines(lines: Iterable[Line], *, for_service: bool) -> bytes:
    """The lines as records (RFC 4180); amounts are plain decimals."""
    return _records(_fields(line, for_service=for_service) for line in lines)


def _transaction(line: Line, *, for_service: bool) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": line.id,
        "object": "transaction",
        "kind": line.kind.value,
        "amount_usd": amount(line.amount_pico),
        "balance_after_usd": amount(line.balance_after_pico),
        "description": line.description,
        "reason": line.reason if for_service else line.customer_reason,
        "reverses_id": line.reverses_id,
        "created_at": moment(line.recorded_at),
    }
    return {**shown, _ACTOR: line.actor} if for_service else shown


def _fields(line: Line, *, for_service: bool) -> list[str]:
    fields = [
        moment(line.recorded_at) or "",
        line.id,
        line.kind.value,
        line.description,
        to_number(line.amount_pico),
        to_number(line.balance_after_pico),
        _harmless(line.reason if for_service else line.customer_reason),
        line.reverses_id or "",
    ]
    return [*fields, _harmless(line.actor)] if for_service else fields


def _harmless(text: str | None) -> str:
    """A text that a spreadsheet shows and does not compute."""
    if text is None:
        return ""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _records(rows: Iterable[Iterable[str]]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerows(rows)
    return written.getvalue().encode()
